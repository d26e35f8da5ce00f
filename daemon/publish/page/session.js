// @ts-check
// The current scan, its pictures, the last status and the R-factors so far.

import { Picture } from "./picture.js";

/** @typedef {Wire.PictureHeader["layer"]} Layer */

/** @type {Layer[]} */
export const LAYERS = ["refined", "network"];
const HISTORY_POINTS = 480;

export class Session {
  /** @type {Record<string, Picture>} */
  pictures = {};
  /** @type {{ time: number, network: number | null, refined: number | null }[]} */
  history = [];
  historyPause = 0;

  /** `onScan` is called when another scan becomes the current one.
   * @param {(scanId: string) => void} onScan */
  constructor(onScan) {
    this.onScan = onScan;
    /** @type {Set<string>} */
    this.known = new Set();
    /** @type {Wire.StatusHeader | null} */
    this.status = null;
    this.reset(null);
  }

  /** @param {string | null} scanId */
  reset(scanId) {
    /** @type {string | null} */
    this.scanId = scanId;
    /** @type {Wire.ScanHeader["state"] | null} */
    this.scanState = null;
    /** @type {Wire.VerdictFields | null} */
    this.verdict = null;
    /** @type {Wire.ScanState | null} */
    this.result = null;
    this.pictures = {};
    /** @type {Date | null} */
    this.pictureAt = null;
    this.isConfirmed = true;
    this.history = [];
    this.historyPause = 0;
    if (scanId !== null) this.known.add(scanId);
  }

  /** After a lost connection: another scan may be current, and the pictures are old until they are sent again. */
  doubt() {
    this.known = new Set(this.scanId ? [this.scanId] : []);
    this.isConfirmed = Object.keys(this.pictures).length === 0;
  }

  /** @param {Wire.Message} message */
  take(message) {
    if (message.topic === "status") this.#takeStatus(message.header);
    else if (message.topic === "scan") this.#takeScan(message.header);
    else this.#takePicture(message);
  }

  /** The layer to show if `wanted` is chosen, or null if there is none yet.
   * @param {Layer} wanted */
  layerFor(wanted) {
    return [wanted, ...LAYERS].find((layer) => layer in this.pictures) ?? null;
  }

  /** Whether the current scan has not ended. */
  get isRunning() {
    const phase = this.status?.phase ?? this.status?.state;
    return (phase === "scanning" || phase === "finishing") && this.scanState !== "ended";
  }

  /** The part of the object that the current scan will cover, [top, left, bottom, right], m; null after it, and where it is not known.
   * @returns {readonly number[] | null} */
  get plannedBoxM() {
    return this.isRunning && this.status?.scan_id === this.scanId ? (this.status?.planned_box_m ?? null) : null;
  }

  /** @param {string} scanId */
  #begin(scanId) {
    this.reset(scanId);
    this.onScan(scanId);
  }

  /** @param {Wire.StatusHeader} status */
  #takeStatus(status) {
    this.status = status;
    if (status.scan_id !== this.scanId || !status.rfactor) return;
    const { network = null, refined = null } = status.rfactor;
    if (network === null && refined === null) return;
    const last = this.history.at(-1);
    const time = performance.now() / 1000;
    if (last !== undefined && time - last.time < this.historyPause) return;
    this.history.push({ time, network, refined });
    if (this.history.length > HISTORY_POINTS) {
      this.history = this.history.filter((_, i) => i % 2 === 0);
      this.historyPause = Math.max(0.5, 2 * this.historyPause);
    }
  }

  /** @param {Wire.ScanHeader} header */
  #takeScan(header) {
    const { scan_id: scanId, state } = header;
    const isNew = !this.known.has(scanId) && (state === "started" || this.scanId === null);
    const isAgain = scanId === this.scanId && state === "started" && this.scanState === "ended";
    if (isNew || isAgain) this.#begin(scanId);
    if (scanId !== this.scanId) return;
    this.scanState = state;
    this.verdict = header.state === "ended" ? (header.verdict ?? null) : null;
    this.result = header.state === "ended" ? (header.result ?? null) : null;
  }

  /** @param {Wire.PictureMessage} message */
  #takePicture(message) {
    const { scan_id: scanId, layer } = message.header;
    if (!LAYERS.includes(layer)) return;
    if (!this.known.has(scanId)) this.#begin(scanId);
    if (scanId !== this.scanId) return;
    this.pictures[layer] ??= new Picture();
    this.pictures[layer].apply(message);
    this.pictureAt = new Date();
    this.isConfirmed = true;
  }
}
