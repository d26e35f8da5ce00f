// Which value gets which colour: measured from the covered pixels, and held still while the picture changes little.

import { cyclic, grey, packed, sequential } from "./colours.js";
import { TILE } from "./picture.js";

const SAMPLES = 60_000;
const FAINT_RATIO = 0.06;
const STEPS = [1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.3, 8, 10];
const COLOURS = { sequential: packed(sequential), cyclic: packed(cyclic), grey: packed(grey) };
export const TABLES = { sequential, cyclic, grey };

/**
 * What a picture holds: mean phase (weighted), reach of the phase around it (98 %), amplitudes (1 and 99 %), greatest
 * weight, the weight below which a pixel is faint (seen by the rim of the probe only: noise), and the box of the rest.
 */
export function measure(picture) {
  let [re, im, count, greatest] = [0, 0, 0, 0];
  for (const tile of picture.tiles.values()) {
    const part = tile.summarise();
    re += part.re;
    im += part.im;
    count += part.count;
    greatest = Math.max(greatest, part.greatest);
  }
  const mean = Math.hypot(re, im) > 0 ? Math.atan2(im, re) : 0;
  const samples = sampled(picture, count, mean);
  const faint = FAINT_RATIO * percentile(samples.weights.slice().sort(), 75);
  const keep = (_, i) => samples.weights[i] >= faint;
  const phases = samples.phases.filter(keep).sort();
  const amplitudes = samples.amplitudes.filter(keep).sort();
  return {
    mean,
    reach: percentile(phases, 98),
    low: percentile(amplitudes, 1),
    high: percentile(amplitudes, 99),
    greatest,
    faint,
    content: boxOf(samples.rows.filter(keep), samples.columns.filter(keep)),
  };
}

function sampled(picture, count, mean) {
  const step = Math.ceil(count / SAMPLES) | 1; // odd, so that it does not walk down one column
  const room = { weights: Float32Array, phases: Float32Array, amplitudes: Float32Array, rows: Int32Array, columns: Int32Array };
  const found = Object.fromEntries(Object.entries(room).map(([name, Kind]) => [name, new Kind(2 * SAMPLES)]));
  const [cos, sin] = [Math.cos(mean), Math.sin(mean)];
  let n = 0;
  for (const { y, x, object, weight, summary } of picture.tiles.values()) {
    if (summary.count === 0) continue;
    for (let i = 0; i < TILE * TILE && n < 2 * SAMPLES; i += step) {
      if (weight[i] <= 0) continue;
      const [a, b] = [object[2 * i], object[2 * i + 1]];
      found.weights[n] = weight[i];
      found.amplitudes[n] = Math.hypot(a, b);
      found.phases[n] = Math.abs(Math.atan2(b * cos - a * sin, a * cos + b * sin));
      found.rows[n] = y + Math.floor(i / TILE);
      found.columns[n] = x + (i % TILE);
      n += 1;
    }
  }
  return Object.fromEntries(Object.entries(found).map(([name, values]) => [name, values.subarray(0, n)]));
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
  return power * STEPS.find((step) => step * power >= value * 0.9999);
}

/** Colour range of a view: ``half`` fixes the half-range of the phase in radians, null lets it fit. */
export function rangeOf(view, measured, half = null) {
  const { faint, mean } = measured;
  if (view === "coverage") return { view, faint: 0, mean: 0, low: 0, high: roundUp(measured.greatest), colours: "sequential" };
  if (view === "amplitude") {
    const high = measured.high > measured.low ? measured.high : measured.low + 1;
    return { view, faint, mean: 0, low: measured.low, high, colours: "grey" };
  }
  const reach = Math.max(half ?? roundUp(measured.reach), 1e-3);
  if (half === null ? reach < 0.8 * Math.PI : half < Math.PI) {
    return { view, faint, mean, low: -reach, high: reach, colours: "sequential" };
  }
  return { view, faint, mean, low: -Math.PI, high: Math.PI, colours: "cyclic" };
}

/** Whether colours by `one` are so near those by `two` that what is drawn may stay. */
export function isNear(one, two) {
  if (one === null || one.view !== two.view || one.colours !== two.colours) return false;
  const slack = 0.02 * (two.high - two.low);
  const turn = Math.abs(Math.atan2(Math.sin(one.mean - two.mean), Math.cos(one.mean - two.mean)));
  const faintRatio = two.faint > 0 ? one.faint / two.faint : 1;
  const shift = Math.max(Math.abs(one.low - two.low), Math.abs(one.high - two.high), turn);
  return shift <= slack && faintRatio > 0.7 && faintRatio < 1.4;
}

/** Fill `pixels` (Uint32 of ImageData) with a box of a tile in the colours of `range`; faint pixels fade. */
export function paint(pixels, tile, box, range) {
  const colours = COLOURS[range.colours];
  const value = valueReader(range, tile);
  const factor = 255 / (range.high - range.low);
  let to = 0;
  for (let row = box.y - tile.y; row < box.y - tile.y + box.h; row += 1) {
    let at = row * TILE + box.x - tile.x;
    for (let column = 0; column < box.w; column += 1, at += 1, to += 1) {
      const weight = tile.weight[at];
      if (weight <= 0) {
        pixels[to] = 0;
        continue;
      }
      const step = Math.min(255, Math.max(0, (value(at) - range.low) * factor)) | 0;
      const colour = colours[step];
      pixels[to] = weight >= range.faint ? colour : (colour & 0xffffff) | ((255 * (weight / range.faint) ** 2) << 24);
    }
  }
}

function valueReader({ view, mean }, { object, weight }) {
  if (view === "coverage") return (at) => weight[at];
  if (view === "amplitude") return (at) => Math.sqrt(object[2 * at] ** 2 + object[2 * at + 1] ** 2);
  const [cos, sin] = [Math.cos(mean), Math.sin(mean)];
  return (at) => {
    const [a, b] = [object[2 * at], object[2 * at + 1]];
    return Math.atan2(b * cos - a * sin, a * cos + b * sin);
  };
}
