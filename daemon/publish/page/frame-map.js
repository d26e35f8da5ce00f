// @ts-check
// R by frame over the scan: a dot for each frame, where it was measured.

import { base } from "./archive.js";
import { make } from "./build.js";
import { sequential } from "./colours.js";
import { percentile } from "./ranges.js";
import * as words from "./words.js";

const SIDE = 384;
const MARGIN = 14;
const AGE_MS = 5000;
/** @type {Record<string, number[]>} */
const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** Range of the colours: most R-factors lie between.
 * @param {(number | null)[]} rfactors @returns {[number, number]} */
export function rangeOfMap(rfactors) {
  const known = rfactors.filter((value) => value !== null).sort((a, b) => a - b);
  const [low, high] = [percentile(known, 2), percentile(known, 98)];
  return [low, high > low ? high : low + 1e-3];
}

/** Scale and shift from the object's pixels to a square of `side`.
 * @param {number[][]} places @param {number} side @param {number} margin */
export function fitted(places, side, margin) {
  const [rows, columns] = [places.map(([y]) => y), places.map(([, x]) => x)];
  const [top, left] = [rows, columns].map((values) => values.reduce((a, b) => Math.min(a, b), Infinity));
  const [bottom, right] = [rows, columns].map((values) => values.reduce((a, b) => Math.max(a, b), -Infinity));
  const scale = (side - 2 * margin) / Math.max(1, bottom - top, right - left);
  const [y, x] = [(side - scale * (bottom - top)) / 2 - scale * top, (side - scale * (right - left)) / 2 - scale * left];
  return { scale, y, x };
}

/** Which frame the arrow keys reach from one place: the nearest in a direction, those to its side twice as far; -1 where there is none.
 * @param {number[][]} places @param {number[]} from @param {number[]} way [rows, columns], one of them ±1, the other 0 */
export function neighbour(places, [fromY, fromX], [down, right]) {
  let [best, least] = [-1, Infinity];
  places.forEach(([y, x], i) => {
    const ahead = down * (y - fromY) + right * (x - fromX);
    const aside = Math.abs(right * (y - fromY)) + Math.abs(down * (x - fromX));
    if (ahead <= 0 || ahead + 2 * aside >= least) return;
    [best, least] = [i, ahead + 2 * aside];
  });
  return best;
}

export class FrameMapView {
  /** `onPick` gets the index of a clicked frame.
   * @param {(index: number) => void} onPick */
  constructor(onPick) {
    /** @type {Wire.FrameMap | null} */
    this.map = null;
    /** @type {Wire.FrameFields | null} */
    this.frame = null;
    this.askedAt = -Infinity;
    this.key = "";
    this.canvas = make("canvas", { width: SIDE, height: SIDE, id: "frame-map", tabIndex: 0, role: "img", "aria-label": "R-factor by frame. Arrow keys go to the neighbours." });
    this.caption = make("figcaption", {}, "R by frame");
    this.element = make("figure", {}, this.caption, this.canvas);
    this.canvas.addEventListener("click", (/** @type {MouseEvent} */ event) => {
      const index = this.#nearest(event);
      if (index !== null) onPick(index);
    });
    this.canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const way = ARROWS[event.key];
      const from = this.frame?.position_px;
      if (way === undefined || !from || this.map === null) return;
      event.preventDefault();
      const at = neighbour(this.map.positions_px, from, way);
      if (at >= 0) onPick(this.map.indexes[at]);
    });
  }

  /** Show the map of a scan with one frame marked; it is fetched again after some seconds.
   * @param {string} scanId @param {string} layer @param {Wire.FrameFields | null} frame */
  async follow(scanId, layer, frame) {
    this.frame = frame;
    this.#draw();
    const key = `${scanId} ${layer}`;
    const now = performance.now();
    if (key === this.key && now - this.askedAt < AGE_MS) return;
    [this.key, this.askedAt] = [key, now];
    try {
      const answer = await fetch(`${base(scanId)}/frames?layer=${layer}`);
      if (key !== this.key) return;
      this.map = answer.ok ? await answer.json() : null;
      this.#draw();
    } catch {
      // the banner of the connection shows the fault
    }
  }

  /** @param {MouseEvent} event */
  #nearest(event) {
    if (this.map === null || this.map.indexes.length === 0) return null;
    const box = this.canvas.getBoundingClientRect();
    const fit = fitted(this.map.positions_px, SIDE, MARGIN);
    const y = (((event.clientY - box.top) / box.height) * SIDE - fit.y) / fit.scale;
    const x = (((event.clientX - box.left) / box.width) * SIDE - fit.x) / fit.scale;
    const far = this.map.positions_px.map(([row, column]) => Math.hypot(row - y, column - x));
    return this.map.indexes[far.indexOf(Math.min(...far))];
  }

  #draw() {
    const context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    context.clearRect(0, 0, SIDE, SIDE);
    if (this.map === null || this.map.indexes.length === 0) return;
    const { positions_px: places, rfactors } = this.map;
    const [low, high] = rangeOfMap(rfactors);
    const fit = fitted(places, SIDE, MARGIN);
    const radius = Math.min(9, Math.max(1.5, (0.45 * SIDE) / Math.sqrt(places.length)));
    places.forEach(([y, x], i) => dot(context, fit.y + fit.scale * y, fit.x + fit.scale * x, radius, colourOf(rfactors[i], low, high)));
    if (this.frame?.position_px) ring(context, fit.y + fit.scale * this.frame.position_px[0], fit.x + fit.scale * this.frame.position_px[1], radius + 4);
    this.caption.textContent = `R ${words.rfactor(low)} to ${words.rfactor(high)}`;
  }
}

/** @param {number | null} value @param {number} low @param {number} high */
function colourOf(value, low, high) {
  if (value === null) return "rgb(128 128 128 / 45%)";
  const at = 3 * Math.round(255 * Math.min(1, Math.max(0, (value - low) / (high - low))));
  return `rgb(${sequential[at]} ${sequential[at + 1]} ${sequential[at + 2]})`;
}

/** @param {CanvasRenderingContext2D} context @param {number} y @param {number} x @param {number} radius @param {string} colour */
function dot(context, y, x, radius, colour) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
}

/** @param {CanvasRenderingContext2D} context @param {number} y @param {number} x @param {number} radius */
function ring(context, y, x, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.lineWidth = 3;
  context.strokeStyle = "#ff5a36";
  context.stroke();
}
