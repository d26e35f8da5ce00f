// @ts-check
// Text and numbers beside the picture.

import { byId, say } from "./elements.js";
import { showLearning } from "./learn.js";
import { showResolution } from "./resolution.js";
import { drawHistory } from "./sparkline.js";
import * as words from "./words.js";
import { showWorkers } from "./workers.js";

const SILENT_S = 5;

/** @typedef {import("./session.js").Session} Session */
/** @typedef {Partial<Wire.StatusHeader>} Status Before the first status every field is missing. */

/** Show status, account, R-factors and streams; if `isLive` is false, values that may have changed are left open.
 * @param {Session} session
 * @param {boolean} isLive
 * @param {import("./shown.js").Shown} shown */
export function showStatus(session, isLive, shown) {
  /** @type {Status} */
  const status = session.status ?? {};
  const state = isLive ? words.stateWord(session.status) : "unknown";
  say("state", state);
  byId("state").dataset.state = state;
  say("scan", shown.scanId ?? "");
  byId("scan").title = shown.scanId ?? "";
  say("sentence", isLive ? (status.sentence ?? "") : "");
  byId("sentence").title = byId("sentence").textContent;
  showFrames(shown);
  say("receive-rate", words.rate(isLive ? status.receive_rate_hz : null));
  say("stitch-rate", words.rate(isLive ? status.stitch_rate_hz : null));
  say("latency", words.seconds(isLive ? status.latency_s : null));
  showRfactors(session, shown);
  showStreams(status.streams ?? [], isLive, words.areFramesDue(session.status));
  showWorkers(status.workers ?? [], isLive);
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

/** @param {import("./shown.js").Shown} shown */
function showFrames({ stitched, received, pending, expected, verdict, hasEnded, result }) {
  say("stitched", words.count(stitched));
  say("expected", expected > 0 ? ` / ${words.count(expected)} stitched` : " stitched");
  const waiting = pending > 0 ? `, ${words.count(pending)} pending` : "";
  const ending = result === null ? "" : `, ${result}`;
  say("received", stitched === null ? "" : `${words.count(received)} received${waiting}${ending}`);
  const progress = byId("progress");
  progress.hidden = !(expected > 0);
  if (expected > 0) {
    progress.setAttribute("aria-valuemax", String(expected));
    progress.setAttribute("aria-valuenow", String(stitched ?? 0));
  }
  byId("progress-received").style.width = percent(received, expected);
  byId("progress-stitched").style.width = percent(stitched ?? 0, expected);
  say("verdict", words.verdictWords(verdict, hasEnded));
}

/** @param {number} part @param {number} whole */
function percent(part, whole) {
  return whole > 0 && part > 0 ? `${Math.min(100, (100 * part) / whole)}%` : "0%";
}

/** @param {Session} session @param {import("./shown.js").Shown} shown */
function showRfactors(session, shown) {
  const isMeaningful = shown.assessment?.is_rfactor_meaningful !== false;
  const [refined, network] = ["refined", "network"].map((layer) => words.rfactor(isMeaningful ? shown.rfactors[layer] : null));
  say("r-refined", refined);
  say("r-network", network);
  say("certainty", words.correlation(isMeaningful ? shown.correlation : null));
  say("withheld", isMeaningful ? "" : "Not shown: these figures mean nothing until the scan is corrected.");
  showResolution(isMeaningful ? shown.frc : null);
  const range = drawHistory(byId("history"), shown.isPast || !isMeaningful ? [] : session.history);
  byId("history").setAttribute("aria-label", `R-factors over time: refined ${refined}, network ${network}, ${range}`);
}

/** @param {Wire.StreamStatus[]} streams @param {boolean} isLive @param {boolean} isDue Whether frames are awaited. */
function showStreams(streams, isLive, isDue) {
  const list = byId("streams");
  while (list.children.length > streams.length) list.lastChild.remove();
  while (list.children.length < streams.length) list.append(streamRow());
  streams.forEach((stream, i) => fillStream(list.children[i], stream, isLive, isDue));
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

/** @param {any} row @param {Wire.StreamStatus} stream @param {boolean} isLive @param {boolean} isDue */
function fillStream(row, stream, isLive, isDue) {
  const [, name, what, endpoint] = row.children;
  const isSilent = isDue && (stream.silent_s ?? 0) > SILENT_S;
  const absent = isDue ? "gone" : "idle";
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
  if (!measured?.content) return say("extent", "");
  const { h, w } = measured.content;
  const pixels = `${words.count(w)} × ${words.count(h)} px`;
  if (!(size > 0)) return say("extent", `${Math.round(100 * measured.share)} % of ${pixels} covered`);
  const area = `${words.length(w * size)} × ${words.length(h * size)}`;
  return say("extent", `${Math.round(100 * measured.share)} % of ${area} covered (${pixels})`);
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
