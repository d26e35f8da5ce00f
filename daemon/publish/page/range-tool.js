// @ts-check
// The range of colours: a histogram with limits to drag, numbers, percentiles, the colour table and its inversion.

import { button, make } from "./build.js";
import { mapNames, tableOf } from "./colour-maps.js";
import { BINS, histogram, percentileRange, sortedValues } from "./histogram.js";

const WIDTH = 512;
const HEIGHT = 150;
const KEY_STEPS = 100; // of the axis, for one press of an arrow key
const SPARE = 0.15; // of the values' extent on both sides, so that limits can be dragged beyond them

/** @typedef {{ limits: [number, number] | null, colours: string | null, isInverted: boolean }} Choice */

export class RangeTool {
  /** `choose` takes changes of the choices.
   * @param {import("./canvas.js").Stage} stage @param {(changes: Partial<Choice> & { half?: null, isHeld?: false }) => void} choose */
  constructor(stage, choose) {
    this.stage = stage;
    this.choose = choose;
    /** @type {[number, number]} */
    this.axis = [0, 1];
    /** @type {0 | 1 | null} */
    this.dragged = null;
    /** @type {number[]} The limits as they are chosen or were found. */
    this.limits = [];
    this.canvas = make("canvas", { className: "histogram", width: WIDTH, height: HEIGHT, id: "histogram", tabIndex: 0, role: "img", title: "Drag a limit; arrow keys move the upper one, with Shift the lower one", "aria-label": "Histogram of the picture. Arrow keys move the upper limit, with Shift the lower one." });
    this.canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#step(event));
    this.canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => this.#grab(event));
    this.canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => this.#drag(event));
    for (const kind of ["pointerup", "pointercancel"]) this.canvas.addEventListener(kind, () => (this.dragged = null));
    const number = (/** @type {string} */ id, /** @type {string} */ label, more = {}) => make("input", { type: "number", id, step: "any", "aria-label": label, ...more });
    this.ends = [number("range-low", "Lower end"), number("range-high", "Upper end")];
    this.percents = [number("percent-low", "Lower percentile", { min: "0", max: "100", value: "1" }), number("percent-high", "Upper percentile", { min: "0", max: "100", value: "99" })];
    for (const end of this.ends) end.addEventListener("change", () => this.#typed());
    for (const end of this.percents) end.addEventListener("change", () => this.#percent());
    this.table = make("select", { id: "table", title: "Colour table" });
    this.table.addEventListener("change", () => this.choose({ colours: this.table.value || null }));
    this.inverted = make("input", { type: "checkbox", id: "inverted" });
    this.inverted.addEventListener("change", () => this.choose({ isInverted: this.inverted.checked }));
    this.swatch = make("canvas", { className: "swatch", width: 256, height: 1, "aria-hidden": "true" });
    const buttons = make("div", { className: "buttons" }, button("Automatic", "Fit the range to the picture", () => this.choose({ limits: null, half: null, isHeld: false }), { id: "range-auto" }), button("Percentiles", "Set the range to these percentiles", () => this.#percent(), { id: "range-percent" }));
    this.note = make("p", { className: "readout" });
    this.element = make("div", {}, this.canvas,
      make("div", { className: "range-ends" }, make("span", {}, "Range"), ...this.ends, make("span", {}, "Percent"), ...this.percents),
      buttons,
      make("div", { className: "choices", style: "margin-top: 0.8em" }, make("label", {}, "Colours ", this.table), make("label", {}, this.inverted, " inverted")),
      this.swatch, this.note);
  }

  /** Show the choices and the picture as they are.
   * @param {Choice} chosen */
  show(chosen) {
    const { range, measured, look } = this.stage;
    const names = ["", ...mapNames()];
    if (this.table.options.length !== names.length) this.table.replaceChildren(...names.map((name) => new Option(name || "automatic", name)));
    this.table.value = chosen.colours ?? "";
    this.inverted.checked = chosen.isInverted;
    const isFree = range !== null && !["complex", "generation"].includes(look.view);
    for (const input of [...this.ends, ...this.percents]) input.disabled = !isFree;
    this.note.textContent = isFree ? "" : `The range of the view ${look.view} is not chosen.`;
    if (range === null || measured === null) return;
    const ends = isFree && chosen.limits !== null ? chosen.limits : [range.low, range.high]; // chosen, perhaps not yet drawn
    this.limits = [...ends];
    ends.forEach((value, i) => {
      if (document.activeElement !== this.ends[i]) this.ends[i].value = String(Number(value.toPrecision(4)));
    });
    this.#draw(range, sortedValues(look.view, measured));
  }

  /** @param {any} range @param {Float32Array} sorted */
  #draw(range, sorted) {
    const [least, most] = [Math.min(range.low, sorted[0] ?? range.low), Math.max(range.high, sorted[sorted.length - 1] ?? range.high)];
    const spare = SPARE * (most - least);
    if (this.dragged === null) this.axis = [least - spare, most + spare];
    const context = this.canvas.getContext("2d");
    const counts = histogram(sorted, ...this.axis);
    const top = Math.log1p(counts.reduce((a, b) => Math.max(a, b), 1));
    const table = tableOf(range.colours);
    context.clearRect(0, 0, WIDTH, HEIGHT);
    const [from, to] = this.axis;
    counts.forEach((count, i) => {
      const share = (from + ((i + 0.5) / BINS) * (to - from) - range.low) / (range.high - range.low);
      const at = 3 * Math.round(255 * Math.min(1, Math.max(0, share)));
      context.fillStyle = `rgb(${table[at]} ${table[at + 1]} ${table[at + 2]})`;
      const height = (Math.log1p(count) / top) * (HEIGHT - 8);
      context.fillRect((i * WIDTH) / BINS, HEIGHT - height, WIDTH / BINS + 0.5, height);
    });
    for (const value of [range.low, range.high]) {
      context.fillStyle = "#ff5a36";
      context.fillRect(((value - from) / (to - from)) * WIDTH - 1.5, 0, 3, HEIGHT);
    }
    const image = new ImageData(256, 1);
    table.forEach((value, i) => (image.data[4 * Math.floor(i / 3) + (i % 3)] = value));
    for (let i = 3; i < image.data.length; i += 4) image.data[i] = 255;
    this.swatch.getContext("2d").putImageData(image, 0, 0);
  }

  /** @param {PointerEvent} event */
  #valueAt(event) {
    const box = this.canvas.getBoundingClientRect();
    return this.axis[0] + ((event.clientX - box.left) / box.width) * (this.axis[1] - this.axis[0]);
  }

  /** @param {PointerEvent} event */
  #grab(event) {
    const { range } = this.stage;
    if (range === null || this.ends[0].disabled) return;
    const value = this.#valueAt(event);
    this.dragged = Math.abs(value - range.low) < Math.abs(value - range.high) ? 0 : 1;
    this.canvas.setPointerCapture(event.pointerId);
    this.#drag(event);
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    const { range } = this.stage;
    if (this.dragged === null || range === null) return;
    const ends = [range.low, range.high];
    ends[this.dragged] = this.#valueAt(event);
    if (ends[1] > ends[0]) this.#set(ends[0], ends[1]);
  }

  /** @param {KeyboardEvent} event */
  #step(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined || this.limits.length === 0 || this.ends[0].disabled) return;
    event.preventDefault();
    const ends = [...this.limits];
    ends[event.shiftKey ? 0 : 1] += (step * (this.axis[1] - this.axis[0])) / KEY_STEPS;
    if (ends[1] > ends[0]) this.#set(ends[0], ends[1]);
  }

  #typed() {
    const [low, high] = this.ends.map(({ value }) => Number(value));
    if (Number.isFinite(low) && high > low) this.#set(low, high);
    else this.note.textContent = "The upper end must be above the lower one.";
  }

  #percent() {
    const { measured, look } = this.stage;
    if (measured === null) return;
    const [low, high] = this.percents.map(({ value }) => Math.min(100, Math.max(0, Number(value))));
    const ends = high > low ? percentileRange(sortedValues(look.view, measured), [low, high]) : null;
    if (ends !== null) this.#set(...ends);
    else this.note.textContent = "The upper percentile must be above the lower one.";
  }

  /** @param {number} low @param {number} high */
  #set(low, high) {
    this.choose({ limits: [low, high], half: null, isHeld: false });
  }
}
