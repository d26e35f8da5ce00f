// @ts-check
// A fixed box of the object's frame, [top, left, bottom, right] in micrometres as the daemon's routes take it: pictures stay
// comparable while data arrive.

import { byId } from "./elements.js";
import { strideOf } from "./picture.js";

const MOST_BOX_PX = 64_000_000; // the daemon's limit, ptycholive_client.pictures.MOST_BOX_PX
const DIGITS = 7; // of micrometres: 0.1 pm, far below a pixel even with electrons

/** @typedef {[number, number, number, number]} BoxUm */
/** @typedef {import("./picture.js").Box} Box */

/** The box as address and routes have it: no exponents, no zeros at the end.
 * @param {BoxUm} box */
export function boxText(box) {
  return box.map((value) => value.toFixed(DIGITS).replace(/\.?0+$/, "")).join(",");
}

/** The box in whole pixels of a picture, rounded as the daemon does it; null where its pixel size is unknown, or where the box has no
 * pixel or too many.
 * @param {BoxUm | null} box @param {{ pixel_size_m: number | null } | null | undefined} header @returns {Box | null} */
export function boxPixels(box, header) {
  const pixelUm = 1e6 * (header?.pixel_size_m ?? 0);
  if (box === null || !(pixelUm > 0)) return null;
  const [top, left, bottom, right] = box.map((value) => value / pixelUm);
  const [h, w] = [Math.round(bottom - top), Math.round(right - left)];
  return h >= 1 && w >= 1 && h * w <= MOST_BOX_PX ? { y: Math.round(top), x: Math.round(left), h, w } : null;
}

/** The box to keep: the view, if it was moved by hand, else all of the picture; null where there is none.
 * @param {{ camera: import("./camera.js").Camera, picture: { header: any } | null }} stage @returns {BoxUm | null} */
export function boxToKeep({ camera, picture }) {
  const header = picture?.header ?? null;
  if (header === null) return null;
  const seen = camera.follows ? null : kept(viewOf(camera), header);
  return seen ?? kept(wholeOf(header), header);
}

/** Show the button's state, and the outline of the box over the picture.
 * @param {import("./canvas.js").Stage} stage @param {BoxUm | null} box */
export function showBox({ camera, canvas, picture }, box) {
  const [button, outline] = [byId("box"), byId("box-outline")];
  button.setAttribute("aria-pressed", String(box !== null));
  button.disabled = box === null && !((picture?.header?.pixel_size_m ?? 0) > 0);
  const pixels = boxPixels(box, picture?.header);
  outline.hidden = pixels === null;
  if (pixels === null) return;
  const ratio = canvas.width / Math.max(1, canvas.clientWidth);
  const [top, left] = camera.toScreen(pixels.y, pixels.x).map((/** @type {number} */ value) => value / ratio);
  const side = (/** @type {number} */ length) => `${(length * camera.now.scale) / ratio}px`;
  Object.assign(outline.style, { top: `${top}px`, left: `${left}px`, height: side(pixels.h), width: side(pixels.w) });
}

/** @param {Box} pixels @param {any} header @returns {BoxUm | null} */
function kept({ y, x, h, w }, header) {
  const found = [y, x, y + h, x + w].map((value) => Number((1e6 * header.pixel_size_m * value).toFixed(DIGITS)));
  const box = /** @type {BoxUm} */ (found);
  return boxPixels(box, header) === null ? null : box;
}

/** @param {any} header @returns {Box} */
function wholeOf(header) {
  const stride = strideOf(header);
  return { y: header.origin_px[0], x: header.origin_px[1], h: header.shape[0] * stride, w: header.shape[1] * stride };
}

/** @param {import("./camera.js").Camera} camera @returns {Box} */
function viewOf(camera) {
  const { y, x, scale } = camera.goal;
  const [h, w] = [camera.height / scale, camera.width / scale];
  return { y: Math.round(y - h / 2), x: Math.round(x - w / 2), h: Math.round(h), w: Math.round(w) };
}
