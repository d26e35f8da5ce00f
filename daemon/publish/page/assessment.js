// @ts-check
// The card on top: is this scan good? Grade, reason, one action, what remains; and a drawer with every note.

import { byId, say } from "./elements.js";
import { count, seconds } from "./words.js";

/** @typedef {import("./shown.js").Shown} Shown */

/** @type {Record<string, string>} */
const WORDS = { good: "GOOD", check: "CHECK", bad: "BAD" };
const NO_SCAN = ["ready", "starting"];
let notesKey = "";

/** Show an assessment; without a connection, that it may have changed.
 * @param {Shown} shown
 * @param {boolean} isLive */
export function showAssessment(shown, isLive) {
  const { assessment } = shown;
  const isKnown = assessment !== null && (isLive || shown.isPast);
  const card = byId("assessment");
  card.dataset.grade = isKnown ? gradeOf(assessment) : "unknown";
  say("grade", isKnown ? gradeWord(assessment) : "–");
  say("reason", isKnown ? sentence(assessment.reason) : "");
  say("action", isKnown && assessment.grade !== "good" ? sentence(assessment.action) : "");
  say("remains", remains(shown, isLive));
  const notes = assessment?.notes ?? [];
  const grave = notes.filter((note) => note.grade !== "good").length;
  say("notes-open", notes.length === 0 ? "No notes" : `${count(notes.length)} ${notes.length === 1 ? "note" : "notes"}`);
  byId("notes-open").dataset.grave = String(grave > 0);
  showNotes(notes);
}

/** The grade for colours; the daemon alone, without a scan, has none unless something is wrong.
 * @param {Wire.AssessmentFields} assessment */
function gradeOf(assessment) {
  if (NO_SCAN.includes(assessment.code)) return "none";
  return assessment.grade in WORDS ? assessment.grade : "unknown";
}

/** @param {Wire.AssessmentFields} assessment */
function gradeWord(assessment) {
  return NO_SCAN.includes(assessment.code) ? assessment.code.toUpperCase() : (WORDS[assessment.grade] ?? "–");
}

/** @param {string | null | undefined} words */
function sentence(words) {
  return words ? `${words}.` : "";
}

/** The frames to come, and about how long they take.
 * @param {Shown} shown
 * @param {boolean} isLive */
export function remains({ isPast, isRunning, expected, received, rate }, isLive) {
  if (isPast || !isRunning || !isLive || !(expected > 0)) return "";
  const rest = Math.max(0, expected - received);
  if (rest === 0) return "all frames are there";
  const time = rate > 0.05 ? `, about ${seconds(Math.max(1, rest / rate))}` : "";
  return `${count(rest)} of ${count(expected)} to come${time}`;
}

/** @param {Wire.NoteFields[]} notes */
function showNotes(notes) {
  const key = JSON.stringify(notes);
  if (key === notesKey) return;
  notesKey = key;
  byId("notes-list").replaceChildren(...notes.map(noteRow));
  byId("notes-none").hidden = notes.length > 0;
}

/** @param {Wire.NoteFields} note */
function noteRow(note) {
  const row = document.createElement("li");
  row.dataset.grade = note.grade;
  const since = note.since ? new Date(note.since).toLocaleTimeString("en-GB") : "";
  const parts = { grade: WORDS[note.grade] && note.grade !== "good" ? WORDS[note.grade] : "NOTE", since, sentence: sentence(note.sentence), action: sentence(note.action) };
  for (const [name, text] of Object.entries(parts)) {
    const part = document.createElement(name === "sentence" || name === "action" ? "p" : "span");
    part.className = name;
    part.textContent = text;
    row.append(part);
  }
  return row;
}
