// @ts-check
// Pictures that are not on the stream: earlier moments, past scans, an iterative result. The newest few are kept.

import { Picture } from "./picture.js";
import { decodeMessage } from "./wire.js";

const KEPT = 4;

export class Archive {
  constructor() {
    this.pictures = new Map();
  }

  /** The picture of a scan's layer, `at` a moment's number or null for the last; throws an Error with a sentence. */
  async picture(scanId, layer, at = null) {
    const key = JSON.stringify([scanId, layer, at]);
    if (this.pictures.has(key)) return this.pictures.get(key);
    const query = at === null ? "" : `&at=${at}`;
    const answer = await ask(`${base(scanId)}/picture?layer=${layer}${query}`);
    const picture = new Picture();
    picture.apply(decodeMessage(await answer.arrayBuffer()));
    this.pictures.set(key, picture);
    if (this.pictures.size > KEPT) this.pictures.delete(this.pictures.keys().next().value);
    return picture;
  }

  /** Forget what may have changed meanwhile. */
  clear() {
    this.pictures.clear();
  }
}

/** Headers of the moments of a layer, oldest first. */
export async function moments(scanId, layer) {
  return (await ask(`${base(scanId)}/history?layer=${layer}`)).json();
}

/** All scans that the daemon knows, newest first. */
export async function scanList() {
  return (await ask("/api/v1/scans")).json();
}

/** Address of a scan's routes; a slash in an id would be taken for a path, so such a scan is asked for as the latest. */
export function base(scanId) {
  return `/api/v1/scans/${scanId.includes("/") ? "latest" : encodeURIComponent(scanId)}`;
}

async function ask(address) {
  const answer = await fetch(address);
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  throw new Error(body.detail ?? `the daemon answered ${answer.status}`);
}
