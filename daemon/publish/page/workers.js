// @ts-check
// The workers of a cluster: where each runs, what it has done, and whether its part of the picture is fresh.

import { byId } from "./elements.js";
import * as words from "./words.js";

/** @param {Wire.WorkerStatus[]} workers @param {boolean} isLive */
export function showWorkers(workers, isLive) {
  byId("workers-card").hidden = workers.length === 0;
  byId("workers").replaceChildren(...workers.map((worker) => workerRow(worker, isLive)));
}

/** @param {Wire.WorkerStatus} worker @param {boolean} isLive */
function workerRow(worker, isLive) {
  const row = document.createElement("li");
  row.dataset.state = !isLive ? "unknown" : worker.state === "running" ? "good" : "gone";
  const where = [worker.host, worker.device].filter(Boolean).map(words.plain).join(" · ");
  const parts = [["dot", ""], ["name", `worker ${words.count(worker.worker)}`], ["what", workerWords(worker, isLive)], ["endpoint", where]];
  for (const [name, text] of parts) {
    const part = document.createElement("span");
    part.className = name;
    part.textContent = text;
    row.append(part);
  }
  row.title = worker.trouble ? words.plain(worker.trouble) : "";
  return row;
}

/** @param {Wire.WorkerStatus} worker @param {boolean} isLive */
export function workerWords(worker, isLive) {
  if (!isLive) return "unknown";
  if (worker.state !== "running") return words.plain(worker.state);
  const waiting = worker.frames_waiting + worker.frames_in_flight;
  const age = worker.tiles_age_s === null ? "" : `, ${words.seconds(worker.tiles_age_s)} ago`;
  return `${words.count(worker.frames_stitched)} stitched${waiting > 0 ? `, ${words.count(waiting)} waiting` : ""}${age}`;
}
