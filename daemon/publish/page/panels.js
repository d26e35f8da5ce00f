// @ts-check
// Words and numbers beside the picture. All text goes in as textContent: streams may say anything.

import { showLearning } from "./learn.js";
import { drawHistory } from "./sparkline.js";
import * as words from "./words.js";

/** @type {(id: string) => any} The kind of each element is known to index.html alone. */
export const byId = (id) => document.getElementById(id);

function say(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}

/** Show status, verdict, R-factors and streams; when `isLive` is false what cannot be known now is left open. */
export function showStatus(session, isLive) {
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
  const { name, generation } = status.model ?? {};
  say("model", generation > 0 ? `${words.plain(name)} · generation ${words.count(generation)}` : words.plain(name));
  say("device", words.plain(status.device));
  say("refine-updates", words.count(status.refine_updates));
  say("subscribers", words.count(isLive ? status.subscribers : null));
  say("version", words.plain(status.version));
  showLearning(status.finetune, isLive);
}

function showFrames(session, status) {
  const isOurs = status.scan_id === undefined || status.scan_id === null || status.scan_id === session.scanId;
  const { frames_stitched: stitched, frames_received: received, frames_pending: pending, expected_frames: expected } = isOurs ? status : {};
  say("stitched", words.count(stitched));
  say("expected", expected > 0 ? ` / ${words.count(expected)} stitched` : " stitched");
  const waiting = pending > 0 ? `, ${words.count(pending)} in work` : "";
  say("received", received >= 0 ? `${words.count(received)} received${waiting}` : "");
  const progress = byId("progress");
  progress.hidden = !(expected > 0);
  if (expected > 0) {
    progress.setAttribute("aria-valuemax", String(expected));
    progress.setAttribute("aria-valuenow", String(stitched ?? 0));
  }
  byId("progress-received").style.width = percent(received, expected);
  byId("progress-stitched").style.width = percent(stitched, expected);
  const hasEnded = session.scanState === "ended";
  say("verdict", words.verdictWords((hasEnded ? session.verdict : null) ?? (isOurs ? status.verdict : null), hasEnded));
}

function percent(part, whole) {
  return whole > 0 && part > 0 ? `${Math.min(100, (100 * part) / whole)}%` : "0%";
}

function showRfactors(session, status) {
  const own = (layer) => session.pictures[layer]?.header.rfactor;
  const told = status.scan_id === session.scanId ? status : {};
  const [refined, network] = ["refined", "network"].map((layer) => words.rfactor(told.rfactor?.[layer] ?? own(layer)));
  say("r-refined", refined);
  say("r-network", network);
  say("certainty", words.correlation(told.expected_correlation));
  const range = drawHistory(byId("history"), session.history);
  byId("history").setAttribute("aria-label", `R-factors over time: refined ${refined}, network ${network}, ${range}`);
}

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

function fillStream(row, stream, isLive, isRunning) {
  const [, name, what, endpoint] = row.children;
  const isSilent = isRunning && stream.silent_s > 5;
  const absent = isRunning ? "gone" : "idle";
  row.dataset.state = !isLive ? "unknown" : stream.connected ? (isSilent ? "silent" : "good") : absent;
  name.textContent = words.plain(stream.name);
  endpoint.textContent = words.plain(stream.endpoint);
  endpoint.title = endpoint.textContent;
  const amount = `${words.count(stream.messages)} msg · ${words.bytes(stream.bytes)}`;
  const state = { unknown: "unknown", gone: "not connected", idle: "no sender", silent: `silent ${words.seconds(stream.silent_s)}`, good: amount };
  what.textContent = state[row.dataset.state];
  what.title = amount;
}

/** Say how large the picture is and how much of it was seen; `stage` may not know yet. */
export function showExtent({ picture, measured }) {
  const size = picture?.header.pixel_size_m;
  if (!measured?.content || !(size > 0)) return say("extent", "");
  const { h, w } = measured.content;
  const share = `${Math.round(100 * measured.share)} % covered of`;
  return say("extent", `${share} ${words.length(w * size)} × ${words.length(h * size)} (${words.count(w)} × ${words.count(h)} px)`);
}

/** Show a warning ({kind, text}) or none. */
export function showBanner(warning) {
  const banner = byId("banner");
  banner.hidden = warning === null;
  if (warning === null) return;
  banner.dataset.kind = warning.kind;
  say("banner", warning.text);
}
