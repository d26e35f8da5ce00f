// @ts-check
// The difference of two pictures, as a picture: phase or amplitude of the first less that of the second.

import { Picture, TILE } from "./picture.js";
import { measure, wrapped } from "./ranges.js";

const PAUSE_MS = 1000;
const SHARE = 0.05; // of the time

/** Compute the difference of pixels that both pictures cover; `mean` and `ramp` of each are taken off its phases.
 * @param {Picture} one @param {Picture} two @param {string} view "amplitude", else phase
 * @param {{ mean: number, ramp: number[] | null }[]} measured of both */
export function differenceOf(one, two, view, measured) {
  const found = new Picture();
  found.header = one.header;
  for (const [key, first] of one.tiles) {
    const second = two.tiles.get(key);
    if (second === undefined) continue;
    const tile = found.tile(first.y / TILE, first.x / TILE);
    for (let at = 0; at < TILE * TILE; at += 1) {
      const weight = Math.min(first.weight[at], second.weight[at]);
      if (!(weight > 0)) continue;
      tile.weight[at] = weight;
      const [y, x] = [first.y + Math.floor(at / TILE), first.x + (at % TILE)];
      const values = [first, second].map(({ object }, i) => (view === "amplitude" ? Math.hypot(object[2 * at], object[2 * at + 1]) : phaseOf(object, at, measured[i], y, x)));
      tile.object[2 * at] = view === "amplitude" ? values[0] - values[1] : wrapped(values[0] - values[1]);
    }
    tile.touch(tile.box);
  }
  found.changes = 1;
  return found;
}

function phaseOf(object, at, { mean, ramp }, y, x) {
  const [perRow, perColumn] = ramp ?? [0, 0];
  return Math.atan2(object[2 * at + 1], object[2 * at]) - mean - perRow * y - perColumn * x;
}

/** How a stage shows a difference. */
export const LOOK = { view: "difference", half: null, colours: null, limits: null, isInverted: false, isFlat: false, isHeld: false };

/** Keeps a difference up to date, seldom enough that it costs little. */
export class Difference {
  constructor() {
    /** @type {Picture | null} */
    this.picture = null;
    this.key = "";
    this.next = 0;
    /** @type {(Picture | null)[]} */
    this.pair = [null, null];
  }

  /** The difference of a stage's picture and another one; the one before while it is too early for another.
   * @param {import("./canvas.js").Stage} stage @param {Picture} two */
  of({ picture: one, measured, look }, two) {
    if (one === null || measured === null) return null;
    const isOther = one !== this.pair[0] || two !== this.pair[1];
    const key = `${look.view} ${look.isFlat} ${one.changes} ${two.changes} ${measured.mean}`;
    const now = performance.now();
    if (!isOther && (key === this.key || now < this.next)) return this.picture;
    this.picture = differenceOf(one, two, look.view, [measured, measure(two, look.isFlat)]);
    this.pair = [one, two];
    this.key = key;
    const spent = performance.now() - now;
    this.next = now + Math.max(PAUSE_MS, spent / SHARE);
    return this.picture;
  }
}
