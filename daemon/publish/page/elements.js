// @ts-check
// Access to the elements of index.html.

/** @type {(id: string) => any} The kind of each element is known to index.html alone. */
export const byId = (id) => document.getElementById(id);

/** Set the text of an element. Text goes in as textContent: streams may contain anything.
 * @param {string} id
 * @param {string} text */
export function say(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}
