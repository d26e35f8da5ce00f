// The state of the page as text, and histograms.

import assert from "node:assert/strict";
import { test } from "node:test";
import { decoded, encoded } from "../../../daemon/publish/page/address.js";
import { addMaps, pixelsOf, tableOf } from "../../../daemon/publish/page/colour-maps.js";
import { histogram, percentileRange, sortedValues } from "../../../daemon/publish/page/histogram.js";
import { rangeOf } from "../../../daemon/publish/page/ranges.js";
import { figureQuery } from "../../../daemon/publish/page/save.js";

const FRESH = { view: "phase", layer: "refined", half: null, colours: null, limits: null, isInverted: false, isFlat: false, hasPath: false, scan: null, other: "", at: null, box: null, tool: null, frame: null, isKiosk: false };

test("a fresh page has an empty address", () => {
  assert.equal(encoded(FRESH), "");
  assert.deepEqual(decoded(""), {});
});

test("every state comes back from its address", () => {
  const changes = {
    view: "amplitude", layer: "network", half: 0.5, colours: "viridis", limits: [-0.25, 1.5], isInverted: true, isFlat: true, hasPath: true,
    scan: "a scan/ü&=#", other: "scan:x y", at: [-10.5, 20.25, 1.5], box: [-1.25, 0, 0.0000002, 3], tool: "range", frame: 17, isKiosk: true,
  };
  assert.deepEqual(decoded(`#${encoded({ ...FRESH, ...changes })}`), changes);
});

test("what an address says wrongly is left out", () => {
  for (const text of ["view=owl", "range=2,1", "range=1", "range=,2", "at=1,2", "box=1,2,3", "box=1,0,1,2", "box=0,2,1,2", "box=0,0,x,1", "at=1,2,0", "span=-1", "span=9", "frame=-1", "frame=x", "colours=<b>", "with=owl"]) {
    assert.deepEqual(decoded(text), {}, text);
  }
});

test("limits replace the range where its ends are free, and a table can be turned round", () => {
  const measured = { mean: 0, ramp: null, reach: 0.7, low: 1, high: 3, greatest: 130, generations: [2, 5], faint: 0.1, content: null };
  const seen = (view, more) => (({ low, high, colours }) => [low, high, colours])(rangeOf(view, measured, null, null, more));
  assert.deepEqual(seen("phase", { limits: [-0.1, 0.3] }), [-0.1, 0.3, "sequential"]);
  assert.deepEqual(seen("generation", { limits: [-0.1, 0.3] }), [2, 5, "sequential"]);
  assert.deepEqual(seen("amplitude", { isInverted: true }), [1, 3, "grey_r"]);
});

test("standard tables are added and turned round", () => {
  assert.deepEqual(tableOf("owl"), tableOf("sequential"));
  addMaps({ maps: { ramp: { hex: Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, "0").repeat(3)).join("") } } });
  assert.deepEqual([...tableOf("ramp").subarray(3, 6)], [1, 1, 1]);
  assert.deepEqual([...tableOf("ramp_r").subarray(0, 3)], [255, 255, 255]);
  assert.equal(pixelsOf("ramp_r")[255], pixelsOf("ramp")[0]);
});

test("histogram and percentiles of the values of a view", () => {
  const measured = { samples: { phases: Float32Array.from([0.5, -0.5, 0]), amplitudes: Float32Array.from([3, 1, 2]), weights: Float32Array.from([1, 10, 100]) } };
  assert.deepEqual([...sortedValues("phase", measured)], [-0.5, 0, 0.5]);
  assert.deepEqual([...sortedValues("weight", measured)], [0, 1, 2]);
  assert.equal(sortedValues("complex", measured).length, 0);
  assert.deepEqual([...histogram(sortedValues("amplitude", measured), 1, 3, 2)], [1, 2]);
  assert.deepEqual(percentileRange(sortedValues("amplitude", measured), [0, 100]), [1, 3]);
  assert.equal(percentileRange(new Float32Array(), [1, 99]), null);
});

test("the daemon is asked for the figure that is on the screen", () => {
  const boxed = figureQuery({ view: "phase", low: 0, high: 1, colours: "grey" }, "network", [-1e-7, 0, 1.5, 20]);
  assert.equal(new URLSearchParams(boxed).get("box"), "-0.0000001,0,1.5,20");
  assert.equal(figureQuery({ view: "phase", low: -0.5, high: 0.5, colours: "viridis_r" }, "refined"), "view=phase&layer=refined&low=-0.5&high=0.5&colours=viridis&invert=1");
});
