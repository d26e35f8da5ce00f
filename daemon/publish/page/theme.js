// @ts-check
// Dark or light theme: that of the system, or a choice that is stored.

const CHOICES = ["auto", "dark", "light"];
const KEY = "ptycholive-theme";
const isLight = window.matchMedia("(prefers-color-scheme: light)");
let choice = stored();

function stored() {
  try {
    const found = window.localStorage.getItem(KEY) ?? "";
    return CHOICES.includes(found) ? found : "auto";
  } catch {
    return "auto"; // storage is forbidden
  }
}

function apply() {
  document.documentElement.dataset.theme = choice === "auto" ? (isLight.matches ? "light" : "dark") : choice;
}

/** The next choice; returns it. */
export function nextTheme() {
  choice = CHOICES[(CHOICES.indexOf(choice) + 1) % CHOICES.length];
  try {
    window.localStorage.setItem(KEY, choice);
  } catch {
    // the choice lasts until the page is closed
  }
  apply();
  return choice;
}

/** What is chosen now. */
export function theme() {
  return choice;
}

isLight.addEventListener("change", apply);
apply();
