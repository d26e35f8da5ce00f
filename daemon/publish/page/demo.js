// @ts-check
// The buttons of a demo that break the next scan; other daemons offer none.

import { byId } from "./elements.js";

/** Ask the daemon for its buttons, and show them. */
export async function showDemo() {
  /** @type {Wire.DemoFaultFields[]} */
  let faults = [];
  try {
    const answer = await fetch("/api/v1/demo");
    if (answer.ok) faults = await answer.json();
  } catch {
    return; // the page says elsewhere that the daemon does not answer
  }
  byId("demo").hidden = faults.length === 0;
  byId("demo-buttons").replaceChildren(...faults.map(button));
}

/** @param {Wire.DemoFaultFields} fault */
function button({ name, title, about }) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = title;
  made.title = about;
  made.dataset.fault = name;
  made.addEventListener("click", () => order(name, about));
  return made;
}

/** @param {string} name @param {string} about */
async function order(name, about) {
  const note = byId("demo-note");
  try {
    const answer = await fetch(`/api/v1/demo/${name}`, { method: "POST" });
    note.textContent = answer.ok ? `Next scan: ${about}. Watch the card above.` : ((await answer.json()).detail ?? `the daemon answered with status ${answer.status}`);
  } catch {
    note.textContent = "the daemon does not answer";
  }
}
