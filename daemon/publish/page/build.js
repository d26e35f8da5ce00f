// @ts-check
// Makes elements of panels.

/** A new element; `more` are its properties (a name with a dash is an attribute), children may be text.
 * @param {string} tag
 * @param {Record<string, unknown>} more
 * @param {...(Node | string)} children
 * @returns {any} */
export function make(tag, more = {}, ...children) {
  const element = /** @type {any} */ (document.createElement(tag));
  for (const [name, value] of Object.entries(more)) {
    if (name.includes("-")) element.setAttribute(name, String(value));
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** A list of names and values; returns the list and a function that sets values by name.
 * @param {[string, string][]} rows name and title of each
 * @returns {[HTMLElement, (values: Record<string, string>) => void]} */
export function facts(rows) {
  /** @type {Record<string, HTMLElement>} */
  const values = {};
  const list = make("dl", { className: "rows" });
  for (const [name, title] of rows) {
    values[name] = make("dd", {}, "–");
    list.append(make("div", {}, make("dt", { title }, name), values[name]));
  }
  const set = (/** @type {Record<string, string>} */ found) => {
    for (const [name, element] of Object.entries(values)) if (element.textContent !== found[name]) element.textContent = found[name] ?? "–";
  };
  return [list, set];
}

/** A button with a name for its key.
 * @param {string} text @param {string} title @param {() => void} onClick */
export function button(text, title, onClick, more = {}) {
  const made = make("button", { type: "button", title, ...more }, text);
  made.addEventListener("click", onClick);
  return made;
}
