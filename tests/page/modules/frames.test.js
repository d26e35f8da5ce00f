// Single frames: NPY files, colours of patterns, words about a pixel, the map of R.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fitted, rangeOfMap } from "../../../daemon/publish/page/frame-map.js";
import { countWords } from "../../../daemon/publish/page/frame-tool.js";
import { readNpy } from "../../../daemon/publish/page/npy.js";
import { distanceAt, paintWave } from "../../../daemon/publish/page/probe-tool.js";
import { DIVERGING, greatest, paintCounts, paintResidual, sigmas } from "../../../daemon/publish/page/pattern-colours.js";

function npy(head, values) {
  const text = `${head.padEnd(117)}\n`;
  const bytes = new Uint8Array(10 + text.length + 4 * values.length);
  bytes.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, text.length & 255, text.length >> 8]);
  bytes.set(new TextEncoder().encode(text), 10);
  bytes.set(new Uint8Array(Float32Array.from(values).buffer), 10 + text.length);
  return bytes.buffer;
}

test("an NPY file is read with its shape", () => {
  const { shape, values } = readNpy(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1, 3), }", [1, 2, 3, 4, 5, -1]));
  assert.deepEqual(shape, [2, 1, 3]);
  assert.deepEqual([...values], [1, 2, 3, 4, 5, -1]);
  assert.equal(readNpy(npy("{'descr': '<c8', 'fortran_order': False, 'shape': (2,), }", [1, 2, 3, 4])).values.length, 4);
});

test("another file is refused with a sentence", () => {
  assert.throws(() => readNpy(new ArrayBuffer(4)), /not an NPY/);
  assert.throws(() => readNpy(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", [1, 2])), /cannot be read/);
  assert.throws(() => readNpy(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (9,), }", [1])), /cannot be read/);
});

test("pixels without data differ from every count, the residual is pale where the model fits", () => {
  const measured = Float32Array.from([-1, 0, 100, 100]);
  assert.equal(greatest(measured), 100);
  const pixels = new Uint32Array(4);
  paintCounts(pixels, measured, 100);
  assert.equal(new Set(pixels).size, 3);
  const end = paintResidual(pixels, measured, Float32Array.from([5, 0, 100, 144]));
  assert.equal(end, 4);
  assert.equal(pixels[1], pixels[2]);
  assert.equal(pixels[3], DIVERGING[255]);
});

test("the difference is in standard deviations of photon noise", () => {
  assert.equal(sigmas(100, 121), 2);
  assert.ok(Number.isNaN(sigmas(-1, 4)));
  assert.equal(countWords(3, 7, 100, 121), "row 3, column 7: measured 100, modelled 121, +2.0 σ");
  assert.equal(countWords(0, 0, -1, 12.34), "row 0, column 0: no data, modelled 12.3");
});

test("the map fits its square and its colours span most R-factors", () => {
  const fit = fitted([[10, 20], [30, 60]], 100, 10);
  assert.deepEqual([10 * fit.scale + fit.y, 20 * fit.scale + fit.x, 60 * fit.scale + fit.x], [30, 10, 90]);
  const [low, high] = rangeOfMap([null, 0.1, 0.2, 0.3]);
  assert.ok(low >= 0.1 && low < 0.11 && high > 0.29 && high <= 0.3);
  assert.deepEqual(rangeOfMap([null]), [0, 0.001]);
});

test("the slider is fine near the sample and reaches both ends", () => {
  assert.deepEqual([-100, 0, 10, 100].map((place) => distanceAt(place, 2e-3)), [-2e-3, 0, 2e-5, 2e-3]);
});

test("amplitude is brightness, phase is hue", () => {
  const [amplitudes, phases] = [new Uint32Array(3), new Uint32Array(3)];
  assert.equal(paintWave(amplitudes, phases, Float32Array.from([0, 0, 3, 4, -3, -4])), 5);
  assert.equal(amplitudes[1], amplitudes[2]);
  assert.notEqual(phases[1], phases[2]);
  assert.notEqual(amplitudes[0], amplitudes[1]);
});
