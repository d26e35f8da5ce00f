// @ts-check
// Colours of diffraction patterns: counts on a logarithmic scale, and the residual in standard deviations of photon noise.

import { packed, sequential } from "./colours.js";

const LOG = packed(sequential);
const MASKED = packed(Uint8Array.from({ length: 768 }, (_, i) => [110, 24, 52][i % 3]))[0];
const LEAST_SIGMAS = 3; // differences within photon noise stay pale
const LEVELS = 256;

/** Blue where the model has too few counts, red where it has too many; pale in between. */
export const DIVERGING = packed(Uint8Array.from({ length: 3 * LEVELS }, (_, i) => divergingPart(Math.floor(i / 3), i % 3)));

/** @param {number} level @param {number} part */
function divergingPart(level, part) {
  const t = (2 * level) / (LEVELS - 1) - 1;
  const [middle, end] = [[236, 236, 236][part], (t < 0 ? [22, 74, 168] : [178, 24, 36])[part]];
  return Math.round(middle + (end - middle) * Math.abs(t));
}

/** Difference of modelled and measured amplitudes of a pixel in standard deviations of photon noise; NaN without data.
 * @param {number} measured counts, -1 = no data
 * @param {number} modelled counts, -1 = no model */
export function sigmas(measured, modelled) {
  return measured < 0 || modelled < 0 ? Number.NaN : 2 * (Math.sqrt(modelled) - Math.sqrt(measured));
}

/** Greatest counts of a pattern, at least 1.
 * @param {Float32Array} counts */
export function greatest(counts) {
  return counts.reduce((most, value) => Math.max(most, value), 1);
}

/** Fill pixels with counts up to `top` on a logarithmic scale.
 * @param {Uint32Array} pixels @param {Float32Array} counts @param {number} top */
export function paintCounts(pixels, counts, top) {
  const factor = (LEVELS - 1) / Math.log1p(top);
  for (let i = 0; i < counts.length; i += 1) {
    pixels[i] = counts[i] < 0 ? MASKED : LOG[Math.min(LEVELS - 1, Math.log1p(counts[i]) * factor) | 0];
  }
}

/** Fill pixels with the residual, on a logarithmic scale on both sides of 0; returns the end of the scale in deviations.
 * @param {Uint32Array} pixels @param {Float32Array} measured @param {Float32Array} modelled */
export function paintResidual(pixels, measured, modelled) {
  const found = Float32Array.from(measured, (counts, i) => sigmas(counts, modelled[i]));
  const top = found.reduce((most, value) => Math.max(most, Math.abs(value) || 0), LEAST_SIGMAS);
  const half = (LEVELS - 1) / 2;
  for (let i = 0; i < found.length; i += 1) {
    const share = (Math.sign(found[i]) * Math.log1p(Math.abs(found[i]))) / Math.log1p(top);
    pixels[i] = Number.isNaN(share) ? MASKED : DIVERGING[Math.round(half + half * share)];
  }
  return top;
}
