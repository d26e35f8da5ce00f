// @ts-check
// The colour range: measured from the covered pixels, and kept while the picture changes little.

import { pixelsOf } from "./colour-maps.js";
import { complexTable } from "./colours.js";
import { TILE } from "./picture.js";

const SAMPLES = 60_000;
const FAINT_RATIO = 0.06;
const STEPS = [1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.3, 8, 10];

/**
 * Statistics of a picture: mean phase (weighted), reach of the phase around it (98 %), amplitudes (1 and 99 %), greatest
 * weight, the weight below which a pixel is faint (covered by the rim of the probe only: noise), the box of the other
 * pixels and their share of it, the box of all covered pixels. With `isFlat` the mean phase ramp, [rad/row, rad/column], is removed first.
 */
export function measure(picture, isFlat = false) {
  const sum = { re: 0, im: 0, count: 0, greatest: 0, oldest: Infinity, newest: 0 };
  for (const tile of picture.tiles.values()) {
    const part = tile.summarise();
    for (const name of ["re", "im", "count"]) sum[name] += part[name];
    for (const name of ["greatest", "newest"]) sum[name] = Math.max(sum[name], part[name]);
    sum.oldest = Math.min(sum.oldest, part.oldest);
  }
  const ramp = isFlat ? rampOf(picture) : null;
  const samples = sampled(picture, sum.count, ramp);
  const mean = ramp === null ? angle(sum.re, sum.im) : samples.mean;
  const faint = FAINT_RATIO * percentile(samples.weights.slice().sort(), 75);
  const keep = (_, i) => samples.weights[i] >= faint;
  const phases = samples.phases.map((phase) => Math.abs(wrapped(phase - mean))).filter(keep).sort();
  const amplitudes = samples.amplitudes.filter(keep).sort();
  const kept = {
    phases: samples.phases.map((phase) => wrapped(phase - mean)).filter(keep),
    amplitudes: samples.amplitudes.filter(keep),
    weights: samples.weights.filter(keep),
  };
  const content = boxOf(samples.rows.filter(keep), samples.columns.filter(keep));
  return {
    mean,
    ramp,
    reach: percentile(phases, 98),
    low: percentile(amplitudes, 1),
    high: percentile(amplitudes, 99),
    greatest: sum.greatest,
    generations: [Math.min(sum.oldest, sum.newest), sum.newest],
    faint,
    content,
    covered: boxOf(samples.rows, samples.columns),
    samples: kept,
    share: content === null ? 0 : Math.min(1, (phases.length * samples.step) / (content.h * content.w)),
  };
}

function angle(re, im) {
  return Math.hypot(re, im) > 0 ? Math.atan2(im, re) : 0;
}

/** A phase in radians between -pi and pi. */
export function wrapped(phase) {
  return phase - 2 * Math.PI * Math.round(phase / (2 * Math.PI));
}

function rampOf(picture) {
  const sums = [0, 0, 0, 0];
  for (const tile of picture.tiles.values()) tile.rampSums().forEach((value, i) => (sums[i] += value));
  return [angle(sums[0], sums[1]), angle(sums[2], sums[3])];
}

/** @returns {{ weights: Float32Array, phases: Float32Array, amplitudes: Float32Array, rows: Int32Array, columns: Int32Array, step: number, mean: number }} */
function sampled(picture, count, ramp) {
  const step = Math.ceil(count / SAMPLES) | 1; // odd, so that the samples do not all lie in one column
  const room = { weights: Float32Array, phases: Float32Array, amplitudes: Float32Array, rows: Int32Array, columns: Int32Array };
  const found = Object.fromEntries(Object.entries(room).map(([name, Kind]) => [name, new Kind(2 * SAMPLES)]));
  const [perRow, perColumn] = ramp ?? [0, 0];
  let [n, re, im] = [0, 0, 0];
  for (const { y, x, object, weight, summary } of picture.tiles.values()) {
    if (summary.count === 0) continue;
    for (let i = 0; i < TILE * TILE && n < 2 * SAMPLES; i += step) {
      if (weight[i] <= 0) continue;
      const [row, column] = [y + Math.floor(i / TILE), x + (i % TILE)];
      const amplitude = Math.hypot(object[2 * i], object[2 * i + 1]);
      const phase = Math.atan2(object[2 * i + 1], object[2 * i]) - perRow * row - perColumn * column;
      found.weights[n] = weight[i];
      found.amplitudes[n] = amplitude;
      found.phases[n] = phase;
      found.rows[n] = row;
      found.columns[n] = column;
      re += weight[i] * amplitude * Math.cos(phase);
      im += weight[i] * amplitude * Math.sin(phase);
      n += 1;
    }
  }
  /** @type {any} */
  const parts = Object.fromEntries(Object.entries(found).map(([name, values]) => [name, values.subarray(0, n)]));
  return { ...parts, step, mean: angle(re, im) };
}

/** Views that show every covered pixel alike; in the others faint pixels fade. */
const OPAQUE = ["coverage", "weight", "generation"];

/** The box that a view fills, and the least weight of a pixel in it.
 * @returns {{ box: import("./picture.js").Box | null, least: number }} */
export function extentOf(view, measured) {
  return OPAQUE.includes(view) ? { box: measured.covered ?? measured.content, least: 0 } : { box: measured.content, least: measured.faint };
}

function boxOf(rows, columns) {
  if (rows.length === 0) return null;
  const [top, bottom] = ends(rows);
  const [left, right] = ends(columns);
  return { y: top, x: left, h: bottom - top + 1, w: right - left + 1 };
}

function ends(values) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
}

/** Percentile of sorted values, linear between neighbours; 0 of none. */
export function percentile(sorted, percent) {
  if (sorted.length === 0) return 0;
  const at = ((sorted.length - 1) * percent) / 100;
  const below = Math.floor(at);
  const above = Math.min(sorted.length - 1, below + 1);
  return sorted[below] + (at - below) * (sorted[above] - sorted[below]);
}

/** The least of 1, 1.25, 1.6, 2 … times a power of ten that is not below `value`. */
export function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return power * (STEPS.find((step) => step * power >= value * 0.9999) ?? 10);
}

const WEIGHT_DECADES = 4;

const FIXED = ["complex", "generation"]; // their ranges have a meaning of their own

/** Colour range of a view: ``half`` fixes the half-range of the phase in radians, ``colours`` the table, ``limits`` both ends;
 * null fits them to the picture.
 * @param {string} view @param {any} measured @param {number | null} half @param {string | null} colours
 * @param {{ limits?: [number, number] | null, isInverted?: boolean }} more */
export function rangeOf(view, measured, half = null, colours = null, { limits = null, isInverted = false } = {}) {
  const range = fittedRange(view, measured, half, colours);
  if (limits !== null && !FIXED.includes(view)) [range.low, range.high] = limits;
  if (isInverted && view !== "complex") range.colours += "_r";
  return range;
}

function fittedRange(view, measured, half, colours) {
  const { faint, mean, ramp } = measured;
  const side = measured.content === null ? 0 : Math.max(measured.content.h, measured.content.w);
  const range = (low, high, usual, more) => ({ view, faint: 0, mean: 0, ramp: null, side, low, high, colours: colours ?? usual, ...more });
  if (view === "coverage") return range(0, roundUp(measured.greatest), "sequential");
  if (view === "weight") {
    const top = Math.ceil(Math.log10(measured.greatest > 0 ? measured.greatest : 1));
    return range(top - WEIGHT_DECADES, top, "sequential");
  }
  if (view === "generation") return range(measured.generations[0], Math.max(measured.generations[0] + 1, measured.generations[1]), "sequential");
  if (view === "difference") return range(-roundUp(measured.high), roundUp(measured.high), "coolwarm", { faint });
  if (view === "amplitude") return range(measured.low, measured.high > measured.low ? measured.high : measured.low + 1, "grey", { faint });
  if (view === "complex") {
    return range(-Math.PI, Math.PI, "cyclic", { faint, mean, ramp, colours: "cyclic", top: measured.high > 0 ? measured.high : 1 });
  }
  const reach = Math.max(half ?? roundUp(measured.reach), 1e-3);
  const isPart = half === null ? reach < 0.8 * Math.PI : half < Math.PI;
  return isPart ? range(-reach, reach, "sequential", { faint, mean, ramp }) : range(-Math.PI, Math.PI, "cyclic", { faint, mean, ramp });
}

/** Whether two ranges are so similar that the picture need not be redrawn. */
export function isNear(one, two) {
  if (one === null || one.view !== two.view || one.colours !== two.colours) return false;
  const slack = 0.02 * (two.high - two.low);
  const turn = Math.abs(Math.atan2(Math.sin(one.mean - two.mean), Math.cos(one.mean - two.mean)));
  const tilt = one.ramp === null || two.ramp === null ? 0 : two.side * Math.max(...two.ramp.map((value, i) => Math.abs(value - one.ramp[i])));
  if ((one.ramp === null) !== (two.ramp === null) || tilt > slack) return false;
  if (one.top !== undefined && Math.abs(one.top - two.top) > 0.05 * two.top) return false;
  const faintRatio = two.faint > 0 ? one.faint / two.faint : 1;
  const shift = Math.max(Math.abs(one.low - two.low), Math.abs(one.high - two.high), turn);
  return shift <= slack && faintRatio > 0.7 && faintRatio < 1.4;
}

/** Fill `pixels` (Uint32 of ImageData) with a box of a tile in the colours of `range`; faint pixels fade. */
export function paint(pixels, tile, box, range) {
  const colourAt = range.view === "complex" ? complexReader(range, tile) : tableReader(range, tile);
  let to = 0;
  for (let row = box.y; row < box.y + box.h; row += 1) {
    let at = (row - tile.y) * TILE + box.x - tile.x;
    for (let column = box.x; column < box.x + box.w; column += 1, at += 1, to += 1) {
      const weight = tile.weight[at];
      if (weight <= 0) {
        pixels[to] = 0;
        continue;
      }
      const colour = colourAt(at, row, column);
      pixels[to] = weight >= range.faint ? colour : (colour & 0xffffff) | ((255 * (weight / range.faint) ** 2) << 24);
    }
  }
}

function tableReader(range, tile) {
  const colours = pixelsOf(range.colours);
  const value = valueReader(range, tile);
  const factor = 255 / (range.high - range.low);
  return (at, y, x) => colours[Math.min(255, Math.max(0, (value(at, y, x) - range.low) * factor)) | 0];
}

function complexReader(range, tile) {
  const colours = complexTable();
  const phase = phaseReader(range, tile);
  const { object } = tile;
  return (at, y, x) => {
    const brightness = Math.min(63, (63 * Math.hypot(object[2 * at], object[2 * at + 1])) / range.top) | 0;
    const hue = Math.min(255, (255 * (phase(at, y, x) + Math.PI)) / (2 * Math.PI)) | 0;
    return colours[256 * brightness + hue];
  };
}

/** A function of place and pixel (at, y, x) that gives the value that a range colours. */
export function valueReader(range, tile) {
  const { object, weight, generation } = tile;
  if (range.view === "difference") return (at) => object[2 * at];
  if (range.view === "coverage") return (at) => weight[at];
  if (range.view === "weight") return (at) => Math.log10(weight[at]);
  if (range.view === "generation") return (at) => generation[at];
  if (range.view === "amplitude") return (at) => Math.sqrt(object[2 * at] ** 2 + object[2 * at + 1] ** 2);
  return phaseReader(range, tile);
}

function phaseReader({ mean, ramp }, { object }) {
  if (ramp !== null) {
    const [perRow, perColumn] = ramp;
    return (at, y, x) => wrapped(Math.atan2(object[2 * at + 1], object[2 * at]) - mean - perRow * y - perColumn * x);
  }
  const [cos, sin] = [Math.cos(mean), Math.sin(mean)];
  return (at) => {
    const a = object[2 * at];
    const b = object[2 * at + 1];
    return Math.atan2(b * cos - a * sin, a * cos + b * sin);
  };
}
