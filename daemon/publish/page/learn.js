// @ts-check
// The panel of fine-tuning: its state, its progress, and the button that pauses it.

import { byId } from "./elements.js";
import { drawHistory } from "./sparkline.js";
import * as words from "./words.js";

const POINTS = 240;
/** @type {{ time: number, loss: number }[]} */
const history = [];

/** Show the status of fine-tuning, unless it is off.
 * @param {Wire.LearningStatus | null | undefined} finetune
 * @param {boolean} isLive */
export function showLearning(finetune, isLive) {
  const isOn = finetune !== undefined && finetune !== null && finetune.state !== "off";
  byId("learn").hidden = !isOn;
  if (!isOn) return;
  const { active = null, candidate = null } = finetune.heldout_rfactor ?? {};
  byId("learn-state").textContent = isLive ? words.plain(finetune.state) : "unknown";
  const loss = finetune.loss ?? Number.NaN;
  byId("learn-loss").textContent = Number.isFinite(loss) ? words.level(loss) : words.plain(null);
  byId("learn-active").textContent = words.rfactor(active);
  byId("learn-candidate").textContent = words.rfactor(candidate);
  byId("learn-words").textContent = learnWords(finetune);
  const button = byId("learn-pause");
  button.disabled = !isLive;
  button.textContent = finetune.state === "paused" ? "Resume" : "Pause";
  remember(loss);
  const reach = drawHistory(byId("learn-history"), history, ["loss"]);
  byId("learn-history").setAttribute("aria-label", `Loss of fine-tuning over time, ${reach}`);
}

/** "1,200 steps on 96 frames · 2 promoted, 1 rejected".
 * @param {Wire.LearningStatus} finetune */
export function learnWords({ steps, frames, promotions }) {
  const verdicts = Object.entries(promotions ?? {}).map(([verdict, number]) => `${words.count(number)} ${verdict}`);
  return `${words.count(steps)} steps on ${words.frames(frames)} · ${verdicts.join(", ") || "no candidate compared yet"}`;
}

/** @param {number} loss */
function remember(loss) {
  if (!Number.isFinite(loss) || history.at(-1)?.loss === loss) return;
  history.push({ time: performance.now() / 1000, loss });
  if (history.length > POINTS) history.splice(0, history.length, ...history.filter((_, i) => i % 2 === 1));
}

/** Pause or resume fine-tuning; show the reason if that fails. */
export async function pauseOrResume() {
  const order = byId("learn-pause").textContent === "Resume" ? "resume" : "pause";
  const note = byId("learn-note");
  try {
    const answer = await fetch(`/api/v1/finetune/${order}`, { method: "POST" });
    note.textContent = answer.ok ? "" : ((await answer.json()).detail ?? `the daemon answered with status ${answer.status}`);
  } catch {
    note.textContent = "the daemon does not answer";
  }
}
