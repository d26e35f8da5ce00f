// Tiles of a picture: every pixel lands where the header says, whatever the origin, and nothing else changes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { intersection, Picture, TILE, union } from "../../../daemon/publish/page/picture.js";
import { pixel, snapshot } from "./scene.js";

test("pixels land in the object's frame on both sides of tile borders and of zero", () => {
  const picture = new Picture();
  const origin = [-3, TILE - 2];
  picture.apply(snapshot([6, 5], (y, x) => [y, x, 1 + y], { origin_px: origin }));
  assert.equal(picture.tiles.size, 4);
  for (let y = 0; y < 6; y += 1) {
    for (let x = 0; x < 5; x += 1) {
      assert.deepEqual(picture.valueAt(origin[0] + y, origin[1] + x), { re: y, im: x, weight: 1 + y, generation: 0 });
    }
  }
  assert.equal(picture.valueAt(-4, TILE).weight, 0);
  assert.equal(picture.valueAt(99_999, 0).weight, 0);
});

test("a delta changes its own pixels and marks only them", () => {
  const picture = new Picture();
  picture.apply(snapshot([9, 9], () => [1, 0, 1]));
  const [tile] = picture.tiles.values();
  tile.dirty = null;
  picture.apply(pixel([9, 9], 4, 5, [7, 8, 2], { model_generation: 3 }));
  assert.deepEqual(picture.valueAt(4, 5), { re: 7, im: 8, weight: 2, generation: 3 });
  assert.deepEqual(picture.valueAt(4, 6), { re: 1, im: 0, weight: 1, generation: 0 });
  assert.deepEqual(tile.dirty, { y: 4, x: 5, h: 1, w: 1 });
  assert.equal(tile.summarise().count, 81);
});

test("a snapshot takes away what it does not hold", () => {
  const picture = new Picture();
  picture.apply(snapshot([9, 9], () => [1, 0, 1]));
  picture.apply(snapshot([2, 2], () => [2, 0, 1]));
  assert.equal(picture.valueAt(8, 8).weight, 0);
  assert.equal(picture.valueAt(1, 1).re, 2);
});

test("a reduced picture keeps its place", () => {
  const picture = new Picture();
  picture.apply(snapshot([2, 3], (y, x) => [y, x, 1], { origin_px: [10, 20], stride: 3 }));
  assert.deepEqual([picture.valueAt(12, 28), picture.valueAt(13, 23)].map(({ re, im }) => [re, im]), [[0, 2], [1, 1]]);
  assert.equal(picture.valueAt(16, 20).weight, 0);
});

test("a snapshot tells the generation of each square", () => {
  const picture = new Picture();
  picture.apply(snapshot([64, 64], () => [1, 0, 1], { generations: [[0, 1], [2, 3]] }));
  assert.deepEqual([[0, 0], [0, 32], [63, 31], [32, 63]].map(([y, x]) => picture.valueAt(y, x).generation), [0, 1, 2, 3]);
});

test("buffers that do not fill their region are refused and change nothing", () => {
  const picture = new Picture();
  const message = snapshot([4, 4], () => [1, 0, 1]);
  message.buffers[1] = message.buffers[1].subarray(4);
  assert.throws(() => picture.apply(message), /do not fill its region of 4 x 4/);
  assert.equal(picture.tiles.size, 0);
});

test("boxes", () => {
  const [a, b] = [{ y: 0, x: 0, h: 4, w: 4 }, { y: 2, x: 3, h: 4, w: 4 }];
  assert.deepEqual(union(a, b), { y: 0, x: 0, h: 6, w: 7 });
  assert.deepEqual(intersection(a, b), { y: 2, x: 3, h: 2, w: 1 });
  assert.equal(intersection(a, { y: 4, x: 0, h: 1, w: 1 }), null);
});

test("the news of a picture are the box of what has come, faint pixels aside", () => {
  const picture = new Picture();
  picture.apply(snapshot([60, 80], (y, x) => [1, 0, y < 10 || x < 20 ? 0.01 : 1]));
  assert.deepEqual(picture.takeNews(0), { y: 0, x: 0, h: 60, w: 80 });
  assert.equal(picture.takeNews(0), null);
  picture.apply(snapshot([60, 80], (y, x) => [1, 0, y < 10 || x < 20 ? 0.01 : 1]));
  assert.deepEqual(picture.takeNews(0.5), { y: 10, x: 20, h: 50, w: 60 });
});
