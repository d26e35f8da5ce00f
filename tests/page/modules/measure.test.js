// Values along lines and in regions, and differences of pictures.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Difference, differenceOf } from "../../../daemon/publish/page/difference.js";
import { pixelValue, profile, statistics } from "../../../daemon/publish/page/measure-values.js";
import { Picture } from "../../../daemon/publish/page/picture.js";
import { measure, rangeOf } from "../../../daemon/publish/page/ranges.js";
import { snapshot } from "./scene.js";

const near = (found, wanted, by = 1e-5) => assert.ok(Math.abs(found - wanted) <= by, `${found} is not ${wanted}`);
const AMPLITUDE = { view: "amplitude" };

function pictureOf(value, shape = [40, 50]) {
  const picture = new Picture();
  picture.apply(snapshot(shape, value));
  return picture;
}

test("a line has the values of the pixels under it, with gaps where nothing is covered", () => {
  const picture = pictureOf((_, x) => [x, 0, x === 20 ? 0 : 1]);
  const { values, places, length } = profile(picture, AMPLITUDE, [5.5, 10.5], [5.5, 30.5]);
  assert.equal(length, 20);
  assert.equal(values.length, 21);
  assert.deepEqual([values[0], values[20], places[20]], [10, 30, 20]);
  assert.ok(Number.isNaN(values[10]));
  assert.ok(Number.isNaN(pixelValue(picture, AMPLITUDE, -600, 3)));
});

test("a region has its mean, deviation and ends", () => {
  const found = statistics(pictureOf((y, x) => [y < 20 ? 1 : 3, 0, x < 40 ? 1 : 0]), AMPLITUDE, { y: 10, x: 30, h: 20, w: 20 });
  near(found.mean, 2);
  near(found.deviation, 1);
  assert.deepEqual([found.least, found.greatest, found.count, found.share], [1, 3, 200, 0.5]);
  assert.equal(statistics(pictureOf(() => [1, 0, 0]), AMPLITUDE, { y: 0, x: 0, h: 5, w: 5 }), null);
});

test("the difference of phases knows no global phase, that of amplitudes has a sign", () => {
  const phased = (depth, turn, size = 1) => pictureOf((_, x) => [size * Math.cos(turn + depth * Math.sign(x - 24.5)), size * Math.sin(turn + depth * Math.sign(x - 24.5)), 1]);
  const [one, two] = [phased(0.5, 1), phased(0.3, -2, 2)];
  const measured = [one, two].map((picture) => measure(picture));
  const phase = differenceOf(one, two, "phase", measured);
  near(phase.valueAt(3, 3).re, -0.2);
  near(phase.valueAt(3, 45).re, 0.2);
  const amplitude = differenceOf(one, two, "amplitude", measured);
  near(amplitude.valueAt(3, 3).re, -1);
  const range = rangeOf("difference", measure(amplitude));
  assert.deepEqual([range.low, range.high, range.colours], [-1, 1, "coolwarm"]);
  assert.equal(pixelValue(amplitude, range, 3, 3), -1);
});

test("a difference is computed again only when a picture has changed", () => {
  const [one, two] = [pictureOf(() => [1, 0, 1]), pictureOf(() => [2, 0, 1])];
  const stage = { picture: one, measured: measure(one), look: { view: "amplitude", isFlat: false } };
  const difference = new Difference();
  const first = difference.of(stage, two);
  assert.equal(difference.of(stage, two), first);
  stage.look = { view: "phase", isFlat: false };
  difference.next = 0;
  assert.notEqual(difference.of(stage, two), first);
  assert.equal(difference.of({ ...stage, picture: null }, two), null);
});
