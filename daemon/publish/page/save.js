// @ts-check
// Files of the picture, through the REST routes; views that those do not offer are drawn here.

import { base } from "./archive.js";
import { boxPixels, boxText } from "./box.js";
import { byId } from "./elements.js";
import { intersection, strideOf } from "./picture.js";
import { paint } from "./ranges.js";

const SERVED = ["phase", "amplitude", "coverage"];
const FILES = { svg: "svg", tiff: "tif", npz: "npz" };
/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {import("./box.js").BoxUm} BoxUm */
/** @type {{ picture: Picture, range: any, box: BoxUm | null } | null} */
let own = null;
/** The fixed box as the routes take it; empty without one. */
let boxQuery = "";

/** Set the links to the picture shown; `isServed` is false for an earlier moment, `box` replaces the crop.
 * @param {{ scanId: string | null, layer: string | null, range: any, picture: Picture | null, isServed: boolean, box: BoxUm | null }} shown
 * @param {boolean} isLive */
export function showSave({ scanId, layer, range, picture, isServed, box }, isLive) {
  const isReady = isLive && scanId !== null && layer !== null && range !== null;
  const name = scanId === null ? "" : scanId.replaceAll(/[^\w.-]+/g, "_");
  const isDrawn = isServed && range?.ramp === null && SERVED.includes(range?.view);
  own = isReady && !isDrawn && picture !== null ? { picture, range, box } : null;
  const fixed = boxPixels(box, picture?.header) === null ? null : box;
  const query = range === null ? "" : figureQuery(range, layer ?? "", fixed);
  const address = (/** @type {string} */ kind) => `${base(scanId ?? "")}/snapshot.${kind}?${query}`;
  offer("save-png", isReady, () => (isDrawn ? `${address("png")}&crop=1&bar=1` : "#"), () => `${name}_${layer}_${range.view}.png`);
  for (const [id, kind] of Object.entries(FILES)) {
    offer(`save-${id}`, isReady && isDrawn, () => address(kind), () => `${name}_${layer}_${range.view}.${kind}`);
  }
  boxQuery = fixed === null ? "" : `box=${boxText(fixed)}`;
  offer("save-npy", isReady && isServed, () => `${base(scanId ?? "")}/snapshot.npy?layer=${layer}${boxQuery && `&${boxQuery}`}`, () => `${name}_${layer}.npy`);
  byId("save-product").disabled = !(isLive && scanId !== null);
}

/** How the daemon draws a range of colours; inverted tables end with _r.
 * @param {{ view: string, low: number, high: number, colours: string }} range @param {string} layer
 * @param {BoxUm | null} box */
export function figureQuery({ view, low, high, colours }, layer, box = null) {
  const isInverted = colours.endsWith("_r");
  const table = isInverted ? colours.slice(0, -2) : colours;
  const more = { ...(isInverted ? { invert: "1" } : {}), ...(box === null ? {} : { box: boxText(box) }) };
  return new URLSearchParams({ view, layer, low: String(low), high: String(high), colours: table, ...more }).toString();
}

/** Save a view that the daemon does not draw. */
export async function savePng(event) {
  const link = byId("save-png");
  if (own === null || event.target !== link) return;
  event.preventDefault();
  const name = link.getAttribute("download");
  const address = URL.createObjectURL(await drawnHere(own));
  const anchor = document.createElement("a");
  [anchor.href, anchor.download] = [address, name];
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** @param {{ picture: Picture, range: any, box: BoxUm | null }} shown */
function drawnHere({ picture, range, box: fixed }) {
  const header = /** @type {Wire.PictureHeader} */ (picture.header);
  const { shape, origin_px: origin } = header;
  const stride = strideOf(header);
  const whole = boxPixels(fixed, header) ?? { y: origin[0], x: origin[1], h: shape[0] * stride, w: shape[1] * stride };
  const canvas = new OffscreenCanvas(whole.w, whole.h);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
  for (const tile of picture.tiles.values()) {
    const box = intersection(tile.box, whole);
    if (box === null) continue;
    const image = new ImageData(box.w, box.h);
    paint(new Uint32Array(image.data.buffer), tile, box, range);
    context.putImageData(image, box.x - whole.x, box.y - whole.y);
  }
  return canvas.convertToBlob();
}

function offer(id, isReady, address, name) {
  const link = byId(id);
  link.setAttribute("aria-disabled", String(!isReady));
  if (!isReady) {
    link.removeAttribute("href");
    return;
  }
  link.setAttribute("href", address());
  link.setAttribute("download", name());
}

/** Download the product, or show why there is none. */
export async function saveProduct(scanId) {
  const address = `${base(scanId)}/product.h5${boxQuery && `?${boxQuery}`}`;
  const stop = new AbortController();
  const note = byId("save-note");
  try {
    const answer = await fetch(address, { signal: stop.signal });
    if (!answer.ok) {
      note.textContent = (await answer.json()).detail ?? `the daemon answered with status ${answer.status}`;
      return;
    }
    stop.abort();
    note.textContent = "";
    const link = document.createElement("a");
    link.href = address;
    link.download = "";
    link.click();
  } catch {
    note.textContent = "the daemon does not answer";
  }
}
