// Files of what is shown, through the REST routes.

import { byId } from "./panels.js";

/** Point the links at the picture shown; `range` gives the phase's half-range, so that the PNG has the same colours. */
export function showSave(scanId, layer, range, isLive) {
  const isReady = isLive && scanId !== null && layer !== null && range !== null;
  const name = scanId === null ? "" : scanId.replaceAll(/[^\w.-]+/g, "_");
  const span = range?.view === "phase" ? `&span=${Math.min(range.high, 3.14159)}` : "";
  offer("save-png", isReady, () => `${base(scanId)}/snapshot.png?view=${range.view}&layer=${layer}${span}`, () => `${name}_${layer}_${range.view}.png`);
  offer("save-npy", isReady, () => `${base(scanId)}/snapshot.npy?layer=${layer}`, () => `${name}_${layer}.npy`);
  byId("save-product").disabled = !(isLive && scanId !== null);
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

/** Fetch the product, or say why there is none. */
export async function saveProduct(scanId) {
  const address = `${base(scanId)}/product.h5`;
  const stop = new AbortController();
  const note = byId("save-note");
  try {
    const answer = await fetch(address, { signal: stop.signal });
    if (!answer.ok) {
      note.textContent = (await answer.json()).detail ?? `the daemon answered ${answer.status}`;
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

/** A slash in an id would be taken for a path, so such a scan is asked for as the latest. */
function base(scanId) {
  return `/api/v1/scans/${scanId.includes("/") ? "latest" : encodeURIComponent(scanId)}`;
}
