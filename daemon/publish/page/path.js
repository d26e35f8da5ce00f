// @ts-check
// The scan's path over the picture: where the beam was, and where it is.

import { base } from "./archive.js";

const PAUSE_MS = 1000;
const DRAWN_POINTS = 20_000;

export class Path {
  /** `wantedScan` gives the scan whose path is to be shown, or null; `onChange` is called when there is more of it. */
  constructor(canvas, wantedScan, onChange) {
    this.canvas = canvas;
    this.wantedScan = wantedScan;
    this.onChange = onChange;
    this.scanId = null;
    this.points = [];
    setInterval(() => this.fetch(), PAUSE_MS);
  }

  /** Ask for what is new. */
  async fetch() {
    const scanId = this.wantedScan();
    if (scanId === null || this.isAsking) return;
    if (scanId !== this.scanId) [this.scanId, this.points] = [scanId, []];
    this.isAsking = true;
    try {
      const answer = await fetch(`${base(scanId)}/path?after=${this.points.length}`);
      if (!answer.ok) return;
      const { after, positions_px: more } = await answer.json();
      if (scanId !== this.scanId || after !== this.points.length || more.length === 0) return;
      for (const point of more) this.points.push(point);
      this.onChange();
    } catch {
      // the connection says what is wrong
    } finally {
      this.isAsking = false;
    }
  }

  /** Draw as a camera sees it; `isRunning` marks the last place as the present one. */
  draw(camera, isShown, isRunning) {
    const { canvas } = this;
    canvas.hidden = !isShown;
    if (!isShown) return;
    if (canvas.width !== camera.width || canvas.height !== camera.height) [canvas.width, canvas.height] = [camera.width, camera.height];
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (this.points.length === 0 || this.scanId !== this.wantedScan()) return;
    const ratio = (window.devicePixelRatio * parseFloat(getComputedStyle(canvas).fontSize)) / 14; // grows with the text
    this.#line(context, camera, ratio);
    if (isRunning) mark(context, camera.toScreen(...this.points.at(-1).map((value) => value + 0.5)), ratio);
  }

  #line(context, camera, ratio) {
    const step = Math.ceil(this.points.length / DRAWN_POINTS);
    context.beginPath();
    for (let i = 0; i < this.points.length; i += step) {
      const [y, x] = camera.toScreen(this.points[i][0] + 0.5, this.points[i][1] + 0.5);
      if (i === 0) context.moveTo(x, y);
      else context.lineTo(x, y);
    }
    context.strokeStyle = "rgb(0 0 0 / 55%)";
    context.lineWidth = 2.6 * ratio;
    context.stroke();
    context.strokeStyle = "rgb(255 255 255 / 75%)";
    context.lineWidth = ratio;
    context.stroke();
  }
}

function mark(context, [y, x], ratio) {
  /** @type {[string, number][]} */
  const rings = [["#000", 5], ["#ff5a36", 2.6]];
  for (const [colour, width] of rings) {
    context.beginPath();
    context.arc(x, y, 7 * ratio, 0, 2 * Math.PI);
    context.strokeStyle = colour;
    context.lineWidth = width * ratio;
    context.stroke();
  }
}
