// Where the camera looks: places go to the screen and back, zoom holds its point, and following ends where a hand begins.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Camera } from "../../../daemon/publish/page/camera.js";

const near = (found, wanted) => found.forEach((value, i) => assert.ok(Math.abs(value - wanted[i]) < 1e-9, `${found} is not ${wanted}`));
let camera;

beforeEach(() => {
  globalThis.window = { matchMedia: () => ({ matches: false }) };
  camera = new Camera();
  camera.resize(1000, 700);
  camera.setContent({ y: 100, x: 200, h: 70, w: 50 });
});

test("the first content fits with a margin", () => {
  assert.ok(camera.isSettled);
  near(camera.toScreen(135, 225), [350, 500]);
  near([camera.now.scale], [9]); // 90 % of 700 over 70
});

test("the screen and the object are each other's inverse", () => {
  camera.zoomBy(1.7, 10, 20);
  camera.panBy(33, -44);
  near(camera.toObject(...camera.toScreen(111.5, 207.25)), [111.5, 207.25]);
});

test("zoom keeps the point under the pointer, and has ends", () => {
  const before = camera.toObject(100, 900);
  camera.zoomBy(2, 100, 900);
  near(camera.toObject(100, 900), before);
  camera.zoomBy(1e9);
  near([camera.now.scale], [96]);
  camera.zoomBy(1e-9);
  assert.ok(camera.now.scale > 0.1);
});

test("the view follows a growing picture until it is moved by hand, and again after fit", () => {
  camera.setContent({ y: 100, x: 200, h: 700, w: 500 });
  assert.ok(camera.isSettled); // at once: nothing may be cut off meanwhile
  near([camera.now.scale], [0.8]); // with room for more
  camera.setContent({ y: 100, x: 200, h: 600, w: 500 });
  assert.ok(!camera.isSettled);
  for (let i = 0; i < 200; i += 1) camera.advance(0.016);
  assert.ok(camera.isSettled);
  near([camera.now.scale], [1.05]);
  camera.panBy(10, 10);
  assert.ok(!camera.follows);
  const held = { ...camera.now };
  camera.setContent({ y: 0, x: 0, h: 7000, w: 5000 });
  assert.deepEqual(camera.goal, held);
  camera.fit();
  near([camera.goal.scale], [0.09]);
});

test("small growth does not move the view", () => {
  camera.setContent({ y: 99, x: 199, h: 71, w: 51 });
  assert.ok(camera.isSettled);
});

test("who wants little motion gets none", () => {
  globalThis.window = { matchMedia: () => ({ matches: true }) };
  const calm = new Camera();
  calm.resize(100, 100);
  calm.setContent({ y: 0, x: 0, h: 10, w: 10 });
  calm.setContent({ y: 0, x: 0, h: 5, w: 5 });
  assert.ok(calm.advance(0.001));
  assert.ok(calm.isSettled);
  assert.ok(!calm.advance(0.001));
});
