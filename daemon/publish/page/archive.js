// @ts-check
// Pictures fetched over REST: earlier moments, past scans, an iterative result. The newest few are kept.

import { Picture } from "./picture.js";
import { decodeMessage } from "./wire.js";

const KEPT = 4;

export class Archive {
  constructor() {
    /** @type {Map<string, Picture>} */
    this.pictures = new Map();
  }

  /** The picture of a scan's layer, `at` a moment's number or null for the last; throws an Error with a sentence.
   * @param {string} scanId
   * @param {string} layer
   * @param {number | null} at */
  async picture(scanId, layer, at = null) {
    const key = JSON.stringify([scanId, layer, at]);
    const known = this.pictures.get(key);
    if (known !== undefined) return known;
    const query = at === null ? "" : `&at=${at}`;
    const answer = await ask(`${base(scanId)}/picture?layer=${layer}${query}`);
    const picture = new Picture();
    picture.apply(/** @type {Wire.SnapshotMessage} */ (decodeMessage(await answer.arrayBuffer())));
    this.pictures.set(key, picture);
    if (this.pictures.size > KEPT) this.pictures.delete(this.pictures.keys().next().value ?? "");
    return picture;
  }

  /** Drop all pictures: they may have changed. */
  clear() {
    this.pictures.clear();
  }
}

/** Headers of the moments of a layer, oldest first.
 * @param {string} scanId
 * @param {string} layer
 * @returns {Promise<Wire.PictureFields[]>} */
export async function moments(scanId, layer) {
  return (await ask(`${base(scanId)}/history?layer=${layer}`)).json();
}

/** All scans that the daemon knows, newest first.
 * @returns {Promise<Wire.ScanFields[]>} */
export async function scanList() {
  return (await ask("/api/v1/scans")).json();
}

/** Address of a scan's routes. A scan with a slash in its id is only reached as the latest one.
 * @param {string} scanId */
export function base(scanId) {
  return `/api/v1/scans/${scanId.includes("/") ? "latest" : encodeURIComponent(scanId)}`;
}

async function ask(address) {
  const answer = await fetch(address);
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  throw new Error(body.detail ?? `the daemon answered with status ${answer.status}`);
}
