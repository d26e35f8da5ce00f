// The gallery of scans, the session map, and the path without jumps.

import assert from "node:assert/strict";
import { test } from "node:test";
import { isFound } from "../../../daemon/publish/page/gallery.js";
import { longestStep } from "../../../daemon/publish/page/path.js";
import { areaOf, mapFit } from "../../../daemon/publish/page/session-map.js";

const SCAN = { id: "star-7", state: "complete", assessment: { grade: "good", reason: "", action: null }, started: "2026-11-30T19:00:00+00:00", notes: ["the beam was lost"] };

test("scans are found by name, state, grade, start and notes, all words together", () => {
  for (const text of ["", "STAR", "good complete", "2026-11 beam"]) assert.ok(isFound(SCAN, text), text);
  for (const text of ["bad", "star moon"]) assert.ok(!isFound(SCAN, text), text);
  assert.ok(isFound({ ...SCAN, assessment: null }, "star"));
});

test("areas are in metres and fit the map with a margin", () => {
  const headers = new Headers({ "X-Corner-Px": "-10,20", "X-Size-Px": "100,200", "X-Pixel-Size-M": "1e-8" });
  const area = areaOf(headers);
  [area.y, area.x, area.h, area.w].forEach((value, i) => assert.ok(Math.abs(value - [-1e-7, 2e-7, 1e-6, 2e-6][i]) < 1e-15));
  assert.equal(areaOf(new Headers({ "X-Corner-Px": "1,2", "X-Size-Px": "3,4" })), null);
  const fit = mapFit([area, { ...area, x: 4e-6 }], 500, 400);
  const [left, right] = [fit.x + fit.scale * 2e-7, fit.x + fit.scale * 6e-6];
  assert.ok(Math.abs(left - 24) < 1e-6 && Math.abs(right - 476) < 1e-6);
});

test("a step far longer than the usual one is a jump", () => {
  const points = Array.from({ length: 50 }, (_, i) => [0, 3 * i]);
  assert.equal(longestStep(points), 24);
  assert.ok(longestStep([...points, [500, 500]]) < 100);
  assert.equal(longestStep([]), 0);
});
