// @ts-check
// The keyboard: one key for each frequent action.

import { byId } from "./elements.js";

const VIEWS = ["phase", "amplitude", "coverage", "complex", "weight", "generation"];

/** Listen for keys; `page` holds the parts that they change. */
export function bindKeys(page) {
  const { choose, chosen, toggle, zoom, pan, stage, past, inspector, chooseMoment, backToLive, keepBox } = page;
  const moment = () => chosen.moment ?? past.moments.length;
  const keys = {
    ...inspector.keys,
    l: () => choose({ layer: chosen.layer === "refined" ? "network" : "refined" }),
    c: () => choose({ other: chosen.other === "" ? "layer" : "" }),
    f: () => stage.move((camera) => camera.fit()),
    b: keepBox,
    h: () => toggle("isHeld"),
    r: () => toggle("isFlat"),
    p: () => toggle("hasPath"),
    n: () => byId("notes").showModal(),
    d: () => chosen.other !== "" && toggle("isDifference"),
    g: () => byId("gallery-open").click(),
    k: () => byId("kiosk").click(),
    t: () => byId("theme").click(),
    "?": () => byId("help").showModal(),
    ",": () => past.moments.length > 0 && chooseMoment(moment() - 1),
    ".": () => chooseMoment(moment() + 1),
    Escape: backToLive,
    "+": () => zoom(1.5),
    "=": () => zoom(1.5),
    "-": () => zoom(1 / 1.5),
  };
  VIEWS.forEach((view, i) => (keys[i + 1] = () => choose({ view })));
  const canvasKeys = {
    Enter: () => inspector.enter(),
    ArrowUp: (/** @type {boolean} */ isFine) => pan(1, 0, isFine),
    ArrowDown: (/** @type {boolean} */ isFine) => pan(-1, 0, isFine),
    ArrowLeft: (/** @type {boolean} */ isFine) => pan(0, 1, isFine),
    ArrowRight: (/** @type {boolean} */ isFine) => pan(0, -1, isFine),
  };
  document.addEventListener("focusin", ({ target }) => {
    const part = /** @type {Element} */ (target);
    if (part.closest(".toolbar") !== null && part.matches(":focus-visible")) part.scrollIntoView({ block: "nearest", inline: "nearest" }); // browsers leave a part of it outside
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]") !== null) return;
    const act = keys[event.key] ?? keys[event.key.toLowerCase()] ?? (event.target === stage.canvas ? canvasKeys[event.key] : undefined);
    if (act === undefined) return;
    event.preventDefault();
    act(event.shiftKey);
  });
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  return target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && ["number", "text", "search"].includes(target.type));
}
