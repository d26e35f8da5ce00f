// @ts-check
// Values of the picture along a line and in a region, in the quantity of the view.

import { intersection, TILE } from "./picture.js";
import { valueReader } from "./ranges.js";

const MOST_SAMPLES = 2048;

/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {{ places: Float32Array, values: Float32Array, length: number }} Profile */

/** The value of a pixel; NaN where nothing is covered.
 * @param {Picture} picture @param {any} range @param {number} y @param {number} x */
export function pixelValue(picture, range, y, x) {
  const [row, column] = [Math.floor(y), Math.floor(x)];
  const tile = picture.tiles.get(`${Math.floor(row / TILE)},${Math.floor(column / TILE)}`);
  if (tile === undefined) return Number.NaN;
  const at = (row - tile.y) * TILE + column - tile.x;
  return tile.weight[at] > 0 ? valueReader(range, tile)(at, row, column) : Number.NaN;
}

/** Values along a line in steps of about a pixel; `places` and `length` are in pixels from its beginning.
 * @param {Picture} picture @param {any} range @param {number[]} from [y, x] @param {number[]} to
 * @returns {Profile} */
export function profile(picture, range, from, to) {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
  const count = Math.max(2, Math.min(MOST_SAMPLES, Math.ceil(length) + 1));
  const [places, values] = [new Float32Array(count), new Float32Array(count)];
  for (let i = 0; i < count; i += 1) {
    const share = i / (count - 1);
    places[i] = share * length;
    values[i] = pixelValue(picture, range, from[0] + share * (to[0] - from[0]), from[1] + share * (to[1] - from[1]));
  }
  return { places, values, length };
}

/** Mean, standard deviation, least and greatest value of the covered pixels of a box, and their number and share.
 * @param {Picture} picture @param {any} range @param {{ y: number, x: number, h: number, w: number }} box */
export function statistics(picture, range, box) {
  const whole = { y: Math.floor(box.y), x: Math.floor(box.x), h: Math.max(1, Math.round(box.h)), w: Math.max(1, Math.round(box.w)) };
  let [count, sum, squares, least, greatest] = [0, 0, 0, Infinity, -Infinity];
  let shift = Number.NaN; // sums of differences to one value keep their digits
  for (const tile of picture.tiles.values()) {
    const part = intersection(whole, tile.box);
    if (part === null) continue;
    const value = valueReader(range, tile);
    for (let row = part.y; row < part.y + part.h; row += 1) {
      for (let column = part.x; column < part.x + part.w; column += 1) {
        const at = (row - tile.y) * TILE + column - tile.x;
        if (!(tile.weight[at] > 0)) continue;
        const found = value(at, row, column);
        if (Number.isNaN(shift)) shift = found;
        count += 1;
        sum += found - shift;
        squares += (found - shift) ** 2;
        least = Math.min(least, found);
        greatest = Math.max(greatest, found);
      }
    }
  }
  if (count === 0) return null;
  const mean = sum / count;
  return { count, share: count / (whole.h * whole.w), mean: shift + mean, deviation: Math.sqrt(Math.max(0, squares / count - mean ** 2)), least, greatest };
}
