// The viewer page: messages in, picture and words out.

import { Connection } from "./connection.js";
import { Gestures } from "./gestures.js";
import { showBar, showCursor, showScale, showTag } from "./overlay.js";
import { byId, showBanner, showStatus } from "./panels.js";
import { Pattern } from "./pattern.js";
import { saveProduct, showSave } from "./save.js";
import { Session } from "./session.js";
import { Stage } from "./canvas.js";
import { decodeMessage } from "./wire.js";
import { frames, warningOf } from "./words.js";

const STALE_SECONDS = 3;
const KEY_PAN = 0.15;
const VIEWS = ["phase", "amplitude", "coverage"];

const chosen = { view: "phase", layer: "refined", half: null };
const session = new Session(() => newScan());
const stage = new Stage(byId("canvas"), () => drawn());
const connection = new Connection(received, connectionChanged);
const pattern = new Pattern(byId("pattern"), byId("pattern-text"), isPatternWanted);
let place = null;
let isRefreshDue = false;
let patternAsked = "";

function received(data) {
  try {
    session.take(decodeMessage(data));
  } catch (fault) {
    console.error(`a message was not understood: ${fault.message}`);
    return;
  }
  showPicture();
  refreshSoon();
}

function newScan() {
  stage.clear();
  pattern.clear();
  byId("save-note").textContent = "";
}

function connectionChanged(state) {
  if (state === "open") session.doubt();
  refresh();
}

function isLive() {
  return connection.state === "open" && connection.silentSeconds < STALE_SECONDS;
}

function isPatternWanted() {
  const { scan_id: scanId, frames_received: frames } = session.status ?? {};
  const key = `${scanId} ${frames}`;
  if (!isLive() || document.hidden || !(frames > 0) || key === patternAsked) return false;
  patternAsked = key;
  return true;
}

function showPicture() {
  const layer = session.layerFor(chosen.layer);
  stage.show(layer === null ? null : session.pictures[layer], chosen.view, chosen.half);
}

function drawn() {
  showScale(stage);
  showBar(stage.range);
  showCursor(stage, place);
  byId("fit").setAttribute("aria-pressed", String(stage.camera.follows));
}

/** Words follow at most once a drawn frame, however many messages come. */
function refreshSoon() {
  if (isRefreshDue) return;
  isRefreshDue = true;
  requestAnimationFrame(refresh);
}

function refresh() {
  isRefreshDue = false;
  const layer = session.layerFor(chosen.layer);
  const staleSeconds = connection.state === "open" && !isLive() ? connection.silentSeconds : 0;
  const warning = warningOf({ connection, session, staleSeconds, now: performance.now() });
  document.documentElement.dataset.feed = isLive() && session.isConfirmed ? "live" : connection.state === "connecting" ? "connecting" : "stale";
  showStatus(session, isLive());
  showTag(session, layer, chosen.layer);
  showBanner(warning);
  showSave(session.scanId, layer, stage.range, isLive());
  byId("empty").textContent = emptyWords();
  byId("canvas").setAttribute("aria-label", pictureWords(layer));
  document.title = titleWords(warning);
}

function emptyWords() {
  if (connection.state !== "open") return "Waiting for the daemon";
  return session.isRunning ? "Waiting for the first frames" : "No picture yet: it grows here when a scan starts";
}

function pictureWords(layer) {
  if (layer === null) return "No picture yet";
  const { frames_stitched: stitched } = session.pictures[layer].header;
  return `${chosen.view} of the ${layer} layer, ${frames(stitched)}, scan ${session.scanId}`;
}

function titleWords(warning) {
  if (warning?.kind === "error") return "⚠ PtychoLive";
  const { frames_stitched: stitched, expected_frames: expected } = session.status ?? {};
  const share = session.isRunning && expected > 0 ? `${Math.floor((100 * (stitched ?? 0)) / expected)} % · ` : "";
  return session.scanId === null ? "PtychoLive" : `${share}${session.scanId} · PtychoLive`;
}

function choose(changes) {
  Object.assign(chosen, changes);
  for (const name of ["view", "layer"]) {
    for (const input of document.getElementsByName(name)) input.checked = input.value === chosen[name];
  }
  byId("span").parentElement.classList.toggle("unused", chosen.view !== "phase");
  showPicture();
  refresh();
}

function zoom(factor) {
  stage.move((camera) => camera.zoomBy(factor, undefined, undefined, true));
}

function pan(rows, columns) {
  stage.move((camera) => camera.panBy(rows * KEY_PAN * camera.height, columns * KEY_PAN * camera.width));
}

const KEYS = {
  1: () => choose({ view: VIEWS[0] }),
  2: () => choose({ view: VIEWS[1] }),
  3: () => choose({ view: VIEWS[2] }),
  l: () => choose({ layer: chosen.layer === "refined" ? "network" : "refined" }),
  f: () => stage.move((camera) => camera.fit()),
  "+": () => zoom(1.5),
  "=": () => zoom(1.5),
  "-": () => zoom(1 / 1.5),
};
const CANVAS_KEYS = {
  ArrowUp: () => pan(1, 0),
  ArrowDown: () => pan(-1, 0),
  ArrowLeft: () => pan(0, 1),
  ArrowRight: () => pan(0, -1),
};

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
  const act = KEYS[event.key.toLowerCase()] ?? (event.target === stage.canvas ? CANVAS_KEYS[event.key] : undefined);
  if (act === undefined) return;
  event.preventDefault();
  act();
}

new Gestures(stage, (at) => {
  place = at;
  showCursor(stage, place);
});
document.addEventListener("keydown", pressed);
byId("views").addEventListener("change", (event) => choose({ view: event.target.value }));
byId("layers").addEventListener("change", (event) => choose({ layer: event.target.value }));
byId("span").addEventListener("change", ({ target }) => choose({ half: target.value === "" ? null : Math.PI / Number(target.value) }));
byId("zoom-in").addEventListener("click", () => zoom(1.5));
byId("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
byId("fit").addEventListener("click", KEYS.f);
byId("save-product").addEventListener("click", () => saveProduct(session.scanId));
setInterval(refresh, 1000);
window.ptycholive = { session, stage, connection, chosen };
connection.open();
