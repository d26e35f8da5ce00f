// @ts-check
// Dark or light: as the system says, or as chosen here and remembered.

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
    // it lasts as long as the page
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
