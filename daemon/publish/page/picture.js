// @ts-check
// One layer of the mosaic, kept in square tiles of the object's own frame: growth in any direction only adds tiles.

import { floats } from "./wire.js";

/** @typedef {{ y: number, x: number, h: number, w: number }} Box */

export const TILE = 512;
const NEWS_SAMPLES = 65_536; // pixels of a changed part that are looked at for its extent: a tenth of a millisecond
const DATED = 32; // side of the squares, pixels, for which a snapshot has the generation of the model

/** TILE x TILE pixels; ``dirty`` is the box that its canvas does not show yet, ``summary`` holds sums over its pixels. */
class Tile {
  constructor(y, x) {
    this.y = y;
    this.x = x;
    this.object = new Float32Array(2 * TILE * TILE);
    this.weight = new Float32Array(TILE * TILE);
    this.generation = new Uint16Array(TILE * TILE);
    this.ramp = null;
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
    this.generation.fill(0);
    this.touch(this.box);
  }

  touch(box) {
    this.dirty = this.dirty === null ? box : union(this.dirty, box);
    this.summary = null;
    this.ramp = null;
  }

  summarise() {
    this.summary ??= summaryOf(this);
    return this.summary;
  }

  rampSums() {
    this.ramp ??= rampSumsOf(this);
    return this.ramp;
  }
}

export class Picture {
  constructor() {
    /** @type {Wire.PictureHeader | null} */
    this.header = null;
    /** @type {Map<string, Tile>} */
    this.tiles = new Map();
    this.changes = 0;
    /** @type {Box | null} */
    this.news = null;
  }

  /** The box of the pixels that changed since the last call whose weight is at least `least` (and above 0), or null.
   * @param {number} least @returns {Box | null} */
  takeNews(least) {
    const { news } = this;
    this.news = null;
    if (news === null) return null;
    /** @type {Box | null} */
    let found = null;
    for (const tile of this.tiles.values()) {
      const part = intersection(tile.box, news);
      const box = part === null ? null : seenBox(tile, part, least);
      if (box !== null) found = found === null ? box : union(found, box);
    }
    return found;
  }

  /** Take a decoded ``snapshot`` or ``delta``; with ``stride`` n in its header each pixel stands for n x n.
   * @param {Wire.PictureMessage} message */
  apply(message) {
    const { topic, header, buffers } = message;
    const [height, width] = header.shape;
    const [y, x, h, w] = message.topic === "snapshot" ? [0, 0, height, width] : message.header.region;
    if (buffers.length !== 2 || buffers[0].length !== 8 * h * w || buffers[1].length !== 4 * h * w) {
      throw new Error(`the buffers of a ${topic} do not fill its region of ${h} x ${w}`);
    }
    if (topic === "snapshot") for (const tile of this.tiles.values()) tile.clear();
    this.header = header;
    this.changes += 1;
    if (h * w === 0) return;
    const n = strideOf(header);
    const box = { y: header.origin_px[0] + y, x: header.origin_px[1] + x, h: h * n, w: w * n };
    const [object, weight] = [floats(buffers[0]), floats(buffers[1])];
    this.news = this.news === null ? box : union(this.news, box);
    this.#write(box, n === 1 ? object : spread(object, h, w, n, 2), n === 1 ? weight : spread(weight, h, w, n, 1));
    if (message.topic === "snapshot" && message.header.generations) this.#date(box, message.header.generations);
  }

  /** Note the generation of each square of a whole picture; squares lie in one tile, since mosaics grow by them. */
  #date(box, rows) {
    rows.forEach((row, i) => row.forEach((generation, k) => {
      const [top, left] = [box.y + i * DATED, box.x + k * DATED];
      const tile = this.tile(Math.floor(top / TILE), Math.floor(left / TILE));
      const width = Math.min(DATED, box.x + box.w - left, tile.x + TILE - left);
      for (let y = top; y < Math.min(top + DATED, box.y + box.h, tile.y + TILE); y += 1) {
        const from = (y - tile.y) * TILE + left - tile.x;
        tile.generation.fill(generation, from, from + width);
      }
    }));
  }

  #write(box, object, weight) {
    for (let ty = Math.floor(box.y / TILE); ty * TILE < box.y + box.h; ty += 1) {
      for (let tx = Math.floor(box.x / TILE); tx * TILE < box.x + box.w; tx += 1) {
        const tile = this.tile(ty, tx);
        const part = /** @type {Box} */ (intersection(box, tile.box));
        for (let row = part.y; row < part.y + part.h; row += 1) {
          const from = (row - box.y) * box.w + part.x - box.x;
          const to = (row - tile.y) * TILE + part.x - tile.x;
          tile.object.set(object.subarray(2 * from, 2 * (from + part.w)), 2 * to);
          tile.weight.set(weight.subarray(from, from + part.w), to);
          tile.generation.fill(this.header?.model_generation ?? 0, to, to + part.w);
        }
        tile.touch(part);
      }
    }
  }

  /** The tile of a row and a column of tiles; made where there is none. */
  tile(ty, tx) {
    const key = `${ty},${tx}`;
    let tile = this.tiles.get(key);
    if (tile === undefined) {
      tile = new Tile(ty * TILE, tx * TILE);
      this.tiles.set(key, tile);
    }
    return tile;
  }

  /** {re, im, weight, generation} of a pixel of the object's frame; zeros where nothing is covered. */
  valueAt(y, x) {
    const tile = this.tiles.get(`${Math.floor(y / TILE)},${Math.floor(x / TILE)}`);
    if (tile === undefined) return { re: 0, im: 0, weight: 0, generation: 0 };
    const at = (y - tile.y) * TILE + x - tile.x;
    return { re: tile.object[2 * at], im: tile.object[2 * at + 1], weight: tile.weight[at], generation: tile.generation[at] };
  }
}

/** Side of the square that each pixel of a picture stands for.
 * @param {Wire.PictureHeader} header */
export function strideOf(header) {
  return "stride" in header ? (header.stride ?? 1) : 1;
}

/** Each pixel of `parts` values as n x n pixels. */
function spread(values, h, w, n, parts) {
  const wide = new Float32Array(parts * h * n * w * n);
  const row = parts * w * n;
  for (let y = 0; y < h; y += 1) {
    const first = y * n * row;
    for (let x = 0; x < w * n; x += 1) {
      const from = parts * (y * w + Math.floor(x / n));
      for (let part = 0; part < parts; part += 1) wide[first + parts * x + part] = values[from + part];
    }
    for (let k = 1; k < n; k += 1) wide.copyWithin(first + k * row, first, first + row);
  }
  return wide;
}

/** The box of the pixels of a part of a tile whose weight is at least `least`, or null; of a large part only some are looked at.
 * @returns {Box | null} */
function seenBox({ y, x, weight }, part, least) {
  const step = Math.max(1, Math.floor(Math.sqrt((part.h * part.w) / NEWS_SAMPLES)));
  let [top, left, bottom, right] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let row = part.y; row < part.y + part.h; row += step) {
    const from = (row - y) * TILE - x;
    for (let column = part.x; column < part.x + part.w; column += step) {
      const w = weight[from + column];
      if (!(w > 0) || w < least) continue;
      if (row < top) top = row;
      bottom = row;
      if (column < left) left = column;
      if (column > right) right = column;
    }
  }
  return bottom < top ? null : { y: top, x: left, h: Math.min(bottom + step, part.y + part.h) - top, w: Math.min(right + step, part.x + part.w) - left };
}

/** Sums of conj(o) o' w w' over neighbours below and to the right: their phases are the mean slope of the phase. */
function rampSumsOf({ object, weight }) {
  const sums = [0, 0, 0, 0];
  for (let row = 0; row < TILE - 1; row += 1) {
    for (let at = row * TILE; at < (row + 1) * TILE - 1; at += 1) {
      if (weight[at] <= 0) continue;
      const [a, b] = [object[2 * at], object[2 * at + 1]];
      for (let axis = 0; axis < 2; axis += 1) {
        const next = at + (axis === 0 ? TILE : 1);
        const share = weight[at] * weight[next];
        sums[2 * axis] += share * (a * object[2 * next] + b * object[2 * next + 1]);
        sums[2 * axis + 1] += share * (a * object[2 * next + 1] - b * object[2 * next]);
      }
    }
  }
  return sums;
}

/** Weighted sum of the object, greatest weight, number and generations of the covered pixels of a tile. */
function summaryOf({ object, weight, generation }) {
  let [re, im, count, greatest, oldest, newest] = [0, 0, 0, 0, Infinity, 0];
  for (let at = 0; at < TILE * TILE; at += 1) {
    const w = weight[at];
    if (w <= 0) continue;
    re += w * object[2 * at];
    im += w * object[2 * at + 1];
    count += 1;
    if (w > greatest) greatest = w;
    if (generation[at] > newest) newest = generation[at];
    if (generation[at] < oldest) oldest = generation[at];
  }
  return { re, im, count, greatest, oldest, newest };
}

export function union(a, b) {
  const y = Math.min(a.y, b.y);
  const x = Math.min(a.x, b.x);
  return { y, x, h: Math.max(a.y + a.h, b.y + b.h) - y, w: Math.max(a.x + a.w, b.x + b.w) - x };
}

/** The common part, or null.
 * @returns {Box | null} */
export function intersection(a, b) {
  const y = Math.max(a.y, b.y);
  const x = Math.max(a.x, b.x);
  const h = Math.min(a.y + a.h, b.y + b.h) - y;
  const w = Math.min(a.x + a.w, b.x + b.w) - x;
  return h > 0 && w > 0 ? { y, x, h, w } : null;
}
