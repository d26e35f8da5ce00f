// @ts-check
// How far the told positions are off the found ones, and the path as it was told.

import { base } from "./archive.js";
import { byId } from "./elements.js";

/** Show the mean distance between told and found positions; nothing where the told ones are used.
 * @param {number | null} errorPx */
export function showPositionError(errorPx) {
  const words = errorPx === null ? "" : `positions found, ${errorPx.toFixed(1)} px off the measured ones`;
  const place = byId("position-error");
  if (place.textContent !== words) place.textContent = words;
}

/** Return the next part of a scan's path as it was told, after so many positions; none where the daemon does not answer.
 * @param {string} scanId @param {number} after @returns {Promise<Wire.ScanPath["positions_px"]>} */
export async function fetchToldPath(scanId, after) {
  const answer = await fetch(`${base(scanId)}/path?told=true&after=${after}`);
  if (!answer.ok) return [];
  /** @type {Wire.ScanPath} */
  const found = await answer.json();
  return found.after === after ? [...found.positions_px] : [];
}
