// Messages as bytes: msgpack by the specification's own tags, written here by hand.

import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeMessage, floats, unpack } from "../../../daemon/publish/page/wire.js";

const buffer = (...bytes) => new Uint8Array(bytes).buffer;
const text = (word) => [0xa0 + word.length, ...new TextEncoder().encode(word)];
const header = [0x81, ...text("schema_version"), 1];

test("every form of msgpack that the daemon sends is read", () => {
  const forms = [
    [[0x07], 7],
    [[0xff], -1],
    [[0xc0], null],
    [[0xc2], false],
    [[0xc3], true],
    [[0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0], 1.5],
    [[0xca, 0x3f, 0xc0, 0, 0], 1.5],
    [[0xcc, 200], 200],
    [[0xcd, 1, 0], 256],
    [[0xce, 0, 1, 0, 0], 65536],
    [[0xcf, 0, 0, 0, 1, 0, 0, 0, 0], 2 ** 32],
    [[0xd0, 0x80], -128],
    [[0xd1, 0xff, 0], -256],
    [[0xd2, 0xff, 0xff, 0, 0], -65536],
    [[0xd3, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], -(2 ** 32)],
    [[0xa2, 0xc2, 0xb5], "µ"],
    [[0xd9, 2, 0x68, 0x69], "hi"],
    [[0xda, 0, 2, 0x68, 0x69], "hi"],
    [[0xdb, 0, 0, 0, 2, 0x68, 0x69], "hi"],
    [[0x92, 1, 2], [1, 2]],
    [[0xdc, 0, 1, 5], [5]],
    [[0xdd, 0, 0, 0, 1, 5], [5]],
  ];
  for (const [bytes, value] of forms) assert.deepEqual(unpack(buffer(...bytes)), value);
  for (const head of [[0x81], [0xde, 0, 1], [0xdf, 0, 0, 0, 1]]) assert.equal(unpack(buffer(...head, ...text("a"), 1)).a, 1);
  for (const head of [[0xc4, 2], [0xc5, 0, 2], [0xc6, 0, 0, 0, 2]]) assert.deepEqual([...unpack(buffer(...head, 8, 9))], [8, 9]);
});

test("a map has no prototype that a sender could reach", () => {
  const map = unpack(buffer(0x81, ...text("__proto__"), 0x81, ...text("x"), 1));
  assert.equal(Object.getPrototypeOf(map), null);
  assert.equal({}.x, undefined);
});

test("bytes that end early, are left over, or mean nothing are refused in words", () => {
  assert.throws(() => unpack(buffer(0xc4, 9, 1)), /ends early/);
  assert.throws(() => unpack(buffer(0xcd, 1)), RangeError);
  assert.throws(() => unpack(buffer(1, 2, 3)), /2 bytes are left over/);
  assert.throws(() => unpack(buffer(0xc1)), /tag 0xc1/);
});

test("a message is a topic, a header of our version, and buffers", () => {
  const message = decodeMessage(buffer(0x93, ...text("delta"), ...header, 0xc4, 4, 0, 0, 0x80, 0x3f));
  assert.equal(message.topic, "delta");
  assert.deepEqual([...floats(message.buffers[0])], [1]); // at an odd place in the message
  assert.throws(() => decodeMessage(buffer(0x92, ...text("gossip"), ...header)), /topic gossip is unknown/);
  assert.throws(() => decodeMessage(buffer(0x92, ...text("scan"), 0x81, ...text("schema_version"), 2)), /schema version 1/);
  assert.throws(() => decodeMessage(buffer(0x92, ...text("scan"), 0xc0)), /schema version 1/);
  assert.throws(() => decodeMessage(buffer(0x91, 1)), /an array of topic, header and buffers/);
  assert.throws(() => decodeMessage(buffer(7)), /an array of topic, header and buffers/);
});
