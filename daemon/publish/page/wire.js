// @ts-check
// Messages of WS /api/v1/updates: one msgpack array [topic, header, buffer, ...] each (see daemon/publish/wire.py).

const SCHEMA_VERSION = 1;
const TOPICS = ["scan", "status", "snapshot", "delta"];
const text = new TextDecoder();

/** The message in an ArrayBuffer; throws an Error with a sentence. Only topic and version are checked.
 * @param {ArrayBuffer} data
 * @returns {Wire.Message} */
export function decodeMessage(data) {
  const content = unpack(data);
  if (!Array.isArray(content) || content.length < 2) throw new Error("the message is not an array of topic, header and buffers");
  const [topic, header, ...buffers] = content;
  if (!TOPICS.includes(topic)) throw new Error(`the topic ${String(topic)} is unknown`);
  if (/** @type {Wire.Message["header"] | undefined} */ (header)?.schema_version !== SCHEMA_VERSION) throw new Error(`the header of a ${topic} message does not have schema version ${SCHEMA_VERSION}`);
  return /** @type {Wire.Message} */ ({ topic, header, buffers });
}

/** The value in an ArrayBuffer of msgpack; maps become objects without a prototype, binaries views. */
export function unpack(data) {
  const reader = new Reader(data);
  const value = reader.read();
  if (reader.at !== data.byteLength) throw new Error(`${data.byteLength - reader.at} bytes are left over`);
  return value;
}

/** Float32Array copy of a buffer, which seldom lies on a multiple of four bytes. */
export function floats(bytes) {
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

class Reader {
  constructor(data) {
    this.data = data;
    this.view = new DataView(data);
    this.at = 0;
  }

  read() {
    const tag = this.number("Uint8", 1);
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.map(tag & 0x0f);
    if (tag < 0xa0) return this.array(tag & 0x0f);
    if (tag < 0xc0) return this.text(tag & 0x1f);
    if (tag >= 0xe0) return tag - 0x100;
    const read = FORMS[tag];
    if (read === undefined) throw new Error(`msgpack tag 0x${tag.toString(16)} is not used here`);
    return read(this);
  }

  number(kind, bytes) {
    const value = this.view[`get${kind}`](this.at);
    this.at += bytes;
    return typeof value === "bigint" ? Number(value) : value;
  }

  bytes(length) {
    if (this.at + length > this.data.byteLength) throw new Error("the message ends early");
    const value = new Uint8Array(this.data, this.at, length);
    this.at += length;
    return value;
  }

  text(length) {
    return text.decode(this.bytes(length));
  }

  array(length) {
    const values = [];
    for (let i = 0; i < length; i += 1) values.push(this.read());
    return values;
  }

  map(length) {
    const value = Object.create(null);
    for (let i = 0; i < length; i += 1) {
      const key = this.read();
      value[key] = this.read();
    }
    return value;
  }
}

const FORMS = {
  0xc0: () => null,
  0xc2: () => false,
  0xc3: () => true,
  0xc4: (r) => r.bytes(r.number("Uint8", 1)),
  0xc5: (r) => r.bytes(r.number("Uint16", 2)),
  0xc6: (r) => r.bytes(r.number("Uint32", 4)),
  0xca: (r) => r.number("Float32", 4),
  0xcb: (r) => r.number("Float64", 8),
  0xcc: (r) => r.number("Uint8", 1),
  0xcd: (r) => r.number("Uint16", 2),
  0xce: (r) => r.number("Uint32", 4),
  0xcf: (r) => r.number("BigUint64", 8),
  0xd0: (r) => r.number("Int8", 1),
  0xd1: (r) => r.number("Int16", 2),
  0xd2: (r) => r.number("Int32", 4),
  0xd3: (r) => r.number("BigInt64", 8),
  0xd9: (r) => r.text(r.number("Uint8", 1)),
  0xda: (r) => r.text(r.number("Uint16", 2)),
  0xdb: (r) => r.text(r.number("Uint32", 4)),
  0xdc: (r) => r.array(r.number("Uint16", 2)),
  0xdd: (r) => r.array(r.number("Uint32", 4)),
  0xde: (r) => r.map(r.number("Uint16", 2)),
  0xdf: (r) => r.map(r.number("Uint32", 4)),
};
