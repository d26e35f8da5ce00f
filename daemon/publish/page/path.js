// @ts-check
// The path of the beam over the picture, and its current position.

import { base } from "./archive.js";
import { fetchToldPath } from "./positions.js";
import { percentile } from "./ranges.js";

const PAUSE_MS = 1000;
const DRAWN_POINTS = 20_000;
const JUMP = 8; // a step this many times the usual one is a jump; a line of a raster ends with a shorter one, or is drawn as a jump

export class Path {
  /** `wantedScan` returns the scan whose path is shown, or null; `onChange` is called after the path has grown.
   * @param {HTMLCanvasElement} canvas
   * @param {() => string | null} wantedScan
   * @param {() => void} onChange */
  constructor(canvas, wantedScan, onChange) {
    this.canvas = canvas;
    this.wantedScan = wantedScan;
    this.onChange = onChange;
    /** @type {string | null} */
    this.scanId = null;
    /** @type {Wire.ScanPath["positions_px"]} */
    this.points = [];
    /** @type {Wire.ScanPath["positions_px"]} Positions as they were told, where others are used. */
    this.told = [];
    /** @type {number | null} */
    this.errorPx = null;
    this.isAsking = false;
    setInterval(() => this.fetch(), PAUSE_MS);
  }

  /** Fetch the path again where frames have been laid elsewhere.
   * @param {number | null} errorPx Mean distance between told and used positions; null: the told ones are used. */
  expect(errorPx) {
    if (errorPx !== this.errorPx) [this.errorPx, this.points, this.told] = [errorPx, [], []];
  }

  /** Fetch new positions. */
  async fetch() {
    const scanId = this.wantedScan();
    if (scanId === null || this.isAsking) return;
    if (scanId !== this.scanId) [this.scanId, this.points, this.told] = [scanId, [], []];
    this.isAsking = true;
    try {
      const errorPx = this.errorPx;
      const answer = await fetch(`${base(scanId)}/path?after=${this.points.length}`);
      if (!answer.ok) return;
      /** @type {Wire.ScanPath} */
      const { after, positions_px: more } = await answer.json();
      const told = errorPx === null ? [] : await fetchToldPath(scanId, this.told.length);
      if (scanId !== this.scanId || errorPx !== this.errorPx || after !== this.points.length) return;
      if (more.length + told.length === 0) return;
      for (const point of more) this.points.push(point);
      for (const point of told) this.told.push(point);
      this.onChange();
    } catch {
      // the banner of the connection shows the fault
    } finally {
      this.isAsking = false;
    }
  }

  /** Draw the path as a camera sees it; `isRunning` marks the last position as the current one. */
  draw(camera, isShown, isRunning) {
    const { canvas } = this;
    canvas.hidden = !isShown;
    if (!isShown) return;
    if (canvas.width !== camera.width || canvas.height !== camera.height) [canvas.width, canvas.height] = [camera.width, camera.height];
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (this.points.length === 0 || this.scanId !== this.wantedScan()) return;
    const ratio = (window.devicePixelRatio * parseFloat(getComputedStyle(canvas).fontSize)) / 14; // grows with the text
    context.setLineDash([4 * ratio, 4 * ratio]);
    line(context, camera, ratio, this.told);
    context.setLineDash([]);
    line(context, camera, ratio, this.points);
    const [y, x] = this.points[this.points.length - 1];
    if (isRunning) mark(context, camera.toScreen(y + 0.5, x + 0.5), ratio);
  }
}

/** @param {CanvasRenderingContext2D} context @param {Wire.ScanPath["positions_px"]} points */
function line(context, camera, ratio, points) {
  const step = Math.ceil(points.length / DRAWN_POINTS);
  const longest = knownLongest(points, step);
  context.beginPath();
  for (let i = 0; i < points.length; i += step) {
    const [y, x] = camera.toScreen(points[i][0] + 0.5, points[i][1] + 0.5);
    if (i === 0 || distance(points[i], points[i - step]) > longest) context.moveTo(x, y);
    else context.lineTo(x, y);
  }
  context.strokeStyle = "rgb(0 0 0 / 55%)";
  context.lineWidth = 2.6 * ratio;
  context.stroke();
  context.strokeStyle = "rgb(255 255 255 / 75%)";
  context.lineWidth = ratio;
  context.stroke();
}

/** @type {WeakMap<number[][], { count: number, px: number }>} */
const known = new WeakMap();

/** The same as `longestStep`, computed once for the points that a path has.
 * @param {number[][]} points @param {number} every */
function knownLongest(points, every) {
  const before = known.get(points);
  if (before?.count === points.length) return before.px;
  const px = longestStep(points, every);
  known.set(points, { count: points.length, px });
  return px;
}

/** Longest step that is drawn as a line: frames that came late, or a resumed scan, are no path of the beam.
 * @param {number[][]} points @param {number} every number of points in a step */
export function longestStep(points, every = 1) {
  const steps = [];
  for (let i = every; i < points.length; i += every) steps.push(distance(points[i], points[i - every]));
  return steps.length === 0 ? 0 : JUMP * Math.max(1, percentile(steps.sort((a, b) => a - b), 75));
}

/** @param {number[]} a @param {number[]} b */
function distance(a, b) {
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
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
