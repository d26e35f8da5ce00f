// The fixed box: the view if it was moved by hand, else the whole picture; pixels are rounded as the daemon does it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { boxPixels, boxToKeep } from "../../../daemon/publish/page/box.js";

const HEADER = { shape: [40, 60], origin_px: [-8, 16], pixel_size_m: 1e-8 };
const camera = (more) => ({ follows: true, width: 1000, height: 500, goal: { y: 10.3, x: 20, scale: 10 }, ...more });

test("a view that follows gives the whole picture, reduced or not", () => {
  assert.deepEqual(boxToKeep({ camera: camera(), picture: { header: HEADER } }), [-0.08, 0.16, 0.32, 0.76]);
  assert.deepEqual(boxToKeep({ camera: camera(), picture: { header: { ...HEADER, stride: 2 } } }), [-0.08, 0.16, 0.72, 1.36]);
});

test("a view moved by hand gives the box that is seen, in whole pixels", () => {
  const box = boxToKeep({ camera: camera({ follows: false }), picture: { header: HEADER } });
  assert.deepEqual(box, [-0.15, -0.3, 0.35, 0.7]);
  assert.deepEqual(boxPixels(box, HEADER), { y: -15, x: -30, h: 50, w: 100 });
});

test("a view that is too large gives the whole picture", () => {
  const far = camera({ follows: false, goal: { y: 0, x: 0, scale: 0.01 } });
  assert.deepEqual(boxToKeep({ camera: far, picture: { header: HEADER } }), [-0.08, 0.16, 0.32, 0.76]);
});

test("without picture or pixel size no box is kept, and one that does not fit is not used", () => {
  assert.equal(boxToKeep({ camera: camera(), picture: null }), null);
  assert.equal(boxToKeep({ camera: camera(), picture: { header: { ...HEADER, pixel_size_m: null } } }), null);
  for (const box of [null, [0, 0, 0.001, 1], [0, 0, 1000, 1000]]) assert.equal(boxPixels(box, HEADER), null);
  assert.equal(boxPixels([0, 0, 1, 1], null), null);
});

test("picometres survive", () => {
  const header = { ...HEADER, pixel_size_m: 1.37e-11 };
  assert.deepEqual(boxPixels(boxToKeep({ camera: camera(), picture: { header } }), header), { y: -8, x: 16, h: 40, w: 60 });
});
