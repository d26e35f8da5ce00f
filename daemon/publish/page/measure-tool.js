// @ts-check
// Line profile and ruler, and statistics of a region: drawn on the picture with the pointer, or typed.

import { button, facts, make } from "./build.js";
import { stroke } from "./marks.js";
import { profile, statistics } from "./measure-values.js";
import * as words from "./words.js";

const WIDTH = 512;
const HEIGHT = 220;
const PAUSE_MS = 1000; // between two computations while the picture grows
const COLOUR = "#ffd23f";
const ENDS = ["x from", "y from", "x to", "y to"];

/** @typedef {"line" | "region"} Kind */

export class MeasureTool {
  /** @param {import("./canvas.js").Stage} stage @param {import("./marks.js").Marks} marks */
  constructor(stage, marks) {
    this.stage = stage;
    this.marks = marks;
    /** @type {Kind} */
    this.kind = "line";
    this.isShown = false;
    /** @type {[[number, number], [number, number]] | null} Both ends [y, x] in the object's own frame. */
    this.ends = null;
    /** @type {[number, number] | null} The first end, until the keyboard gives the second. */
    this.begun = null;
    this.computedAt = 0;
    this.computed = "";
    const kind = (/** @type {Kind} */ name, /** @type {string} */ text) => button(text, `Drag over the picture to draw a ${name}`, () => this.choose(name), { id: `measure-${name}` });
    this.buttons = { line: kind("line", "Line"), region: kind("region", "Region") };
    const clear = button("Clear", "Remove the line or the region", () => this.set(null), { id: "measure-clear" });
    this.inputs = ENDS.map((name, i) => make("input", { type: "number", step: "any", id: `measure-${i}`, "aria-label": name, title: name }));
    for (const input of this.inputs) input.addEventListener("change", () => this.#typed());
    this.unit = make("span", {}, "px");
    this.canvas = make("canvas", { width: WIDTH, height: HEIGHT, id: "profile", role: "img", "aria-label": "Values along the line" });
    const [list, setFacts] = facts([["length", ""], ["angle", "From the x axis, downwards positive"], ["mean", ""], ["deviation", "Standard deviation"], ["least", ""], ["greatest", ""], ["pixels", "Covered pixels"]]);
    this.setFacts = setFacts;
    this.note = make("p", { className: "readout", id: "measure-note" });
    this.element = make("div", {}, make("div", { className: "buttons" }, this.buttons.line, this.buttons.region, clear),
      make("div", { className: "measure-ends" }, make("span", {}, "from, ", this.unit), this.inputs[0], this.inputs[1], make("span", {}, "to"), this.inputs[2], this.inputs[3]),
      this.canvas, list, this.note);
    this.choose("line");
  }

  /** Whether dragging on the picture draws. */
  get draws() {
    return this.isShown;
  }

  /** @param {boolean} isShown */
  show(isShown) {
    this.isShown = isShown;
    this.stage.canvas.classList.toggle("drawing", isShown);
    this.#mark();
    this.update(true);
  }

  /** @param {Kind} kind */
  choose(kind) {
    this.kind = kind;
    for (const [name, made] of Object.entries(this.buttons)) made.setAttribute("aria-pressed", String(name === kind));
    this.note.textContent = `Drag over the picture to draw a ${kind}, type its ends (x, y), or press Enter at both (arrow keys move the cross).`;
    this.set(this.ends);
  }

  /** @param {[[number, number], [number, number]] | null} ends */
  set(ends) {
    this.ends = ends;
    this.begun = null;
    const size = this.#size();
    this.unit.textContent = size === 1 ? "px" : "µm";
    const flat = ends === null ? [] : [ends[0][1], ends[0][0], ends[1][1], ends[1][0]];
    this.inputs.forEach((input, i) => {
      if (document.activeElement !== input) input.value = flat.length === 0 ? "" : String(Number((flat[i] * size).toPrecision(5)));
    });
    this.#mark();
    this.update(true);
  }

  /** Take an end from the keyboard's cross: the first one begins a new line or region, the second one completes it.
   * @param {[number, number]} place */
  addEnd(place) {
    const isSecond = this.begun !== null;
    this.set([this.begun ?? place, place]);
    this.begun = isSecond ? null : place;
  }

  /** Micrometres of a pixel; 1 where the pixel size is unknown. */
  #size() {
    const size = this.stage.picture?.header?.pixel_size_m ?? 0;
    return size > 0 ? 1e6 * size : 1;
  }

  #typed() {
    if (this.inputs.some(({ value }) => value === "")) return;
    const [x0, y0, x1, y1] = this.inputs.map(({ value }) => Number(value) / this.#size());
    this.set([[y0, x0], [y1, x1]]);
  }

  #mark() {
    const { ends, kind } = this;
    this.marks.set("measure", ends === null || !this.isShown ? null : (context, toScreen, ratio) => {
      const [[y0, x0], [y1, x1]] = [toScreen(...ends[0]), toScreen(...ends[1])];
      context.beginPath();
      if (kind === "line") {
        context.moveTo(x0, y0);
        context.lineTo(x1, y1);
      } else context.rect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
      stroke(context, COLOUR, 1.6 * ratio);
    });
  }

  /** Compute again, at once or when the picture has changed a while ago. */
  update(isUrgent = false) {
    const { picture, range } = this.stage;
    if (!this.isShown) return;
    const now = performance.now();
    const key = `${picture?.changes} ${range?.view} ${range?.mean}`;
    if (!isUrgent && (key === this.computed || now - this.computedAt < PAUSE_MS)) return;
    [this.computed, this.computedAt] = [key, now];
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, WIDTH, HEIGHT);
    this.canvas.hidden = this.kind !== "line";
    if (this.ends === null || picture === null || range === null) return this.setFacts({});
    return this.kind === "line" ? this.#line(context, picture, range) : this.#region(picture, range);
  }

  /** @param {CanvasRenderingContext2D} context @param {any} picture @param {any} range */
  #line(context, picture, range) {
    const [from, to] = /** @type {[[number, number], [number, number]]} */ (this.ends);
    const found = profile(picture, range, from, to);
    const known = found.values.filter((value) => !Number.isNaN(value));
    const [least, greatest] = [known.reduce((a, b) => Math.min(a, b), Infinity), known.reduce((a, b) => Math.max(a, b), -Infinity)];
    const angle = (180 / Math.PI) * Math.atan2(to[0] - from[0], to[1] - from[1]);
    const hasValues = known.length > 0;
    const mean = known.reduce((sum, value) => sum + value, 0) / Math.max(1, known.length);
    const numbers = hasValues ? { mean: words.level(mean), least: words.level(least), greatest: words.level(greatest) } : {};
    this.setFacts({ length: this.#length(found.length), angle: `${angle.toFixed(1)}°`, pixels: words.count(known.length), .../** @type {Record<string, string>} */ (numbers) });
    if (hasValues) drawProfile(context, found, least, greatest, this.#length(found.length));
  }

  /** @param {any} picture @param {any} range */
  #region(picture, range) {
    const [[y0, x0], [y1, x1]] = /** @type {[[number, number], [number, number]]} */ (this.ends);
    const box = { y: Math.min(y0, y1), x: Math.min(x0, x1), h: Math.abs(y1 - y0), w: Math.abs(x1 - x0) };
    const found = statistics(picture, range, box);
    const size = { length: `${this.#length(box.w)} × ${this.#length(box.h)}` };
    if (found === null) return this.setFacts(size);
    const { mean, deviation, least, greatest, count, share } = found;
    const numbers = Object.fromEntries(Object.entries({ mean, deviation, least, greatest }).map(([name, value]) => [name, words.level(value)]));
    return this.setFacts({ ...size, ...numbers, pixels: `${words.count(count)} (${Math.round(100 * share)} % covered)` });
  }

  /** @param {number} pixels */
  #length(pixels) {
    const size = this.stage.picture?.header?.pixel_size_m ?? 0;
    return size > 0 ? words.length(pixels * size) : `${pixels.toFixed(1)} px`;
  }
}

/** @param {CanvasRenderingContext2D} context @param {import("./measure-values.js").Profile} found
 * @param {number} least @param {number} greatest @param {string} lengthWords */
function drawProfile(context, { places, values, length }, least, greatest, lengthWords) {
  const style = getComputedStyle(context.canvas);
  const [left, bottom, top] = [64, HEIGHT - 26, 10];
  const span = greatest > least ? greatest - least : 1;
  context.font = `16px ${style.fontFamily}`;
  context.fillStyle = style.color;
  context.fillText(words.level(greatest), 2, top + 12);
  context.fillText(words.level(least), 2, bottom);
  context.fillText("0", left, HEIGHT - 6);
  context.textAlign = "right";
  context.fillText(lengthWords, WIDTH - 4, HEIGHT - 6);
  context.textAlign = "left";
  context.beginPath();
  let isOpen = false;
  for (let i = 0; i < values.length; i += 1) {
    if (Number.isNaN(values[i])) {
      isOpen = false;
      continue;
    }
    const x = left + (places[i] / Math.max(length, 1e-9)) * (WIDTH - left - 8);
    const y = bottom - ((values[i] - least) / span) * (bottom - top);
    if (isOpen) context.lineTo(x, y);
    else context.moveTo(x, y);
    isOpen = true;
  }
  context.strokeStyle = style.getPropertyValue("--accent");
  context.lineWidth = 2;
  context.stroke();
}
