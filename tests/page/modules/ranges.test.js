// Ranges of colours measured from pictures whose answer is known.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Picture } from "../../../daemon/publish/page/picture.js";
import { isNear, measure, paint, percentile, rangeOf, roundUp, wrapped } from "../../../daemon/publish/page/ranges.js";
import { snapshot } from "./scene.js";

const near = (found, wanted, by = 1e-4) => assert.ok(Math.abs(found - wanted) <= by, `${found} is not ${wanted}`);

function pictureOf(shape, phaseAt, { amplitude = 2, weightAt = () => 1 } = {}) {
  const picture = new Picture();
  picture.apply(snapshot(shape, (y, x) => [amplitude * Math.cos(phaseAt(y, x)), amplitude * Math.sin(phaseAt(y, x)), weightAt(y, x)]));
  return picture;
}

test("percentiles are linear between neighbours", () => {
  assert.equal(percentile([], 50), 0);
  assert.equal(percentile([3], 99), 3);
  near(percentile([0, 1, 2, 10], 50), 1.5);
  assert.equal(percentile([0, 1, 2, 10], 100), 10);
});

test("ranges are rounded up to a few steps a decade", () => {
  assert.deepEqual([0.011, 1, 1.1, 9.9, 10, 0, Number.NaN].map(roundUp).map((value) => Number(value.toPrecision(3))), [0.0125, 1, 1.25, 10, 10, 1, 1]);
});

test("phases wrap to plus or minus pi", () => {
  near(wrapped(7), 7 - 2 * Math.PI);
  near(wrapped(-4), 2 * Math.PI - 4);
});

test("mean, reach, amplitudes and extent are the picture's", () => {
  const measured = measure(pictureOf([40, 50], (_, x) => 1 + 0.5 * Math.sign(x - 24.5)));
  near(measured.mean, 1);
  near(measured.reach, 0.5);
  near(measured.low, 2);
  near(measured.high, 2);
  assert.deepEqual(measured.content, { y: 0, x: 0, h: 40, w: 50 });
  near(measured.share, 1);
});

test("a picture of which nothing was seen has no extent and finite ranges", () => {
  const measured = measure(pictureOf([4, 4], () => 0, { weightAt: () => 0 }));
  assert.equal(measured.content, null);
  for (const view of ["phase", "amplitude", "coverage", "complex", "weight"]) {
    const range = rangeOf(view, measured);
    assert.ok(Number.isFinite(range.low) && range.high > range.low, view);
  }
});

test("the slope of the phase is taken off", () => {
  const measured = measure(pictureOf([40, 50], (y, x) => 0.03 * y - 0.05 * x), true);
  near(measured.ramp[0], 0.03);
  near(measured.ramp[1], -0.05);
  near(measured.reach, 0, 1e-3);
});

test("faint pixels do not set the range", () => {
  const isRim = (x) => x >= 48;
  const measured = measure(pictureOf([40, 50], (_, x) => (isRim(x) ? 3 : 0.1), { weightAt: (_, x) => (isRim(x) ? 0.01 : 1) }));
  assert.deepEqual(measured.content, { y: 0, x: 0, h: 40, w: 48 });
  assert.ok(measured.reach < 0.1);
});

test("each view has its range and table", () => {
  const measured = { mean: 0.2, ramp: null, reach: 0.7, low: 1, high: 3, greatest: 130, generations: [2, 5], faint: 0.1, content: null };
  const seen = (view, ...more) => {
    const { low, high, colours } = rangeOf(view, measured, ...more);
    return [low, high, colours];
  };
  assert.deepEqual(seen("phase"), [-0.8, 0.8, "sequential"]);
  assert.deepEqual(seen("phase", Math.PI), [-Math.PI, Math.PI, "cyclic"]);
  assert.deepEqual(seen("phase", 0.5, "grey"), [-0.5, 0.5, "grey"]);
  assert.deepEqual(seen("amplitude"), [1, 3, "grey"]);
  assert.deepEqual(seen("coverage"), [0, 160, "sequential"]);
  assert.deepEqual(seen("weight"), [-1, 3, "sequential"]);
  assert.deepEqual(seen("generation"), [2, 5, "sequential"]);
  assert.deepEqual(seen("complex", null, "grey"), [-Math.PI, Math.PI, "cyclic"]);
});

test("small changes leave the colours, large ones do not", () => {
  const range = { view: "phase", colours: "sequential", faint: 1, mean: 0, ramp: null, side: 100, low: -1, high: 1 };
  assert.ok(!isNear(null, range));
  assert.ok(isNear(range, { ...range, high: 1.01, mean: 2 * Math.PI + 0.01, faint: 1.2 }));
  for (const change of [{ high: 1.2 }, { mean: 0.2 }, { faint: 2 }, { colours: "grey" }, { view: "amplitude" }, { ramp: [0, 0] }]) {
    assert.ok(!isNear(range, { ...range, ...change }), JSON.stringify(change));
  }
  const flat = { ...range, ramp: [0, 0] };
  assert.ok(isNear(flat, { ...flat, ramp: [0, 0.0001] }));
  assert.ok(!isNear(flat, { ...flat, ramp: [0, 0.001] }));
});

test("what was not seen is transparent, what is faint fades, the rest is opaque", () => {
  const picture = pictureOf([1, 3], () => 0, { weightAt: (_, x) => [0, 0.5, 1][x] });
  const [tile] = picture.tiles.values();
  const range = { ...rangeOf("amplitude", { low: 0, high: 2, faint: 1, content: null }), faint: 1 };
  const pixels = new Uint32Array(3);
  paint(pixels, tile, { y: 0, x: 0, h: 1, w: 3 }, range);
  const bytes = new Uint8Array(pixels.buffer);
  assert.deepEqual([...bytes], [0, 0, 0, 0, 255, 255, 255, 63, 255, 255, 255, 255]);
});
