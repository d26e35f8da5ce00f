// @ts-check
// Files of the picture, through the REST routes; views that those do not offer are drawn here.

import { base } from "./archive.js";
import { byId } from "./elements.js";
import { intersection, strideOf } from "./picture.js";
import { paint } from "./ranges.js";

const SERVED = { phase: ["sequential", "cyclic"], amplitude: ["grey"], coverage: ["sequential"] };
/** @typedef {import("./picture.js").Picture} Picture */
/** @type {{ picture: Picture, range: any } | null} */
let own = null;

/** Set the links to the picture shown; `isServed` is false for an earlier moment.
 * @param {{ scanId: string | null, layer: string | null, range: any, picture: Picture | null, isServed: boolean }} shown
 * @param {boolean} isLive */
export function showSave({ scanId, layer, range, picture, isServed }, isLive) {
  const isReady = isLive && scanId !== null && layer !== null && range !== null;
  const name = scanId === null ? "" : scanId.replaceAll(/[^\w.-]+/g, "_");
  // biome-ignore lint/suspicious/noApproximativeNumericConstant: the route takes no more than pi, so it is rounded down
  const span = range?.view === "phase" ? `&span=${Math.min(range.high, 3.14159)}` : "";
  const isPlain = isServed && range?.ramp === null && SERVED[range?.view]?.includes(range?.colours);
  own = isReady && !isPlain && picture !== null ? { picture, range } : null;
  const address = () => (isPlain ? `${base(scanId ?? "")}/snapshot.png?view=${range.view}&layer=${layer}${span}` : "#");
  offer("save-png", isReady, address, () => `${name}_${layer}_${range.view}.png`);
  offer("save-npy", isReady && isServed, () => `${base(scanId ?? "")}/snapshot.npy?layer=${layer}`, () => `${name}_${layer}.npy`);
  byId("save-product").disabled = !(isLive && scanId !== null);
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

/** @param {{ picture: Picture, range: any }} shown */
function drawnHere({ picture, range }) {
  const header = /** @type {Wire.PictureHeader} */ (picture.header);
  const { shape, origin_px: origin } = header;
  const stride = strideOf(header);
  const whole = { y: origin[0], x: origin[1], h: shape[0] * stride, w: shape[1] * stride };
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
  const address = `${base(scanId)}/product.h5`;
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
