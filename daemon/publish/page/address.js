// @ts-check
// The state of the page in its address (after the #), saved preferences, and the R-factors of this tab over a reload.

import { boxText } from "./box.js";

const VIEWS = ["phase", "amplitude", "coverage", "complex", "weight", "generation"];
const LAYERS = ["refined", "network"];
const PREFERRED = ["view", "layer", "colours", "isInverted", "isFlat", "hasPath"];
const PREFERENCES = "ptycholive-preferences";
const TREND = "ptycholive-trend";
const NAME = /^[\w]{1,24}$/;

/** @typedef {{
 *   view: string, layer: string, half: number | null, colours: string | null, limits: [number, number] | null, isInverted: boolean,
 *   isDifference: boolean, isFlat: boolean, hasPath: boolean, scan: string | null, other: string, at: [number, number, number] | null,
 *   box: import("./box.js").BoxUm | null, tool: string | null, frame: number | null, isKiosk: boolean,
 * }} State */

/** The state as text; only what differs from a fresh page.
 * @param {State} state */
export function encoded(state) {
  const found = new URLSearchParams();
  const add = (/** @type {string} */ name, /** @type {unknown} */ value, /** @type {unknown} */ usual) => value !== usual && value !== null && found.set(name, String(value));
  add("view", state.view, "phase");
  add("layer", state.layer, "refined");
  add("scan", state.scan, null);
  add("with", state.other, "");
  add("span", state.half === null ? null : Number(state.half.toPrecision(6)), null);
  add("range", state.limits === null ? null : state.limits.map((value) => Number(value.toPrecision(6))).join(","), null);
  add("colours", state.colours, null);
  add("at", state.at === null ? null : state.at.map((value) => Number(value.toFixed(3))).join(","), null);
  add("box", state.box === null ? null : boxText(state.box), null);
  add("tool", state.tool, null);
  add("frame", state.frame, null);
  for (const [name, isOn] of Object.entries({ invert: state.isInverted, difference: state.isDifference, flat: state.isFlat, path: state.hasPath, kiosk: state.isKiosk })) add(name, isOn ? 1 : null, null);
  return found.toString();
}

/** What a text says of the state; what it does not say, or says wrongly, is missing.
 * @param {string} text @returns {Partial<State>} */
export function decoded(text) {
  const given = new URLSearchParams(text.replace(/^#/, ""));
  /** @type {Record<string, unknown>} */
  const found = {};
  const take = (/** @type {string} */ name, /** @type {string} */ as, /** @type {(text: string) => unknown} */ read) => {
    const value = given.has(name) ? read(given.get(name) ?? "") : undefined;
    if (value !== undefined) found[as] = value;
  };
  const oneOf = (/** @type {string[]} */ names) => (/** @type {string} */ value) => (names.includes(value) ? value : undefined);
  take("view", "view", oneOf(VIEWS));
  take("layer", "layer", oneOf(LAYERS));
  take("scan", "scan", (value) => value || undefined);
  take("with", "other", (value) => (/^(layer|iterative|scan:.+)$/.test(value) ? value : undefined));
  take("span", "half", (value) => (Number(value) > 0 && Number(value) <= 3.15 ? Math.min(Math.PI, Number(value)) : undefined));
  take("range", "limits", (value) => numbers(value, 2, ([low, high]) => high > low));
  take("colours", "colours", (value) => (NAME.test(value) ? value : undefined));
  take("at", "at", (value) => numbers(value, 3, ([, , scale]) => scale > 0));
  take("box", "box", (value) => numbers(value, 4, ([top, left, bottom, right]) => top < bottom && left < right));
  take("tool", "tool", (value) => (NAME.test(value) ? value : undefined));
  take("frame", "frame", (value) => numbers(value, 1, ([index]) => index >= 0)?.[0]);
  for (const [name, as] of [["invert", "isInverted"], ["difference", "isDifference"], ["flat", "isFlat"], ["path", "hasPath"], ["kiosk", "isKiosk"]]) take(name, as, (value) => value === "1");
  return found;
}

/** @param {string} text @param {number} count @param {(values: number[]) => boolean} isRight @returns {number[] | undefined} */
function numbers(text, count, isRight) {
  const values = text.split(",").map((part) => (part === "" ? Number.NaN : Number(part)));
  return values.length === count && values.every(Number.isFinite) && isRight(values) ? values : undefined;
}

/** @param {Storage | null} storage @param {string} key @returns {any} */
function stored(storage, key) {
  try {
    return JSON.parse(storage?.getItem(key) ?? "null");
  } catch {
    return null; // storage is forbidden, or holds something else
  }
}

/** @param {() => Storage} storage @param {string} key @param {unknown} value */
function store(storage, key, value) {
  try {
    storage().setItem(key, JSON.stringify(value));
  } catch {
    // it lasts until the page is closed
  }
}

/** @param {() => Storage} storage */
function opened(storage) {
  try {
    return storage();
  } catch {
    return null;
  }
}

/** The preferences of this browser, checked as an address is. @returns {Partial<State>} */
export function preferences() {
  const found = stored(opened(() => window.localStorage), PREFERENCES);
  return typeof found === "string" ? decoded(found) : {};
}

/** @param {State} state */
export function savePreferences(state) {
  const fresh = { view: "phase", layer: "refined", half: null, colours: null, limits: null, isInverted: false, isDifference: false, isFlat: false, hasPath: false, scan: null, other: "", at: null, box: null, tool: null, frame: null, isKiosk: false };
  const kept = Object.fromEntries(PREFERRED.map((name) => [name, /** @type {any} */ (state)[name]]));
  store(() => window.localStorage, PREFERENCES, encoded(/** @type {State} */ ({ ...fresh, ...kept })));
}

/** @typedef {{ time: number, network: number | null, refined: number | null }[]} Trend */

/** Keep the R-factors of a scan for this tab; `now` is the time of the entries, s.
 * @param {string | null} scanId @param {Trend} history @param {number} now */
export function saveTrend(scanId, history, now) {
  store(() => window.sessionStorage, TREND, { scanId, at: Date.now() / 1000, entries: history.map((entry) => ({ ...entry, time: entry.time - now })) });
}

/** The kept R-factors of a scan, with times on the clock of this page.
 * @param {string} scanId @param {number} now @returns {Trend} */
export function savedTrend(scanId, now) {
  const found = stored(opened(() => window.sessionStorage), TREND);
  if (found?.scanId !== scanId || !Array.isArray(found.entries)) return [];
  const age = Date.now() / 1000 - found.at;
  return found.entries.filter((/** @type {any} */ entry) => Number.isFinite(entry?.time)).map((/** @type {any} */ entry) => ({ ...entry, time: entry.time - age + now }));
}
