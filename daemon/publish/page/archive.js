// @ts-check
// Pictures fetched over REST: earlier moments, past scans, an iterative result. The newest few are kept.

import { Picture } from "./picture.js";
import { decodeMessage } from "./wire.js";

const KEPT = 4;

/** @typedef {{ scanId: string, layer: string, other: string, otherLayer: string }} Pair Two pictures: scan and layer of each. */

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
    const query = at === null ? "" : `&at=${at}`;
    return this.#get(`${base(scanId)}/picture?layer=${layer}${query}`);
  }

  /** The other picture of a pair, registered with the first; throws an Error with a sentence.
   * @param {Pair} pair */
  async registered(pair) {
    return this.#get(pairAddress(pair, "/picture"));
  }

  /** @param {string} key Address of a message with a picture. */
  async #get(key) {
    const known = this.pictures.get(key);
    if (known !== undefined) return known;
    const answer = await ask(key);
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

/** How far the other picture of a pair agrees with the first; throws an Error with a sentence.
 * @param {Pair} pair
 * @returns {Promise<Wire.ComparisonFields>} */
export async function comparison(pair) {
  return (await ask(pairAddress(pair, ""))).json();
}

/** @param {Pair} pair @param {string} part */
function pairAddress({ scanId, layer, other, otherLayer }, part) {
  return `${base(scanId)}/comparison${part}?layer=${layer}&other=${encodeURIComponent(other)}&other_layer=${otherLayer}`;
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
