// @ts-check
// The frame under a click: position, patterns measured, modelled and their difference, steps to its neighbours.

import { base } from "./archive.js";
import { button, facts, make } from "./build.js";
import { FrameMapView } from "./frame-map.js";
import { readNpy } from "./npy.js";
import { greatest, paintCounts, paintResidual, sigmas } from "./pattern-colours.js";
import * as words from "./words.js";

const FACTS = /** @type {[string, string][]} */ ([
  ["measured at", "Position of the frame as it was measured"],
  ["found at", "Position as the refinement corrects it"],
  ["R-factor", "Misfit of this frame; lower is better"],
  ["counts", "Counts of all valid pixels"],
  ["no data", "Pixels of the pattern without data"],
]);
const PATTERNS = ["measured", "modelled", "residual"];

/** @typedef {{ frame: Wire.FrameFields, measured: Float32Array | null, modelled: Float32Array | null }} Shown */

export class FrameTool {
  /** `where` returns scan and layer to ask for; `onFrame` is called when another frame is shown.
   * @param {() => { scanId: string | null, layer: string }} where @param {() => void} onFrame */
  constructor(where, onFrame) {
    this.where = where;
    this.onFrame = onFrame;
    /** @type {Shown | null} */
    this.shown = null;
    this.turn = 0;
    /** @type {Record<string, HTMLCanvasElement>} */
    this.canvases = {};
    this.number = make("input", { type: "number", min: "0", step: "1", id: "frame-index", title: "Index of the frame" });
    this.number.addEventListener("change", () => this.number.value !== "" && this.go(Number(this.number.value)));
    this.earlier = button("‹", "Frame with the next lower index ([)", () => this.step("previous"), { id: "frame-previous", "aria-label": "Previous frame", "aria-keyshortcuts": "[" });
    this.later = button("›", "Frame with the next higher index (])", () => this.step("next"), { id: "frame-next", "aria-label": "Next frame", "aria-keyshortcuts": "]" });
    const [list, setFacts] = facts(FACTS);
    this.setFacts = setFacts;
    this.note = make("p", { className: "note", id: "frame-note", role: "status" });
    this.readout = make("p", { className: "readout", id: "frame-readout", role: "status" }, "Point at a pattern to read its counts.");
    const patterns = make("div", { className: "patterns" }, ...PATTERNS.map((name) => this.#figure(name)));
    this.map = new FrameMapView((index) => this.go(index));
    patterns.append(this.map.element);
    this.element = make("div", {}, make("div", { className: "frame-steps" }, make("label", {}, "Frame ", this.number), this.earlier, this.later), this.note, list, patterns, this.readout);
  }

  /** @param {string} name */
  #figure(name) {
    const canvas = make("canvas", { width: 1, height: 1, id: `frame-${name}`, tabIndex: 0, role: "img", "aria-label": `${name} pattern` });
    this.canvases[name] = canvas;
    canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => this.#point(canvas, event));
    canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#walk(canvas, event));
    return make("figure", {}, make("figcaption", {}, name), canvas);
  }

  /** Show the frame nearest to a place in the object's own frame.
   * @param {number} y @param {number} x */
  goNear(y, x) {
    return this.#ask(`frames/nearest?y=${y}&x=${x}&`);
  }

  /** @param {number} index */
  go(index) {
    return this.#ask(`frames/${Math.max(0, Math.round(index))}?`);
  }

  /** @param {"previous" | "next"} way */
  step(way) {
    const index = this.shown?.frame[way] ?? null;
    return index === null ? Promise.resolve() : this.go(index);
  }

  /** Fetch the shown frame again: the picture has improved. */
  refresh() {
    return this.shown === null ? Promise.resolve() : this.go(this.shown.frame.index);
  }

  /** Forget the shown frame. */
  clear() {
    this.turn += 1;
    this.shown = null;
    this.note.textContent = "";
    this.number.value = "";
    this.setFacts({});
    this.#paint(null, null);
  }

  /** @param {string} address */
  async #ask(address) {
    const { scanId, layer } = this.where();
    if (scanId === null) return;
    this.turn += 1;
    const turn = this.turn;
    try {
      const answer = await fetch(`${base(scanId)}/${address}layer=${layer}`);
      if (!answer.ok) throw new Error((await answer.json()).detail ?? `the daemon answered with status ${answer.status}`);
      /** @type {Wire.FrameFields} */
      const frame = await answer.json();
      const patterns = frame.side_px === null ? null : await fetch(`${base(scanId)}/frames/${frame.index}/patterns.npy?layer=${layer}`);
      const [measured, modelled] = patterns?.ok ? split(readNpy(await patterns.arrayBuffer())) : [null, null];
      if (turn === this.turn) this.#show({ frame, measured, modelled });
    } catch (fault) {
      if (turn === this.turn) this.note.textContent = fault.message;
    }
    this.map.follow(scanId, layer, this.shown?.frame ?? null);
  }

  /** @param {Shown} shown */
  #show(shown) {
    const { frame, measured, modelled } = shown;
    this.shown = shown;
    this.number.value = String(frame.index);
    this.earlier.disabled = frame.previous === null;
    this.later.disabled = frame.next === null;
    this.note.textContent = frame.absent ?? "";
    this.setFacts({
      "measured at": placeWords(frame.position_px, frame.pixel_size_m),
      "found at": frame.found_px === null ? "not corrected" : placeWords(frame.found_px, frame.pixel_size_m),
      "R-factor": frame.rfactor === null ? words.plain(null) : `${words.rfactor(frame.rfactor)} (${frame.layer})`,
      counts: words.count(frame.counts),
      "no data": frame.masked_pixels === null ? words.plain(null) : `${words.count(frame.masked_pixels)} px`,
    });
    this.#paint(measured, modelled);
    this.onFrame();
  }

  /** @param {Float32Array | null} measured @param {Float32Array | null} modelled */
  #paint(measured, modelled) {
    const side = measured === null ? 1 : Math.round(Math.sqrt(measured.length));
    const top = measured === null ? 1 : greatest(measured);
    for (const [name, canvas] of Object.entries(this.canvases)) {
      [canvas.width, canvas.height] = [side, side];
      if (measured === null || modelled === null) continue;
      const image = new ImageData(side, side);
      const pixels = new Uint32Array(image.data.buffer);
      if (name === "residual") {
        const end = paintResidual(pixels, measured, modelled);
        canvas.title = `modelled less measured: pale 0, blue −${end.toFixed(1)}, red +${end.toFixed(1)} standard deviations of photon noise, log scale`;
      } else {
        paintCounts(pixels, name === "measured" ? measured : modelled, top);
        canvas.title = `${name} counts, log scale up to ${words.level(top)}; dark red: no data`;
      }
      /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).putImageData(image, 0, 0);
    }
  }

  /** @param {HTMLCanvasElement} canvas @param {PointerEvent} event */
  #point(canvas, event) {
    const box = canvas.getBoundingClientRect();
    this.#read(Math.floor(((event.clientY - box.top) / box.height) * canvas.height), Math.floor(((event.clientX - box.left) / box.width) * canvas.width));
  }

  /** Read pixel after pixel with the arrow keys.
   * @param {HTMLCanvasElement} canvas @param {KeyboardEvent} event */
  #walk(canvas, event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (step === undefined) return;
    const far = event.shiftKey ? 10 : 1;
    const [row, column] = this.at ?? [canvas.height >> 1, canvas.width >> 1];
    this.#read(row + far * step[0], column + far * step[1]);
    event.preventDefault();
  }

  /** @param {number} row @param {number} column */
  #read(row, column) {
    const { measured = null, modelled = null } = this.shown ?? {};
    if (measured === null || modelled === null) return;
    const side = Math.round(Math.sqrt(measured.length));
    const [y, x] = [row, column].map((value) => Math.min(side - 1, Math.max(0, value)));
    this.at = [y, x];
    this.readout.textContent = countWords(y, x, measured[y * side + x], modelled[y * side + x]);
  }
}

/** @param {{ shape: number[], values: Float32Array }} array @returns {[Float32Array, Float32Array]} */
function split({ values }) {
  return [values.subarray(0, values.length / 2), values.subarray(values.length / 2)];
}

/** "row 3, column 7: measured 12, modelled 10.5, −0.4 σ".
 * @param {number} row @param {number} column @param {number} measured @param {number} modelled */
export function countWords(row, column, measured, modelled) {
  const off = sigmas(measured, modelled);
  const parts = [measured < 0 ? "no data" : `measured ${words.level(measured)}`];
  if (modelled >= 0) parts.push(`modelled ${words.level(modelled)}`);
  if (Number.isFinite(off)) parts.push(`${off < 0 ? "−" : "+"}${Math.abs(off).toFixed(1)} σ`);
  return `row ${row}, column ${column}: ${parts.join(", ")}`;
}

/** @param {number[] | null} place @param {number | null} size */
function placeWords(place, size) {
  if (place === null) return "not stitched";
  const [y, x] = size === null ? place : place.map((value) => 1e6 * value * size);
  return `x ${x.toFixed(2)}  y ${y.toFixed(2)} ${size === null ? "px" : "µm"}`;
}
