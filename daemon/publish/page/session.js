// @ts-check
// What the page knows of the daemon: the current scan, its pictures, the last status, the R-factors so far.

import { Picture } from "./picture.js";

export const LAYERS = ["refined", "network"];
const HISTORY_POINTS = 480;

export class Session {
  /** @type {Record<string, Picture>} */
  pictures = {};
  /** @type {{ time: number, network: number | null, refined: number | null }[]} */
  history = [];
  historyPause = 0;

  /** `onScan` is called when another scan becomes the current one. */
  constructor(onScan) {
    this.onScan = onScan;
    this.known = new Set();
    this.status = null;
    this.reset(null);
  }

  reset(scanId) {
    this.scanId = scanId;
    this.scanState = null;
    this.verdict = null;
    this.pictures = {};
    this.pictureAt = null;
    this.isConfirmed = true;
    this.history = [];
    this.historyPause = 0;
    if (scanId !== null) this.known.add(scanId);
  }

  /** After the connection was lost: another scan may be current, and the pictures are old until sent again. */
  doubt() {
    this.known = new Set(this.scanId === null ? [] : [this.scanId]);
    this.isConfirmed = Object.keys(this.pictures).length === 0;
  }

  take(message) {
    const { topic, header } = message;
    if (topic === "status") this.#takeStatus(header);
    else if (topic === "scan") this.#takeScan(header);
    else this.#takePicture(message);
  }

  /** The layer to show when `wanted` is asked for, or null while there is none. */
  layerFor(wanted) {
    return [wanted, ...LAYERS].find((layer) => layer in this.pictures) ?? null;
  }

  /** Whether the scan still takes frames, as far as anybody said. */
  get isRunning() {
    return ["scanning", "finishing"].includes(this.status?.phase ?? this.status?.state) && this.scanState !== "ended";
  }

  #begin(scanId) {
    this.reset(scanId);
    this.onScan(scanId);
  }

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

  #takeScan({ scan_id: scanId, state, verdict = null }) {
    const isNew = !this.known.has(scanId) && (state === "started" || this.scanId === null);
    const isAgain = scanId === this.scanId && state === "started" && this.scanState === "ended";
    if (isNew || isAgain) this.#begin(scanId);
    if (scanId !== this.scanId) return;
    this.scanState = state;
    this.verdict = verdict;
  }

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
