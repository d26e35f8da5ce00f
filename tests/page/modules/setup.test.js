// The values of the wizard.

import assert from "node:assert/strict";
import { test } from "node:test";
import { cutOut, filled, heardWords } from "../../../daemon/publish/page/setup-values.js";

test("a form sends what is shown and filled", () => {
  const field = (name, value, isShown = true) => ({ name, value, isShown });
  assert.deepEqual(filled([field("energy", " 8.8 "), field("probe", ""), field("", "x"), field("step", "1", false)]), { energy: "8.8" });
});

test("a stream in words", () => {
  const heard = { format: "dectris-v2", socket: "pull", shape: [514, 1030], dtype: "uint16", rate_hz: 99.7, counts: 1234.5 };
  assert.equal(heardWords(heard), "dectris-v2 over a PULL socket, 514 × 1030 px, uint16, 100 frames/s, 1235 counts a frame");
  assert.ok(heardWords({ ...heard, format: "pva", rate_hz: null }).startsWith("pva, 514"));
});

test("the cut-out lies around the centre, in percent of the frame", () => {
  assert.deepEqual(cutOut({ center_px: [100, 50], size_px: 50, shape: [200, 100] }), { top: 37.5, left: 25, height: 25, width: 50 });
  assert.equal(cutOut({ center_px: null, size_px: 50, shape: [200, 100] }), null);
});
