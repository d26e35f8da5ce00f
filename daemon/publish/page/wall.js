// @ts-check
// Full screen with picture and cards alone, for a wall display.

import { byId } from "./elements.js";

export function isKiosk() {
  return document.documentElement.dataset.kiosk === "on";
}

/** @param {boolean} isOn */
export function setKiosk(isOn) {
  document.documentElement.dataset.kiosk = isOn ? "on" : "off";
  byId("kiosk").setAttribute("aria-pressed", String(isOn));
}

export async function toggleKiosk() {
  setKiosk(!isKiosk());
  try {
    if (isKiosk()) await document.documentElement.requestFullscreen();
    else if (document.fullscreenElement !== null) await document.exitFullscreen();
  } catch {
    // the browser does not allow it; the toolbars are hidden all the same
  }
}

/** Leave with the browser's own key too; `then` is called afterwards.
 * @param {() => void} then */
export function onFullScreenLeft(then) {
  document.addEventListener("fullscreenchange", () => {
    if (document.fullscreenElement !== null || !isKiosk()) return;
    setKiosk(false);
    then();
  });
}
