// @ts-check
// Text and numbers beside the picture.

import { byId, say } from "./elements.js";
import { showLearning } from "./learn.js";
import { drawHistory } from "./sparkline.js";
import * as words from "./words.js";

const SILENT_S = 5;

/** @typedef {import("./session.js").Session} Session */
/** @typedef {Partial<Wire.StatusHeader>} Status Before the first status every field is missing. */

/** Show status, account, R-factors and streams; if `isLive` is false, values that may have changed are left open.
 * @param {Session} session
 * @param {boolean} isLive */
export function showStatus(session, isLive) {
  /** @type {Status} */
  const status = session.status ?? {};
  const state = isLive ? words.stateWord(session.status) : "unknown";
  say("state", state);
  byId("state").dataset.state = state;
  say("scan", session.scanId ?? "");
  say("sentence", isLive ? (status.sentence ?? "") : "");
  showFrames(session, status);
  say("receive-rate", words.rate(isLive ? status.receive_rate_hz : null));
  say("stitch-rate", words.rate(isLive ? status.stitch_rate_hz : null));
  say("latency", words.seconds(isLive ? status.latency_s : null));
  showRfactors(session, status);
  showStreams(status.streams ?? [], isLive, session.isRunning);
  say("model", modelWords(status.model));
  say("device", words.plain(status.device));
  say("refine-updates", words.count(status.refine_updates));
  say("subscribers", words.count(isLive ? status.subscribers : null));
  say("version", words.plain(status.version));
  showLearning(status.finetune, isLive);
}

/** @param {Wire.ModelStatus | null | undefined} model */
function modelWords(model) {
  const name = words.plain(model?.name);
  return model && model.generation > 0 ? `${name} · generation ${words.count(model.generation)}` : name;
}

/** @param {Session} session @param {Status} status */
function showFrames(session, status) {
  const isOurs = status.scan_id === undefined || status.scan_id === null || status.scan_id === session.scanId;
  /** @type {Status} */
  const own = isOurs ? status : {};
  const { frames_stitched: stitched, frames_received: received } = own;
  const [pending, expected] = [own.frames_pending ?? 0, own.expected_frames ?? 0];
  say("stitched", words.count(stitched));
  say("expected", expected > 0 ? ` / ${words.count(expected)} stitched` : " stitched");
  const waiting = pending > 0 ? `, ${words.count(pending)} pending` : "";
  say("received", typeof received === "number" ? `${words.count(received)} received${waiting}` : "");
  const progress = byId("progress");
  progress.hidden = !(expected > 0);
  if (expected > 0) {
    progress.setAttribute("aria-valuemax", String(expected));
    progress.setAttribute("aria-valuenow", String(stitched ?? 0));
  }
  byId("progress-received").style.width = percent(received ?? 0, expected);
  byId("progress-stitched").style.width = percent(stitched ?? 0, expected);
  const hasEnded = session.scanState === "ended";
  say("verdict", words.verdictWords((hasEnded ? session.verdict : null) ?? own.verdict, hasEnded));
}

/** @param {number} part @param {number} whole */
function percent(part, whole) {
  return whole > 0 && part > 0 ? `${Math.min(100, (100 * part) / whole)}%` : "0%";
}

/** @param {Session} session @param {Status} status */
function showRfactors(session, status) {
  /** @type {Status} */
  const told = status.scan_id === session.scanId ? status : {};
  /** @param {Wire.PictureHeader["layer"]} layer */
  const rfactorOf = (layer) => words.rfactor(told.rfactor?.[layer] ?? session.pictures[layer]?.header?.rfactor);
  const [refined, network] = [rfactorOf("refined"), rfactorOf("network")];
  say("r-refined", refined);
  say("r-network", network);
  say("certainty", words.correlation(told.expected_correlation));
  const range = drawHistory(byId("history"), session.history);
  byId("history").setAttribute("aria-label", `R-factors over time: refined ${refined}, network ${network}, ${range}`);
}

/** @param {Wire.StreamStatus[]} streams @param {boolean} isLive @param {boolean} isRunning */
function showStreams(streams, isLive, isRunning) {
  const list = byId("streams");
  while (list.children.length > streams.length) list.lastChild.remove();
  while (list.children.length < streams.length) list.append(streamRow());
  streams.forEach((stream, i) => fillStream(list.children[i], stream, isLive, isRunning));
}

function streamRow() {
  const row = document.createElement("li");
  for (const name of ["dot", "name", "what", "endpoint"]) {
    const part = document.createElement("span");
    part.className = name;
    row.append(part);
  }
  return row;
}

/** @param {any} row @param {Wire.StreamStatus} stream @param {boolean} isLive @param {boolean} isRunning */
function fillStream(row, stream, isLive, isRunning) {
  const [, name, what, endpoint] = row.children;
  const isSilent = isRunning && (stream.silent_s ?? 0) > SILENT_S;
  const absent = isRunning ? "gone" : "idle";
  row.dataset.state = !isLive ? "unknown" : stream.connected ? (isSilent ? "silent" : "good") : absent;
  name.textContent = words.plain(stream.name);
  endpoint.textContent = words.plain(stream.endpoint);
  endpoint.title = endpoint.textContent;
  const amount = `${words.count(stream.messages)} msg · ${words.bytes(stream.bytes)}`;
  const state = { unknown: "unknown", gone: "not connected", idle: "no sender", silent: `silent ${words.seconds(stream.silent_s)}`, good: amount };
  what.textContent = /** @type {Record<string, string>} */ (state)[row.dataset.state];
  what.title = amount;
}

/** Show the size of the picture and its covered share; `stage` may not know them yet.
 * @param {import("./canvas.js").Stage} stage */
export function showExtent({ picture, measured }) {
  const size = picture?.header?.pixel_size_m ?? 0;
  if (!measured?.content || !(size > 0)) return say("extent", "");
  const { h, w } = measured.content;
  const area = `${words.length(w * size)} × ${words.length(h * size)}`;
  return say("extent", `${Math.round(100 * measured.share)} % of ${area} covered (${words.count(w)} × ${words.count(h)} px)`);
}

/** Show a warning or none.
 * @param {import("./words.js").Warning | null} warning */
export function showBanner(warning) {
  const banner = byId("banner");
  banner.hidden = warning === null;
  if (warning === null) return;
  banner.dataset.kind = warning.kind;
  say("banner", warning.text);
}
