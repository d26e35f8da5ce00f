// @ts-check
// The values of a view as they were sampled: histogram, percentiles.

import { percentile } from "./ranges.js";

export const BINS = 128;

/** Sorted values of a view: phases in radians, amplitudes, weights, powers of ten of the weights.
 * @param {string} view @param {any} measured @returns {Float32Array} */
export function sortedValues(view, measured) {
  const { samples } = measured;
  if (samples === undefined || view === "generation" || view === "complex") return new Float32Array();
  measured.sorted ??= {};
  measured.sorted[view] ??= valuesOf(view, samples).sort();
  return measured.sorted[view];
}

function valuesOf(view, { phases, amplitudes, weights }) {
  if (view === "amplitude") return amplitudes.slice();
  if (view === "coverage") return weights.slice();
  if (view === "weight") return weights.map(Math.log10);
  return phases.slice();
}

/** Ends of a range between two percentiles; null of nothing.
 * @param {Float32Array} sorted @param {[number, number]} percents @returns {[number, number] | null} */
export function percentileRange(sorted, [low, high]) {
  if (sorted.length === 0) return null;
  const ends = /** @type {[number, number]} */ ([percentile(sorted, low), percentile(sorted, high)]);
  return ends[1] > ends[0] ? ends : [ends[0], ends[0] + 1e-6];
}

/** Counts of sorted values in equal bins from `low` to `high`.
 * @param {Float32Array} sorted @param {number} low @param {number} high @param {number} bins */
export function histogram(sorted, low, high, bins = BINS) {
  const counts = new Uint32Array(bins);
  const factor = bins / Math.max(high - low, 1e-30);
  for (const value of sorted) {
    const bin = Math.floor((value - low) * factor);
    if (bin >= 0 && bin < bins) counts[bin] += 1;
    else if (value === high) counts[bins - 1] += 1;
  }
  return counts;
}
