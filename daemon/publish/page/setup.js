// @ts-check
// The wizard: listens to a stream, asks for the rest, shows a checked configuration.

import { make } from "./build.js";
import { byId } from "./elements.js";
import { cutOut, filled, heardWords } from "./setup-values.js";
import { theme } from "./theme.js";

const ROUTE = "/api/v1/attach";
let isFresh = true;

/** The answer of the daemon; its refusal goes to a note, and the answer is null.
 * @param {string} path @param {object} body @param {string} note */
async function asked(path, body, note) {
  try {
    const answer = await fetch(`${ROUTE}/${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const found = await answer.json();
    byId(note).textContent = answer.ok ? "" : (found.detail ?? `the daemon answered with status ${answer.status}`);
    return answer.ok ? found : null;
  } catch {
    byId(note).textContent = "the daemon does not answer";
    return null;
  }
}

/** @param {string} id */
function answersOf(id) {
  const fields = [...byId(id).querySelectorAll("input[name], select[name]")];
  return filled(fields.map(({ name, value, parentElement }) => ({ name, value, isShown: !parentElement.hidden })));
}

/** Show the fields that belong to a choice.
 * @param {string} kind @param {string} value */
function showFields(kind, value) {
  for (const label of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(`[data-${kind}]`))) {
    label.hidden = !(label.dataset[kind] ?? "").split(" ").includes(value);
  }
}

async function listen() {
  const { wait_s: wait = "10", ...choice } = answersOf("stream");
  byId("stream-note").textContent = `Listening for up to ${wait} s …`;
  const found = await asked("stream", { ...choice, wait_s: Number(wait) }, "stream-note");
  if (found === null) return;
  byId("heard-text").textContent = heardWords(found);
  byId("heard-pattern").src = found.pattern;
  byId("cut").hidden = true;
  byId("cut-text").textContent = "";
  for (const id of ["heard", "answers"]) byId(id).hidden = false;
  byId("made").hidden = true;
  const form = byId("answers").elements;
  for (const [name, key] of [["energy", "energy_kev"], ["distance", "distance_mm"], ["pixel", "pixel_um"]]) if (found[key] !== null) form[name].value = String(found[key]);
  if (isFresh && found.has_positions) byId("position-kind").value = "frame";
  isFresh = false;
  showFields("positions", byId("position-kind").value);
  form.energy.focus();
}

/** @param {boolean} saves */
async function check(saves) {
  const note = saves ? "made-note" : "answers-note";
  byId(note).textContent = "Checking …";
  const found = await asked("configuration", { ...answersOf("answers"), save: saves }, note);
  if (found === null) return;
  byId("made").hidden = false;
  byId("made-notes").replaceChildren(...found.notes.map((/** @type {string} */ words) => make("li", {}, words)));
  byId("toml").textContent = found.toml;
  byId("download").href = URL.createObjectURL(new Blob([found.toml], { type: "application/toml" }));
  byId("heard-pattern").src = found.pattern;
  byId("cut-text").textContent = `Orientation ${found.orientation}; ${found.center_px === null ? "the daemon finds the centre in each scan" : `centre at row ${found.center_px[0]}, column ${found.center_px[1]}`}.`;
  const cut = cutOut(found);
  byId("cut").hidden = cut === null;
  for (const [name, percent] of Object.entries(cut ?? {})) byId("cut").style[name] = `${percent}%`;
  byId("made-note").textContent = found.saved === null ? "" : `Saved as ${found.saved}`;
  if (!saves) byId("toml").focus();
}

async function begin() {
  theme();
  const names = await (await fetch(ROUTE)).json();
  const options = (/** @type {string[]} */ values) => values.map((value) => new Option(value, value));
  byId("stream").elements.format.append(...options(names.formats));
  byId("answers").elements.orientation.append(...options(names.orientations));
  byId("probe-kind").append(...options(names.probes));
  byId("position-kind").append(...options(names.positions));
  showFields("probe", byId("probe-kind").value);
  showFields("positions", byId("position-kind").value);
}

byId("probe-kind").addEventListener("change", ({ target }) => showFields("probe", target.value));
byId("position-kind").addEventListener("change", ({ target }) => showFields("positions", target.value));
byId("keep").addEventListener("click", () => check(true));
for (const [id, act] of /** @type {[string, () => void][]} */ ([["stream", listen], ["answers", () => check(false)]])) {
  byId(id).addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    act();
  });
}
begin();
