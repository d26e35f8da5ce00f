// @ts-check
// The viewer page: takes messages, shows picture and text.

import { Alarm } from "./alarm.js";
import { showAssessment } from "./assessment.js";
import { decoded, encoded, preferences, savedTrend, savePreferences, saveTrend } from "./address.js";
import { boxToKeep, showBox } from "./box.js";
import { Stage } from "./canvas.js";
import { loadMaps, mapNames } from "./colour-maps.js";
import { Connection } from "./connection.js";
import { showDemo } from "./demo.js";
import { Difference, LOOK } from "./difference.js";
import { byId } from "./elements.js";
import { Gallery } from "./gallery.js";
import { Gestures } from "./gestures.js";
import { Inspector } from "./inspector.js";
import { bindKeys } from "./keys.js";
import { pauseOrResume } from "./learn.js";
import { showBar, showCursor, showPastTag, showScale, showTag } from "./overlay.js";
import { showBanner, showExtent, showStatus } from "./panels.js";
import { Past } from "./past.js";
import { Path } from "./path.js";
import { showPositionError } from "./positions.js";
import { Pattern } from "./pattern.js";
import { savePng, saveProduct, showSave } from "./save.js";
import { Session } from "./session.js";
import { shownScan } from "./shown.js";
import { nextTheme, theme } from "./theme.js";
import { isKiosk, onFullScreenLeft, setKiosk, toggleKiosk } from "./wall.js";
import { decodeMessage } from "./wire.js";
import { agreement, count, frames, level, warningOf } from "./words.js";

const STALE_SECONDS = 3;
const KEY_PAN = 0.15;
const WORDS_PAUSE_MS = 200;
const ADDRESS_PAUSE_MS = 500;

/** The user's choices.
 * @type {{
 *   view: string, layer: import("./session.js").Layer, half: number | null, colours: string | null,
 *   limits: [number, number] | null, isInverted: boolean, isDifference: boolean,
 *   isFlat: boolean, isHeld: boolean, hasPath: boolean, scan: string | null, moment: number | null, other: string,
 *   box: import("./box.js").BoxUm | null,
 * }} */
const chosen = {
  view: "phase",
  layer: "refined",
  half: null,
  colours: null,
  limits: null,
  isInverted: false,
  isDifference: false,
  isFlat: false,
  isHeld: false,
  hasPath: false,
  scan: null,
  moment: null,
  other: "",
  box: null,
};
const session = new Session(() => newScan());
const alarm = new Alarm();
const stage = new Stage(byId("canvas"), () => drawn());
const second = new Stage(byId("canvas-second"), () => drawnSecond());
const connection = new Connection(received, connectionChanged);
const difference = new Difference();
const pattern = new Pattern(byId("pattern"), byId("pattern-text"), isPatternWanted);
const past = new Past(session, chosen, () => {
  showPicture();
  refresh();
});
const path = new Path(byId("path"), () => (chosen.hasPath && !document.hidden ? past.scanId : null), () => drawPath());
const inspector = new Inspector(stage, () => ({ scanId: past.scanId, layer: mainPicture().layer ?? chosen.layer }), { onPlace: pointAt, choose, chosen });
const gallery = new Gallery((scan) => chooseScan(scan));
/** @type {[number, number] | null} */
let place = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let refreshTimer;
let refreshedAt = 0;
let addressedAt = -Infinity;
/** @type {[number, number, number] | null} The place of the page's address, until there is a picture. */
let wantedPlace = null;
let patternAsked = "";

/** @param {ArrayBuffer} data */
function received(data) {
  try {
    const message = decodeMessage(data);
    session.take(message);
    if (message.topic === "scan") past.refreshScans();
  } catch (fault) {
    console.error(`a message was ignored: ${fault.message}`);
    return;
  }
  showPicture();
  refreshSoon();
}

function newScan() {
  if (session.scanId !== null) session.history = savedTrend(session.scanId, performance.now() / 1000);
  if (past.isLive) {
    stage.clear();
    inspector.newScan();
  }
  pattern.clear();
  past.moments = past.isLive ? [] : past.moments;
  past.showSlider();
  past.refreshMoments();
  byId("save-note").textContent = "";
}

function connectionChanged(state) {
  if (state === "open") {
    session.doubt();
    past.refreshScans().then(() => past.refreshMoments());
  }
  refresh();
}

function isLive() {
  return connection.state === "open" && connection.silentSeconds < STALE_SECONDS;
}

function isPatternWanted() {
  const { scan_id: scanId = null, frames_received: received = null } = session.status ?? {};
  const key = `${scanId} ${received}`;
  if (!isLive() || document.hidden || (received ?? 0) <= 0 || key === patternAsked) return false;
  patternAsked = key;
  return true;
}

/** The picture of the main half and its layer. */
function mainPicture() {
  if (!past.isLive) return { picture: past.main, layer: past.main?.header?.layer ?? null };
  const layer = session.layerFor(chosen.layer);
  return { picture: layer === null ? null : session.pictures[layer], layer };
}

function showPicture() {
  const { view, half, colours, limits, isInverted, isFlat, isHeld } = chosen;
  const look = { view, half: view === "phase" ? half : null, colours, limits, isInverted, isFlat, isHeld };
  const { picture } = mainPicture();
  stage.show(picture, look);
  stage.keep(chosen.box);
  stage.plan(past.isLive ? session.plannedBoxM : null);
  byId("stage-second").hidden = chosen.other === "";
  byId("difference").disabled = chosen.other === "";
  showBeside();
}

/** Show the second picture in the range of the first, or the difference of both. */
function showBeside() {
  const { picture } = stage;
  const beside = chosen.other === "" ? null : past.secondPicture();
  if (beside === null || beside === picture) second.show(null, second.look);
  else if (chosen.isDifference) second.show(difference.of(stage, beside), LOOK);
  else second.show(beside, stage.look);
  second.share(stage.range);
}

function drawn() {
  if (wantedPlace !== null && stage.picture !== null) {
    const [y, x, scale] = wantedPlace;
    wantedPlace = null;
    stage.move((camera) => camera.look(y, x, scale * window.devicePixelRatio));
  }
  showScale(stage);
  showBar(stage.range);
  showBox(stage, chosen.box);
  showCursors();
  drawPath();
  inspector.drawn();
  byId("fit").setAttribute("aria-pressed", String(stage.camera.follows));
  if (chosen.other === "") return;
  second.follow(stage.camera);
  showBeside();
}

function drawnSecond() {
  showCursor(second, place, byId("cursor-second"));
}

function showCursors() {
  showCursor(stage, place);
  showCursor(second, chosen.other === "" ? null : place, byId("cursor-second"));
}

function drawPath() {
  path.draw(stage.camera, chosen.hasPath, past.isLive && session.isRunning);
}

/** Update the text at most a few times a second. */
function refreshSoon() {
  refreshTimer ??= setTimeout(refresh, Math.max(0, refreshedAt + WORDS_PAUSE_MS - performance.now()));
}

function refresh() {
  clearTimeout(refreshTimer);
  refreshTimer = undefined;
  refreshedAt = performance.now();
  const { picture, layer } = mainPicture();
  const staleSeconds = connection.state === "open" && !isLive() ? connection.silentSeconds : 0;
  const warning = warningOf({ connection, session, staleSeconds, now: performance.now() });
  const root = document.documentElement.dataset;
  root.feed = isLive() && session.isConfirmed ? "live" : connection.state === "connecting" ? "connecting" : "stale";
  root.shown = past.isLive ? "live" : "past";
  const shown = shownScan(session, past);
  showStatus(session, isLive(), shown);
  showAssessment(shown, isLive());
  if (isLive()) alarm.look(session.scanId, session.status?.assessment ?? null);
  showExtent(stage);
  showPositionError(shown.positionErrorPx);
  path.expect(shown.positionErrorPx);
  inspector.showRange();
  keepAddress();
  showTags(layer);
  showBanner(warning);
  showSave({ scanId: past.scanId, layer, range: stage.range, picture, isServed: chosen.moment === null, box: chosen.box }, isLive());
  byId("now").disabled = past.isLive;
  byId("past-note").textContent = past.note;
  byId("agreement").textContent = agreement(past.figures);
  byId("canvas").setAttribute("aria-label", pictureWords(picture, layer));
  document.title = titleWords(warning);
}

/** @param {import("./session.js").Layer | null} layer */
function showTags(layer) {
  if (past.isLive) showTag(session, layer, chosen.layer);
  else showPastTag(byId("tag"), past.main, chosen.scan === null ? "earlier" : `past scan ${chosen.scan}`);
  byId("empty").textContent = past.isLive ? emptyWords() : past.note || "Loading";
  byId("empty").hidden = mainPicture().picture !== null;
  const { other } = chosen;
  const what = other.startsWith("scan:") ? `scan ${other.slice(5)}` : other === "iterative" ? "iterative result" : "other layer";
  const isDifference = second.look.view === "difference";
  const end = isDifference && second.range !== null ? ` (${chosen.view === "amplitude" ? "amplitude" : "phase / rad"}, ±${level(second.range.high)})` : "";
  showPastTag(byId("tag-second"), second.picture, isDifference ? `this picture less the ${what}${end}` : what);
  byId("empty-second").textContent = second.picture === null ? past.note || besideWords() : "";
}

function besideWords() {
  const isItself = past.secondPicture() !== null;
  return isItself ? "This is the same picture as on the left" : "This picture is not available yet";
}

function emptyWords() {
  if (connection.state !== "open") return "Waiting for the daemon";
  if (!session.isRunning) return "No picture yet. It appears here when a scan starts.";
  const received = session.status?.scan_id === session.scanId ? (session.status?.frames_received ?? 0) : 0;
  return received > 0 ? `${count(received)} frames received, none is in the picture yet` : "Waiting for the first frames";
}

/** @param {import("./picture.js").Picture | null} picture @param {import("./session.js").Layer | null} layer */
function pictureWords(picture, layer) {
  if (!picture?.header) return "No picture yet";
  const what = past.isLive ? "" : "not live, ";
  return `${what}${chosen.view} of the ${layer} layer, ${frames(picture.header.frames_stitched)}, scan ${past.scanId}`;
}

/** @param {import("./words.js").Warning | null} warning */
function titleWords(warning) {
  if (warning?.kind === "error") return "⚠ PtychoLive";
  const mark = session.status?.assessment?.grade === "bad" ? "⚠ " : "";
  const [stitched, expected] = [session.status?.frames_stitched ?? 0, session.status?.expected_frames ?? 0];
  const share = session.isRunning && expected > 0 ? `${Math.floor((100 * stitched) / expected)} % · ` : "";
  return session.scanId === null ? `${mark}PtychoLive` : `${mark}${share}${session.scanId} · PtychoLive`;
}

function choose(changes) {
  if ("view" in changes && changes.view !== chosen.view) changes = { limits: null, ...changes }; // values of another quantity
  Object.assign(chosen, changes);
  for (const name of ["view", "layer"]) {
    const inputs = /** @type {NodeListOf<HTMLInputElement>} */ (document.getElementsByName(name));
    for (const input of inputs) input.checked = input.value === chosen[name];
  }
  for (const [id, name] of [["hold", "isHeld"], ["flat", "isFlat"], ["path-shown", "hasPath"], ["difference", "isDifference"]]) byId(id).setAttribute("aria-pressed", String(chosen[name]));
  byId("span").parentElement.classList.toggle("unused", chosen.view !== "phase");
  byId("colours").disabled = chosen.view === "complex";
  byId("colours").value = chosen.colours ?? "";
  byId("span").value = chosen.half === null ? "" : String(Math.round(Math.PI / chosen.half));
  byId("other-choice").value = chosen.other;
  byId("scan-choice").value = chosen.scan ?? "";
  showPicture();
  refresh();
  drawn();
  if (["scan", "moment", "other", "layer", "isDifference"].some((name) => name in changes)) past.update();
  if ("scan" in changes || "layer" in changes) {
    past.refreshMoments();
    inspector.changed();
  }
  if (changes.hasPath) path.fetch();
}

function chooseScan(scan) {
  stage.camera.content = null;
  choose({ scan, moment: null });
  stage.move((camera) => camera.fit());
}

function chooseMoment(number) {
  const isLast = number >= past.moments.length;
  choose({ moment: isLast ? null : Math.max(0, number) });
  past.showSlider();
}

function backToLive() {
  choose({ scan: null, moment: null });
  past.showSlider();
}

/** Keep the state of the page in its address and, as far as it is a matter of taste, in the browser; browsers take it seldom. */
function keepAddress() {
  const now = performance.now();
  if (now - addressedAt < ADDRESS_PAUSE_MS) return;
  const { follows, now: seen } = stage.camera;
  const isFitted = wantedPlace !== null || follows || stage.picture === null;
  const at = isFitted ? wantedPlace : /** @type {[number, number, number]} */ ([seen.y, seen.x, seen.scale / window.devicePixelRatio]);
  const state = { ...chosen, at, tool: inspector.panel.shown, frame: inspector.shownFrame, isKiosk: isKiosk() };
  const address = encoded(state);
  if (address === window.location.hash.slice(1)) return;
  addressedAt = now;
  window.history.replaceState(null, "", address === "" ? window.location.pathname : `#${address}`);
  savePreferences(state);
}

/** Take the state from the address; what it leaves open, from the preferences. */
function takeAddress() {
  const { at = null, tool = null, frame = null, isKiosk: isOnWall = false, ...others } = { ...preferences(), ...decoded(window.location.hash) };
  choose(others);
  setKiosk(isOnWall);
  wantedPlace = at;
  inspector.begin(tool, frame);
}

function toggle(name) {
  choose({ [name]: !chosen[name] });
}

/** Keep the box of the view, or let the view follow the picture again. */
function keepBox() {
  choose({ box: chosen.box === null ? boxToKeep(stage) : null });
}

function zoom(factor) {
  stage.move((camera) => camera.zoomBy(factor, undefined, undefined, true));
}

/** Pan by a part of the view, or by one pixel of the picture, so that the cross reads each. */
function pan(rows, columns, isFine) {
  stage.move((camera) => camera.panBy(rows * (isFine ? camera.goal.scale : KEY_PAN * camera.height), columns * (isFine ? camera.goal.scale : KEY_PAN * camera.width)));
}

function pointAt(at) {
  place = at;
  showCursors();
}

bindKeys({ choose, chosen, toggle, zoom, pan, stage, past, inspector, chooseMoment, backToLive, keepBox });
new Gestures(stage, pointAt, (at) => inspector.click(at), inspector);
new Gestures({ canvas: second.canvas, move: (act) => stage.move(act) }, pointAt);
byId("views").addEventListener("change", (event) => choose({ view: event.target.value }));
byId("layers").addEventListener("change", (event) => choose({ layer: event.target.value }));
byId("span").addEventListener("change", ({ target }) => choose({ half: target.value === "" ? null : Math.PI / Number(target.value), limits: null, isHeld: false }));
byId("colours").addEventListener("change", ({ target }) => choose({ colours: target.value || null }));
byId("hold").addEventListener("click", () => toggle("isHeld"));
byId("flat").addEventListener("click", () => toggle("isFlat"));
byId("difference").addEventListener("click", () => toggle("isDifference"));
byId("path-shown").addEventListener("click", () => toggle("hasPath"));
byId("scan-choice").addEventListener("change", ({ target }) => chooseScan(target.value || null));
byId("other-choice").addEventListener("change", ({ target }) => choose({ other: target.value }));
byId("moment").addEventListener("input", ({ target }) => chooseMoment(Number(target.value)));
byId("now").addEventListener("click", backToLive);
byId("zoom-in").addEventListener("click", () => zoom(1.5));
byId("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
byId("fit").addEventListener("click", () => stage.move((camera) => camera.fit()));
byId("box").addEventListener("click", keepBox);
byId("save-png").addEventListener("click", savePng);
byId("save-product").addEventListener("click", () => saveProduct(past.scanId));
byId("learn-pause").addEventListener("click", pauseOrResume);
byId("gallery-open").addEventListener("click", () => gallery.open());
byId("kiosk").addEventListener("click", () => toggleKiosk().then(keepAddress));
onFullScreenLeft(keepAddress);
window.addEventListener("pagehide", () => saveTrend(session.scanId, session.history, performance.now() / 1000));
byId("theme").addEventListener("click", () => (byId("theme").textContent = nextTheme()));
byId("theme").textContent = theme();
byId("notes-open").addEventListener("click", () => byId("notes").showModal());
byId("sentence").addEventListener("click", () => byId("notes").showModal());
byId("alarm").addEventListener("click", () => alarm.toggle());
byId("help-open").addEventListener("click", () => byId("help").showModal());
setInterval(() => document.hidden || refresh(), 1000);
Object.assign(window, { ptycholive: { session, stage, second, connection, chosen, past, path, inspector, alarm, gallery } });
takeAddress();
loadMaps().then(() => {
  const known = [...byId("colours").options].map(({ value }) => value);
  byId("colours").append(...mapNames().filter((name) => !known.includes(name)).map((name) => new Option(name, name)));
  byId("colours").value = chosen.colours ?? "";
  showPicture();
});
showDemo();
connection.open();
