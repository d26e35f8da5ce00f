// @ts-check
// NPY files of 32-bit floats, real or complex, in C order.

const PARTS = { "<f4": 1, "<c8": 2 };

/** Shape and values of a file; complex values are real and imaginary part in turn. Throws an Error with a sentence.
 * @param {ArrayBuffer} data
 * @returns {{ shape: number[], values: Float32Array }} */
export function readNpy(data) {
  const bytes = new Uint8Array(data);
  if (data.byteLength < 10 || String.fromCharCode(...bytes.subarray(1, 6)) !== "NUMPY") throw new Error("the answer is not an NPY file");
  const start = 10 + new DataView(data).getUint16(8, true);
  const head = new TextDecoder().decode(bytes.subarray(10, start));
  const kind = /'descr': '([^']+)'/.exec(head)?.[1] ?? "";
  const shape = (/'shape': \(([^)]*)\)/.exec(head)?.[1] ?? "").split(",").map((part) => part.trim()).filter((part) => part !== "").map(Number);
  const parts = /** @type {Record<string, number>} */ (PARTS)[kind];
  const count = shape.reduce((product, side) => product * side, parts);
  if (parts === undefined || head.includes("'fortran_order': True") || data.byteLength - start !== 4 * count) {
    throw new Error(`the array ${head.trim()} cannot be read here`);
  }
  return { shape, values: new Float32Array(data.slice(start)) };
}
