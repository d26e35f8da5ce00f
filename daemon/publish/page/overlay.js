// @ts-check
// Everything drawn over the picture: tag, cursor read-out, scale bar, colour bar.

import { tableOf } from "./colour-maps.js";
import { byId } from "./elements.js";
import { strideOf } from "./picture.js";
import { wrapped } from "./ranges.js";
import * as words from "./words.js";

const TITLES = {
  phase: "Phase / rad",
  amplitude: "Amplitude",
  complex: "Hue: phase / rad · brightness: amplitude",
  coverage: "Coverage / weighted visits",
  weight: "Weight / power of ten",
  generation: "Generation of the model",
};
const OLD_SECONDS = 5;
const SCALE_SHARE = 0.22;
let barColours = null;

/** Show layer, frames and age of the live picture.
 * @param {import("./session.js").Session} session
 * @param {import("./session.js").Layer | null} layer
 * @param {string} wanted */
export function showTag(session, layer, wanted) {
  const header = layer === null ? null : (session.pictures[layer]?.header ?? null);
  byId("empty").hidden = header !== null;
  byId("tag").hidden = header === null;
  if (header === null) return;
  const age = session.pictureAt === null ? 0 : (Date.now() - session.pictureAt.getTime()) / 1000;
  const ago = session.isRunning && age > OLD_SECONDS ? ` (${words.seconds(age)} ago)` : "";
  const parts = [String(layer), words.frames(header.frames_stitched), words.clock(session.pictureAt) + ago];
  if (layer !== wanted) parts[0] = `${layer} (no ${wanted} picture yet)`;
  const result = session.scanState === "ended" ? session.result : null;
  if (header.complete) parts.push(result ?? "last picture");
  byId("tag").textContent = parts.join(" · ");
  byId("tag").dataset.result = result ?? "";
}

/** Describe a picture that is not live.
 * @param {HTMLElement} element
 * @param {import("./picture.js").Picture | null} picture
 * @param {string} what */
export function showPastTag(element, picture, what) {
  const header = picture?.header ?? null;
  element.hidden = header === null;
  if (header === null) return;
  const parts = [what, header.layer, words.frames(header.frames_stitched)];
  element.dataset.result = "";
  if (header.time_ns > 0) parts.push(words.clock(new Date(header.time_ns / 1e6)));
  if ((header.rfactor ?? 0) > 0) parts.push(`R ${words.rfactor(header.rfactor)}`);
  if (strideOf(header) > 1) parts.push(`reduced ${strideOf(header)}-fold`);
  element.textContent = parts.join(" · ");
}

/** Show the value of a stage's picture under the pointer; `place` is in device pixels, or null.
 * @param {import("./canvas.js").Stage} stage
 * @param {[number, number] | null} place */
export function showCursor(stage, place, cursor = byId("cursor")) {
  const { picture, camera } = stage;
  if (place === null || picture === null) {
    cursor.hidden = true;
    return;
  }
  const [y, x] = camera.toObject(...place).map(Math.floor);
  const value = picture.valueAt(y, x);
  const size = picture.header?.pixel_size_m ?? 0;
  const where = size > 0 ? `x ${micrometres(x * size)}  y ${micrometres(y * size)} µm` : `x ${x}  y ${y} px`;
  cursor.hidden = false;
  cursor.textContent = value.weight > 0 ? `${valueWords(stage, value, y, x)}   ${where}` : `no data   ${where}`;
}

function valueWords({ measured, look }, { re, im, weight, generation }, y, x) {
  if (look.view === "difference") return `difference ${signed(re, 3)}`;
  const [perRow, perColumn] = measured?.ramp ?? [0, 0];
  const phase = wrapped(Math.atan2(im, re) - (measured?.mean ?? 0) - perRow * y - perColumn * x);
  const last = look.view === "generation" ? `generation ${generation}` : `coverage ${words.level(weight)}`;
  return `amplitude ${Math.hypot(re, im).toFixed(3)}  phase ${signed(phase, 3)} rad  ${last}`;
}

function micrometres(metres) {
  return signed(1e6 * metres, 2);
}

function signed(value, digits) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
}

/** Draw a scale bar of about a fifth of the stage.
 * @param {import("./canvas.js").Stage} stage */
export function showScale({ picture, camera, canvas }) {
  const size = picture?.header?.pixel_size_m ?? 0;
  byId("scale").hidden = !(size > 0);
  if (!(size > 0)) return;
  const devicePerCss = canvas.width / Math.max(1, canvas.clientWidth);
  const metresPerCss = (size * devicePerCss) / camera.now.scale;
  const length = words.roundDown(SCALE_SHARE * canvas.clientWidth * metresPerCss);
  byId("scale-bar").style.width = `${length / metresPerCss}px`;
  byId("scale-text").textContent = words.length(length);
}

/** Draw the colour bar of a range, with numbers. */
export function showBar(range) {
  byId("bar").hidden = range === null;
  if (range === null) return;
  byId("bar-title").textContent = TITLES[range.view];
  byId("bar-low").textContent = signedLevel(range, range.low);
  byId("bar-mid").textContent = signedLevel(range, (range.low + range.high) / 2);
  byId("bar-high").textContent = signedLevel(range, range.high);
  if (barColours === range.colours) return;
  barColours = range.colours;
  const image = new ImageData(256, 1);
  tableOf(range.colours).forEach((value, i) => (image.data[4 * Math.floor(i / 3) + (i % 3)] = value));
  for (let i = 3; i < image.data.length; i += 4) image.data[i] = 255;
  byId("bar-canvas").getContext("2d").putImageData(image, 0, 0);
}

function signedLevel({ view }, value) {
  const text = words.level(Math.abs(value));
  if (view === "weight") return value === 0 ? "0" : signed(value, 0);
  if (!["phase", "complex"].includes(view) || value === 0) return text;
  return `${value < 0 ? "−" : "+"}${fractionOfPi(Math.abs(value)) ?? text}`;
}

function fractionOfPi(value) {
  const part = [1, 2, 4, 8].find((whole) => Math.abs(value - Math.PI / whole) < 1e-6);
  return part === undefined ? null : part === 1 ? "π" : `π/${part}`;
}
