// One layer of the mosaic, kept in square tiles of the object's own frame: growth in any direction only adds tiles.

import { floats } from "./wire.js";

export const TILE = 512;

/** TILE x TILE pixels; ``dirty`` is what its canvas does not show yet, ``summary`` what was last counted in it. */
class Tile {
  constructor(y, x) {
    this.y = y;
    this.x = x;
    this.object = new Float32Array(2 * TILE * TILE);
    this.weight = new Float32Array(TILE * TILE);
    this.canvas = null;
    this.style = null;
    this.dirty = null;
    this.summary = null;
  }

  get box() {
    return { y: this.y, x: this.x, h: TILE, w: TILE };
  }

  clear() {
    this.object.fill(0);
    this.weight.fill(0);
    this.touch(this.box);
  }

  touch(box) {
    this.dirty = this.dirty === null ? box : union(this.dirty, box);
    this.summary = null;
  }

  summarise() {
    this.summary ??= summaryOf(this);
    return this.summary;
  }
}

export class Picture {
  constructor() {
    this.header = null;
    this.tiles = new Map();
    this.changes = 0;
  }

  /** Take a decoded ``snapshot`` or ``delta``. */
  apply({ topic, header, buffers }) {
    const [height, width] = header.shape;
    const [y, x, h, w] = topic === "snapshot" ? [0, 0, height, width] : header.region;
    if (buffers.length !== 2 || buffers[0].length !== 8 * h * w || buffers[1].length !== 4 * h * w) {
      throw new Error(`the buffers of a ${topic} do not fill its region of ${h} x ${w}`);
    }
    if (topic === "snapshot") for (const tile of this.tiles.values()) tile.clear();
    this.header = header;
    this.changes += 1;
    if (h * w === 0) return;
    const box = { y: header.origin_px[0] + y, x: header.origin_px[1] + x, h, w };
    this.#write(box, floats(buffers[0]), floats(buffers[1]));
  }

  #write(box, object, weight) {
    for (let ty = Math.floor(box.y / TILE); ty * TILE < box.y + box.h; ty += 1) {
      for (let tx = Math.floor(box.x / TILE); tx * TILE < box.x + box.w; tx += 1) {
        const tile = this.#tile(ty, tx);
        const part = intersection(box, tile.box);
        for (let row = part.y; row < part.y + part.h; row += 1) {
          const from = (row - box.y) * box.w + part.x - box.x;
          const to = (row - tile.y) * TILE + part.x - tile.x;
          tile.object.set(object.subarray(2 * from, 2 * (from + part.w)), 2 * to);
          tile.weight.set(weight.subarray(from, from + part.w), to);
        }
        tile.touch(part);
      }
    }
  }

  #tile(ty, tx) {
    const key = `${ty},${tx}`;
    let tile = this.tiles.get(key);
    if (tile === undefined) {
      tile = new Tile(ty * TILE, tx * TILE);
      this.tiles.set(key, tile);
    }
    return tile;
  }

  /** {re, im, weight} of a pixel of the object's frame; zeros where nothing was seen. */
  valueAt(y, x) {
    const tile = this.tiles.get(`${Math.floor(y / TILE)},${Math.floor(x / TILE)}`);
    if (tile === undefined) return { re: 0, im: 0, weight: 0 };
    const at = (y - tile.y) * TILE + x - tile.x;
    return { re: tile.object[2 * at], im: tile.object[2 * at + 1], weight: tile.weight[at] };
  }
}

/** Weighted sum of the object, greatest weight and number of the covered pixels of a tile. */
function summaryOf({ object, weight }) {
  let [re, im, count, greatest] = [0, 0, 0, 0];
  for (let at = 0; at < TILE * TILE; at += 1) {
    const w = weight[at];
    if (w <= 0) continue;
    re += w * object[2 * at];
    im += w * object[2 * at + 1];
    count += 1;
    if (w > greatest) greatest = w;
  }
  return { re, im, count, greatest };
}

export function union(a, b) {
  const y = Math.min(a.y, b.y);
  const x = Math.min(a.x, b.x);
  return { y, x, h: Math.max(a.y + a.h, b.y + b.h) - y, w: Math.max(a.x + a.w, b.x + b.w) - x };
}

/** The common part, or null. */
export function intersection(a, b) {
  const y = Math.max(a.y, b.y);
  const x = Math.max(a.x, b.x);
  const h = Math.min(a.y + a.h, b.y + b.h) - y;
  const w = Math.min(a.x + a.w, b.x + b.w) - x;
  return h > 0 && w > 0 ? { y, x, h, w } : null;
}
