// @ts-check
// The probe: its modes, amplitude and phase, along the beam, and the difference to the one given.

import { base } from "./archive.js";
import { facts, make } from "./build.js";
import { complexTable, packed, sequential } from "./colours.js";
import { readNpy } from "./npy.js";
import * as words from "./words.js";

const LOG_STEPS = 100; // steps of the slider on each side of the sample
const BRIGHTNESSES = 63;
const AMPLITUDES = packed(sequential);

/** Distance of a slider's place: fine near the sample, `reach` at the ends.
 * @param {number} place -100 to 100 @param {number} reach m */
export function distanceAt(place, reach) {
  const share = place / LOG_STEPS;
  return Math.sign(share) * reach * share * share;
}

/** Fill two pictures with amplitude, and with phase as hue and amplitude as brightness; returns the greatest amplitude.
 * @param {Uint32Array} amplitudes @param {Uint32Array} phases @param {Float32Array} wave real and imaginary part in turn */
export function paintWave(amplitudes, phases, wave) {
  let top = 0;
  for (let i = 0; i < wave.length; i += 2) top = Math.max(top, Math.hypot(wave[i], wave[i + 1]));
  const colours = complexTable();
  for (let i = 0; i < amplitudes.length; i += 1) {
    const share = top > 0 ? Math.hypot(wave[2 * i], wave[2 * i + 1]) / top : 0;
    const hue = (255 * (Math.atan2(wave[2 * i + 1], wave[2 * i]) + Math.PI)) / (2 * Math.PI);
    amplitudes[i] = AMPLITUDES[Math.round(255 * share)];
    phases[i] = colours[256 * Math.round(BRIGHTNESSES * share) + Math.min(255, Math.floor(hue))];
  }
  return top;
}

export class ProbeTool {
  /** @param {() => { scanId: string | null, layer: string }} where */
  constructor(where) {
    this.where = where;
    /** @type {Wire.ProbeFields | null} */
    this.about = null;
    /** @type {{ shape: number[], values: Float32Array } | null} */
    this.waves = null;
    this.turn = 0;
    this.which = this.#choice("probe-which", "Probe", [["now", "of this picture"], ["given", "as given"], ["difference", "difference"]], () => this.#fetch());
    this.mode = this.#choice("probe-mode", "Mode", [], () => this.#draw());
    this.distance = make("input", { type: "range", id: "probe-distance", min: String(-LOG_STEPS), max: String(LOG_STEPS), value: "0", step: "1" });
    this.distance.addEventListener("input", () => this.#moved());
    this.distanceText = make("output", {}, "at the sample");
    const [list, setFacts] = facts([["modes", "Share of each mode in the energy"], ["field", "Side of the grid"], ["change", "Energy of the difference to the probe given"]]);
    this.setFacts = setFacts;
    this.note = make("p", { className: "note", id: "probe-note", role: "status" });
    const canvas = (/** @type {string} */ name) => make("canvas", { width: 1, height: 1, id: `probe-${name}`, role: "img", "aria-label": `${name} of the probe` });
    this.amplitude = canvas("amplitude");
    this.phase = canvas("phase");
    const figures = [["amplitude", this.amplitude], ["phase as hue", this.phase]].map(([name, part]) => make("figure", {}, make("figcaption", {}, name), part));
    this.element = make("div", {},
      make("div", { className: "choices" }, make("label", {}, "Probe ", this.which), make("label", {}, "Mode ", this.mode)),
      this.note,
      make("label", { className: "slider" }, "Along the beam ", this.distance, this.distanceText),
      make("div", { className: "patterns" }, ...figures),
      list,
    );
  }

  /** @param {string} id @param {string} title @param {string[][]} options @param {() => void} onChange */
  #choice(id, title, options, onChange) {
    const select = make("select", { id, title }, ...options.map(([key, name]) => new Option(name, key)));
    select.addEventListener("change", onChange);
    return select;
  }

  /** Fetch the probe of the scan on the screen. */
  async show() {
    const { scanId } = this.where();
    if (scanId === null) return;
    try {
      const answer = await fetch(`${base(scanId)}/probe`);
      const found = await answer.json();
      if (!answer.ok) throw new Error(found.detail ?? `the daemon answered with status ${answer.status}`);
      this.about = found;
      this.#describe(found);
      await this.#fetch();
    } catch (fault) {
      this.note.textContent = fault.message;
    }
  }

  /** @param {Wire.ProbeFields} about */
  #describe(about) {
    const chosen = this.mode.value;
    this.mode.replaceChildren(...about.shares.map((share, i) => new Option(`${i + 1}: ${(100 * share).toFixed(1)} %`, String(i))));
    this.mode.value = Number(chosen) < about.shares.length ? chosen || "0" : "0";
    this.distance.disabled = about.reach_m === null;
    this.setFacts({
      modes: about.shares.map((share) => `${(100 * share).toFixed(1)} %`).join(", "),
      field: about.pixel_size_m === null ? `${about.side_px} px` : words.length(about.side_px * about.pixel_size_m),
      change: about.change === null ? words.plain(null) : `${(100 * about.change).toPrecision(2)} %`,
    });
  }

  get metres() {
    return distanceAt(Number(this.distance.value), this.about?.reach_m ?? 0);
  }

  #moved() {
    const metres = this.metres;
    this.distanceText.textContent = metres === 0 ? "at the sample" : `${words.length(Math.abs(metres))} ${metres > 0 ? "behind" : "before"} the sample`;
    this.#fetch();
  }

  async #fetch() {
    const { scanId } = this.where();
    if (scanId === null || this.about === null) return;
    this.turn += 1;
    const turn = this.turn;
    try {
      const answer = await fetch(`${base(scanId)}/probe.npy?which=${this.which.value}&distance_m=${this.metres}`);
      if (!answer.ok) throw new Error((await answer.json()).detail);
      const waves = readNpy(await answer.arrayBuffer());
      if (turn !== this.turn) return;
      this.waves = waves;
      this.note.textContent = "";
      this.#draw();
    } catch (fault) {
      if (turn === this.turn) this.note.textContent = fault.message;
    }
  }

  #draw() {
    if (this.waves === null) return;
    const [modes, side] = this.waves.shape;
    const size = 2 * side * side;
    const mode = Math.min(modes - 1, Number(this.mode.value));
    const images = [new ImageData(side, side), new ImageData(side, side)];
    const [amplitudes, phases] = images.map((image) => new Uint32Array(image.data.buffer));
    const top = paintWave(amplitudes, phases, this.waves.values.subarray(mode * size, (mode + 1) * size));
    [this.amplitude, this.phase].forEach((canvas, i) => {
      [canvas.width, canvas.height] = [side, side];
      canvas.getContext("2d").putImageData(images[i], 0, 0);
      canvas.title = `amplitude up to ${words.level(top)}`;
    });
  }
}
