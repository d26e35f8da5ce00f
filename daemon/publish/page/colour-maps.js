// @ts-check
// Colour tables by name: our own at once, the standard ones of colour-maps.json once they are loaded. "_r" turns one round.

import { cyclic, grey, packed, sequential } from "./colours.js";

const STEPS = 256;
/** @type {Record<string, Uint8Array>} */
const tables = { sequential, grey, cyclic };
/** @type {Map<string, Uint32Array>} */
const pixels = new Map();

/** Add the standard tables.
 * @param {{ maps: Record<string, { hex: string }> }} content of colour-maps.json */
export function addMaps({ maps }) {
  for (const [name, { hex }] of Object.entries(maps)) {
    tables[name] = Uint8Array.from({ length: 3 * STEPS }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
  }
}

/** Load the standard tables; without them the page draws with its own. */
export async function loadMaps() {
  try {
    const answer = await fetch("/page/colour-maps.json");
    if (answer.ok) addMaps(await answer.json());
  } catch {
    // the banner of the connection shows the fault
  }
}

/** Names of all tables, without those turned round. */
export function mapNames() {
  return Object.keys(tables);
}

/** 256 colours, red, green and blue in turn; those of "sequential" for an unknown name.
 * @param {string} name @returns {Uint8Array} */
export function tableOf(name) {
  const isInverted = name.endsWith("_r");
  const table = tables[isInverted ? name.slice(0, -2) : name] ?? sequential;
  if (!isInverted) return table;
  return Uint8Array.from(table, (_, i) => table[3 * (STEPS - 1 - Math.floor(i / 3)) + (i % 3)]);
}

/** The same as opaque pixels of ImageData.
 * @param {string} name @returns {Uint32Array} */
export function pixelsOf(name) {
  let found = pixels.get(name);
  if (found === undefined) {
    found = packed(tableOf(name));
    if ((name.endsWith("_r") ? name.slice(0, -2) : name) in tables) pixels.set(name, found);
  }
  return found;
}
