// @ts-check
// The map of all scans of a session, in the coordinates of the stage.

import { make } from "./build.js";
import * as words from "./words.js";

const MARGIN = 24;
const TEXT_PX = 14;

/** @typedef {{ y: number, x: number, h: number, w: number }} Area Metres on the stage. */
/** @typedef {{ id: string, image: ImageBitmap, area: Area }} Placed */

/** Scale and shift that fit areas into a rectangle of pixels.
 * @param {Area[]} areas @param {number} width @param {number} height @param {number} margin */
export function mapFit(areas, width, height, margin = MARGIN) {
  const ends = (/** @type {(area: Area) => number} */ of, /** @type {(...values: number[]) => number} */ best, start) => areas.reduce((found, area) => best(found, of(area)), start);
  const [top, left] = [ends(({ y }) => y, Math.min, Infinity), ends(({ x }) => x, Math.min, Infinity)];
  const [bottom, right] = [ends(({ y, h }) => y + h, Math.max, -Infinity), ends(({ x, w }) => x + w, Math.max, -Infinity)];
  const room = (/** @type {number} */ side) => Math.max(1, side - 2 * margin);
  const scale = Math.min(room(width) / Math.max(right - left, 1e-12), room(height) / Math.max(bottom - top, 1e-12));
  return { scale, y: height / 2 - (scale * (top + bottom)) / 2, x: width / 2 - (scale * (left + right)) / 2 };
}

/** The area of a thumbnail from the headers of its answer; null where the pixel size is unknown.
 * @param {Headers} headers @returns {Area | null} */
export function areaOf(headers) {
  const pair = (/** @type {string} */ name) => (headers.get(name) ?? "").split(",").map(Number);
  const size = Number(headers.get("X-Pixel-Size-M"));
  const [[y, x], [h, w]] = [pair("X-Corner-Px"), pair("X-Size-Px")];
  return size > 0 && [y, x, h, w].every(Number.isFinite) ? { y: y * size, x: x * size, h: h * size, w: w * size } : null;
}

export class SessionMap {
  /** `onPick` gets the id of a chosen scan, `onMark` that of the one which the arrow keys have reached.
   * @param {(scanId: string) => void} onPick @param {(scanId: string) => void} onMark */
  constructor(onPick, onMark) {
    this.onPick = onPick;
    this.onMark = onMark;
    /** @type {Placed[]} Newest first. */
    this.placed = [];
    /** @type {string | null} */
    this.marked = null;
    this.element = make("canvas", { id: "session-map", hidden: true, tabIndex: 0, role: "img", "aria-label": "All scans on the stage. Arrow keys go through them, Enter shows one." });
    this.element.addEventListener("click", (/** @type {MouseEvent} */ event) => this.#click(event));
    this.element.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
    new ResizeObserver(() => this.#draw()).observe(this.element);
  }

  /** @param {Placed[]} placed Newest first; the newest is drawn on top. */
  show(placed) {
    this.placed = placed;
    this.#draw();
  }

  get #fit() {
    return mapFit(this.placed.map(({ area }) => area), this.element.width, this.element.height, MARGIN * window.devicePixelRatio);
  }

  #draw() {
    const { element: canvas, placed } = this;
    const ratio = window.devicePixelRatio;
    [canvas.width, canvas.height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.max(1, Math.round(side * ratio)));
    if (placed.length === 0) return;
    const context = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    const fit = this.#fit;
    context.font = `${TEXT_PX * ratio}px ${style.fontFamily}`;
    for (const { id, image, area } of [...placed].reverse()) {
      const [x, y, w, h] = [fit.x + fit.scale * area.x, fit.y + fit.scale * area.y, fit.scale * area.w, fit.scale * area.h];
      context.drawImage(image, x, y, w, h);
      context.lineWidth = (id === this.marked ? 4 : 1) * ratio;
      context.strokeStyle = style.getPropertyValue("--accent");
      context.strokeRect(x, y, w, h);
      context.fillStyle = style.color;
      context.fillText(id, x + 2 * ratio, y - 4 * ratio);
    }
    const length = words.roundDown((0.2 * canvas.width) / fit.scale);
    context.fillRect(MARGIN * ratio, canvas.height - 12 * ratio, length * fit.scale, 4 * ratio);
    context.fillText(words.length(length), MARGIN * ratio, canvas.height - 16 * ratio);
  }

  /** @param {MouseEvent} event */
  #click(event) {
    const box = this.element.getBoundingClientRect();
    const fit = this.#fit;
    const y = (((event.clientY - box.top) / box.height) * this.element.height - fit.y) / fit.scale;
    const x = (((event.clientX - box.left) / box.width) * this.element.width - fit.x) / fit.scale;
    const hit = this.placed.find(({ area }) => y >= area.y && y <= area.y + area.h && x >= area.x && x <= area.x + area.w);
    if (hit !== undefined) this.onPick(hit.id);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const count = this.placed.length;
    const at = this.placed.findIndex(({ id }) => id === this.marked);
    if (event.key === "Enter" && at >= 0) this.onPick(this.placed[at].id);
    if (step === undefined || count === 0) return;
    event.preventDefault();
    this.marked = this.placed[at < 0 ? (step > 0 ? 0 : count - 1) : (at + step + count) % count].id;
    this.onMark(this.marked);
    this.#draw();
  }
}
