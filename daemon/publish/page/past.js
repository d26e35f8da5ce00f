// @ts-check
// The choice of pictures for both halves of the stage: live, an earlier moment, a past scan, or an iterative result.

import { Archive, comparison, moments, scanList } from "./archive.js";
import { byId } from "./elements.js";
import { clock, plain } from "./words.js";

/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {import("./session.js").Layer} Layer */

const MOMENTS_PAUSE_MS = 4000;
const SCANS_IN_LIST = 50;

export class Past {
  /** `session` and `chosen` (scan, moment, other, layer, isDifference) are read; `onChange` is called after another picture has arrived.
   * @param {import("./session.js").Session} session
   * @param {{ scan: string | null, moment: number | null, other: string, layer: Layer, isDifference: boolean }} chosen
   * @param {() => void} onChange */
  constructor(session, chosen, onChange) {
    this.session = session;
    this.chosen = chosen;
    this.onChange = onChange;
    this.archive = new Archive();
    /** @type {Picture | null} */
    this.main = null;
    /** @type {Picture | null} */
    this.second = null;
    /** @type {Wire.ComparisonFields | null} */
    this.figures = null;
    /** @type {Wire.PictureFields[]} */
    this.moments = [];
    /** @type {Wire.ScanFields[]} */
    this.scans = [];
    this.note = "";
    this.turn = 0;
    setInterval(() => this.#followMoments(), MOMENTS_PAUSE_MS);
  }

  /** Whether the main half shows the live picture. */
  get isLive() {
    return this.chosen.scan === null && this.chosen.moment === null;
  }

  /** The record of the past scan that is shown; null while the live one is. */
  get record() {
    return this.scans.find(({ id }) => id === this.chosen.scan) ?? null;
  }

  get scanId() {
    return this.chosen.scan ?? this.session.scanId;
  }

  /** Fetch the chosen pictures; the old ones stay until the new ones arrive. */
  async update() {
    this.turn += 1;
    const turn = this.turn;
    this.note = "";
    const [main, second] = await Promise.all([this.#main(), this.#second()]);
    if (turn !== this.turn) return;
    [this.main, this.second, this.figures] = [main, second, null];
    this.onChange();
    await this.#compare(turn);
  }

  /** The two pictures whose difference is shown; null where there is no difference, or not of the newest picture.
   * @returns {import("./archive.js").Pair | null} */
  get pair() {
    const { other, layer, isDifference, moment } = this.chosen;
    if (other === "" || !isDifference || moment !== null || this.scanId === null) return null;
    const opposite = layer === "refined" ? "network" : "refined";
    const otherLayer = other === "layer" ? opposite : other === "iterative" ? "iterative" : layer;
    return { scanId: this.scanId, layer, other: other.startsWith("scan:") ? other.slice("scan:".length) : this.scanId, otherLayer };
  }

  /** Ask for the figures of a difference, and for the other scan's picture as it was registered for them. */
  async #compare(turn) {
    const { pair } = this;
    if (pair === null) return;
    try {
      const figures = await comparison(pair);
      const second = this.chosen.other === "layer" ? this.second : await this.archive.registered(pair);
      if (turn !== this.turn) return;
      [this.figures, this.second] = [figures, second];
    } catch (fault) {
      if (turn !== this.turn) return;
      this.note = fault.message;
    }
    this.onChange();
  }

  async #main() {
    if (this.isLive || this.scanId === null) return null;
    return this.#get(this.scanId, this.chosen.layer, this.chosen.moment);
  }

  async #second() {
    const { other, layer } = this.chosen;
    const opposite = layer === "refined" ? "network" : "refined";
    if (other === "" || this.scanId === null) return null;
    if (other === "layer") return this.isLive ? null : this.#get(this.scanId, opposite, null);
    if (other === "iterative") return this.#get(this.scanId, "iterative", null);
    return this.#get(other.slice("scan:".length), layer, null);
  }

  /** @param {string} scanId @param {Layer | "iterative"} layer @param {number | null} at */
  async #get(scanId, layer, at) {
    try {
      return await this.archive.picture(scanId, layer, at);
    } catch (fault) {
      this.note = fault.message;
      return null;
    }
  }

  /** The picture of the second half; the live one if there is one. */
  secondPicture() {
    const { other, layer } = this.chosen;
    if (other !== "layer" || !this.isLive) return this.second;
    return this.session.pictures[layer === "refined" ? "network" : "refined"] ?? null;
  }

  /** Update the list of scans. */
  async refreshScans() {
    this.archive.clear();
    /** @type {Wire.ScanFields[]} */
    let scans;
    try {
      scans = (await scanList()).slice(0, SCANS_IN_LIST);
    } catch {
      return; // the banner of the connection shows the fault
    }
    this.scans = scans;
    const named = scans.map(({ id, started }) => [id, started ? `${id} · ${clock(new Date(started))}` : id]);
    fill(byId("scan-choice"), [["", "Live"], ...named], this.chosen.scan ?? "");
    const others = [["", "none"], ["layer", "other layer"], ["iterative", "iterative result"]];
    fill(byId("other-choice"), [...others, ...named.map(([id, name]) => [`scan:${id}`, name])], this.chosen.other);
  }

  async #followMoments() {
    if (document.hidden || this.scanId === null || (this.chosen.moment === null && !this.session.isRunning && this.moments.length > 0)) return;
    await this.refreshMoments();
  }

  /** Update the slider with the moments that the daemon keeps. */
  async refreshMoments() {
    const { scanId } = this;
    if (scanId === null) return;
    let found;
    try {
      found = await moments(scanId, this.chosen.layer);
    } catch {
      return;
    }
    if (scanId !== this.scanId) return;
    const shown = this.chosen.moment === null ? null : this.moments[this.chosen.moment]?.time_ns;
    this.moments = found;
    if (shown !== null && shown !== undefined) {
      const at = found.findIndex(({ time_ns: time }) => time >= shown);
      this.chosen.moment = at < 0 ? null : at; // the daemon drops every second moment from time to time
    }
    this.showSlider();
  }

  showSlider() {
    const slider = byId("moment");
    const count = this.moments.length;
    slider.disabled = count === 0;
    slider.max = String(Math.max(1, count)); // the knob of an empty one stands at its end too
    slider.value = String(this.chosen.moment ?? slider.max);
    const header = this.chosen.moment === null ? null : this.moments[this.chosen.moment];
    const text = header ? `${plain(header.frames_stitched)} frames, ${clock(new Date(header.time_ns / 1e6))}` : this.isLive ? "now" : "last";
    byId("moment-text").textContent = text;
    slider.setAttribute("aria-valuetext", text);
  }
}

function fill(select, options, value) {
  const isSame = select.options.length === options.length && options.every(([key, name], i) => select.options[i].value === key && select.options[i].text === name);
  if (!isSame) select.replaceChildren(...options.map(([key, name]) => new Option(name, key)));
  select.value = value;
}
