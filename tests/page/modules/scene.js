// Snapshots and deltas as wire.js gives them.

const bytesOf = (values) => new Uint8Array(Float32Array.from(values).buffer);

/** A snapshot of `shape` whose pixel (y, x) is `value(y, x)`: [re, im, weight]. */
export function snapshot(shape, value, more = {}) {
  const [object, weight] = [[], []];
  for (let y = 0; y < shape[0]; y += 1) {
    for (let x = 0; x < shape[1]; x += 1) {
      const [re, im, w] = value(y, x);
      object.push(re, im);
      weight.push(w);
    }
  }
  return { topic: "snapshot", header: { shape, origin_px: [0, 0], model_generation: 0, ...more }, buffers: [bytesOf(object), bytesOf(weight)] };
}

/** A delta of one pixel at (y, x) of a picture of `shape`. */
export function pixel(shape, y, x, [re, im, w], more = {}) {
  const header = { shape, origin_px: [0, 0], region: [y, x, 1, 1], model_generation: 0, ...more };
  return { topic: "delta", header, buffers: [bytesOf([re, im]), bytesOf([w])] };
}
