// Numbers, states and warnings in words.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as words from "../../../daemon/publish/page/words.js";

test("numbers that are not finite are a dash", () => {
  for (const say of [words.count, words.rate, words.seconds, words.bytes, words.rfactor, words.correlation]) {
    for (const value of [Number.NaN, Infinity, null, undefined, "7"]) assert.equal(say(value), "–");
  }
});

test("each size has its unit and its digits", () => {
  assert.equal(words.count(12345), "12,345");
  assert.deepEqual([1, 2].map(words.frames), ["1 frame", "2 frames"]);
  assert.deepEqual([0, 0.004, 1.234, 12.34, 1234].map(words.rate), ["0", "0", "1.23", "12.3", "1,234"]);
  assert.deepEqual([0.1234, 1.26, 12.6, 119, 240].map(words.seconds), ["123 ms", "1.3 s", "13 s", "119 s", "4 min"]);
  assert.deepEqual([0, 999, 1e3, 2.5e9, 3e15].map(words.bytes), ["0.00 B", "999 B", "1.00 kB", "2.50 GB", "3.00e+3 TB"]);
  assert.deepEqual([2e-8, 3.14159e-6, 0.012].map(words.length), ["20 nm", "3.14 µm", "12 mm"]);
  assert.deepEqual([0, 0.5, 12345, 0.0001].map(words.level), ["0", "0.5", "1.2e+4", "1.0e-4"]);
  assert.deepEqual([1, 1.9, 4.99, 70, 0.03].map(words.roundDown), [1, 1, 2, 50, 0.02]);
});

test("a resolution has its trend, or is missing", () => {
  assert.deepEqual([53.42, 1234, null].map(words.resolution), ["53.4 nm", "1.23 µm", "–"]);
  const frc = { frc_nm: 53.4, no_gain_s: 31, is_settled: true };
  assert.equal(words.trend(frc), "no gain in resolution for 31 s");
  assert.match(words.trend({ ...frc, is_settled: false }), /still getting sharper/);
  assert.match(words.trend({ ...frc, frc_nm: null }), /do not agree/);
});

test("a state that is not known is unknown", () => {
  assert.equal(words.stateWord(null), "connected");
  assert.equal(words.stateWord({ state: "scanning" }), "scanning");
  assert.equal(words.stateWord({ state: "dancing" }), "unknown");
});

test("the account adds up, or says by how much it does not", () => {
  const verdict = { received: 516, stitched: 480, pending: 0, duplicate: 26, refused: { bad_shape: 10 }, expected: 520, missing: 4 };
  const account = "516 received = 480 stitched + 26 duplicate + 10 refused (bad shape)";
  assert.equal(words.verdictWords(verdict, false), account);
  assert.equal(words.verdictWords(verdict, true), `${account}; 4 of 520 expected missing`);
  assert.equal(words.verdictWords({ received: 3, stitched: 1 }, false), "3 received = 1 stitched + 2 not accounted for");
  assert.equal(words.verdictWords({}, true), "");
});

test("the most urgent warning comes first", () => {
  const session = { pictureAt: null, isConfirmed: false, status: { state: "degraded", sentence: "The disk is full." } };
  const say = (connection, staleSeconds = 0, more = {}) =>
    words.warningOf({ connection, session: { ...session, ...more }, staleSeconds, now: 0 });
  assert.match(say({ state: "refused" }).text, /token/);
  assert.match(say({ state: "lost", retryAt: 2500 }).text, /Trying again in 3 s/);
  assert.match(say({ state: "lost", retryAt: 0 }).text, /Trying again now/);
  assert.equal(say({ state: "resting" }).kind, "warning");
  assert.match(say({ state: "open" }, 5).text, /No message from the daemon for 5\.0 s/);
  assert.match(say({ state: "open" }).text, /no picture of this scan/);
  assert.equal(say({ state: "open" }, 0, { isConfirmed: true }).text, "The disk is full.");
  const streams = [{ name: "frames", connected: false }, { name: "positions", connected: true }];
  assert.equal(say({ state: "open" }, 0, { isConfirmed: true, status: { state: "scanning", streams } }).text, "Not connected: frames.");
  assert.equal(say({ state: "open" }, 0, { isConfirmed: true, status: { state: "idle", streams } }), null);
});
