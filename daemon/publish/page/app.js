// @ts-check
// The viewer page: takes messages, shows picture and text.

import { Alarm } from "./alarm.js";
import { showAssessment } from "./assessment.js";
import { Stage } from "./canvas.js";
import { Connection } from "./connection.js";
import { byId } from "./elements.js";
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
import { decodeMessage } from "./wire.js";
import { count, frames, warningOf } from "./words.js";

const STALE_SECONDS = 3;
const KEY_PAN = 0.15;
const WORDS_PAUSE_MS = 200;

/** The user's choices.
 * @type {{
 *   view: string, layer: import("./session.js").Layer, half: number | null, colours: string | null,
 *   isFlat: boolean, isHeld: boolean, hasPath: boolean, scan: string | null, moment: number | null, other: string,
 * }} */
const chosen = {
  view: "phase",
  layer: "refined",
  half: null,
  colours: null,
  isFlat: false,
  isHeld: false,
  hasPath: false,
  scan: null,
  moment: null,
  other: "",
};
const session = new Session(() => newScan());
const alarm = new Alarm();
const stage = new Stage(byId("canvas"), () => drawn());
const second = new Stage(byId("canvas-second"), () => drawnSecond());
const connection = new Connection(received, connectionChanged);
const pattern = new Pattern(byId("pattern"), byId("pattern-text"), isPatternWanted);
const past = new Past(session, chosen, () => {
  showPicture();
  refresh();
});
const path = new Path(byId("path"), () => (chosen.hasPath && !document.hidden ? past.scanId : null), () => drawPath());
const inspector = new Inspector(stage, () => ({ scanId: past.scanId, layer: mainPicture().layer ?? chosen.layer }), pointAt);
/** @type {[number, number] | null} */
let place = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let refreshTimer;
let refreshedAt = 0;
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
  if (past.isLive) {
    stage.clear();
    inspector.newScan();
  }
  pattern.clear();
  past.moments = past.isLive ? [] : past.moments;
  past.showSlider();
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
  const { view, half, colours, isFlat, isHeld } = chosen;
  const look = { view, half: view === "phase" ? half : null, colours, isFlat, isHeld };
  const { picture } = mainPicture();
  stage.show(picture, look);
  const hasSecond = chosen.other !== "";
  byId("stage-second").hidden = !hasSecond;
  const beside = hasSecond ? past.secondPicture() : null;
  second.show(beside === picture ? null : beside, look);
}

function drawn() {
  showScale(stage);
  showBar(stage.range);
  showCursors();
  drawPath();
  inspector.drawn();
  byId("fit").setAttribute("aria-pressed", String(stage.camera.follows));
  if (chosen.other === "") return;
  second.follow(stage.camera);
  second.share(stage.range);
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
  showTags(layer);
  showBanner(warning);
  showSave({ scanId: past.scanId, layer, range: stage.range, picture, isServed: chosen.moment === null }, isLive());
  byId("now").disabled = past.isLive;
  byId("past-note").textContent = past.note;
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
  showPastTag(byId("tag-second"), second.picture, what);
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
  Object.assign(chosen, changes);
  for (const name of ["view", "layer"]) {
    const inputs = /** @type {NodeListOf<HTMLInputElement>} */ (document.getElementsByName(name));
    for (const input of inputs) input.checked = input.value === chosen[name];
  }
  for (const [id, name] of [["hold", "isHeld"], ["flat", "isFlat"], ["path-shown", "hasPath"]]) byId(id).setAttribute("aria-pressed", String(chosen[name]));
  byId("span").parentElement.classList.toggle("unused", chosen.view !== "phase");
  byId("colours").disabled = chosen.view === "complex";
  byId("other-choice").value = chosen.other;
  byId("scan-choice").value = chosen.scan ?? "";
  showPicture();
  refresh();
  drawn();
  if (["scan", "moment", "other", "layer"].some((name) => name in changes)) past.update();
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

function toggle(name) {
  choose({ [name]: !chosen[name] });
}

function zoom(factor) {
  stage.move((camera) => camera.zoomBy(factor, undefined, undefined, true));
}

function pan(rows, columns) {
  stage.move((camera) => camera.panBy(rows * KEY_PAN * camera.height, columns * KEY_PAN * camera.width));
}

function pointAt(at) {
  place = at;
  showCursors();
}

bindKeys({ choose, chosen, toggle, zoom, pan, stage, past, inspector, chooseMoment, backToLive });
new Gestures(stage, pointAt, (at) => inspector.click(at));
new Gestures({ canvas: second.canvas, move: (act) => stage.move(act) }, pointAt);
byId("views").addEventListener("change", (event) => choose({ view: event.target.value }));
byId("layers").addEventListener("change", (event) => choose({ layer: event.target.value }));
byId("span").addEventListener("change", ({ target }) => choose({ half: target.value === "" ? null : Math.PI / Number(target.value) }));
byId("colours").addEventListener("change", ({ target }) => choose({ colours: target.value || null }));
byId("hold").addEventListener("click", () => toggle("isHeld"));
byId("flat").addEventListener("click", () => toggle("isFlat"));
byId("path-shown").addEventListener("click", () => toggle("hasPath"));
byId("scan-choice").addEventListener("change", ({ target }) => chooseScan(target.value || null));
byId("other-choice").addEventListener("change", ({ target }) => choose({ other: target.value }));
byId("moment").addEventListener("input", ({ target }) => chooseMoment(Number(target.value)));
byId("now").addEventListener("click", backToLive);
byId("zoom-in").addEventListener("click", () => zoom(1.5));
byId("zoom-out").addEventListener("click", () => zoom(1 / 1.5));
byId("fit").addEventListener("click", () => stage.move((camera) => camera.fit()));
byId("save-png").addEventListener("click", savePng);
byId("save-product").addEventListener("click", () => saveProduct(past.scanId));
byId("learn-pause").addEventListener("click", pauseOrResume);
byId("theme").addEventListener("click", () => (byId("theme").textContent = nextTheme()));
byId("theme").textContent = theme();
byId("notes-open").addEventListener("click", () => byId("notes").showModal());
byId("sentence").addEventListener("click", () => byId("notes").showModal());
byId("alarm").addEventListener("click", () => alarm.toggle());
byId("help-open").addEventListener("click", () => byId("help").showModal());
setInterval(() => document.hidden || refresh(), 1000);
Object.assign(window, { ptycholive: { session, stage, second, connection, chosen, past, path, inspector, alarm } });
connection.open();
