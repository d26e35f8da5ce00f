// @ts-check
// The panel beside the picture: one tab for each tool.

import { button, make } from "./build.js";

/** @typedef {{ name: string, title: string, element: HTMLElement, onShow?: () => void }} Tool */

export class Panel {
  /** `onChange` is called after the panel was opened, closed, or shows another tool.
   * @param {HTMLElement} main @param {HTMLElement} before @param {() => void} onChange */
  constructor(main, before, onChange) {
    this.onChange = onChange;
    /** @type {Tool[]} */
    this.tools = [];
    /** @type {string | null} */
    this.shown = null;
    this.tabs = make("div", { className: "tabs", role: "tablist", "aria-label": "Tools" });
    this.body = make("div", { className: "panel-body" });
    const close = button("×", "Close (I)", () => this.hide(), { "aria-label": "Close the panel" });
    this.element = make("section", { className: "panel", hidden: true, "aria-label": "Closer look" }, make("div", { className: "panel-head" }, this.tabs, close), this.body);
    main.insertBefore(this.element, before);
    this.tabs.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.#key(event));
  }

  /** @param {Tool} tool */
  add(tool) {
    this.tools.push(tool);
    const tab = button(tool.title, tool.title, () => this.show(tool.name), { id: `tab-${tool.name}`, "aria-controls": `tool-${tool.name}` });
    tab.setAttribute("role", "tab");
    this.tabs.append(tab);
    tool.element.id = `tool-${tool.name}`;
    tool.element.hidden = true;
    tool.element.setAttribute("role", "tabpanel");
    tool.element.setAttribute("aria-labelledby", tab.id);
    this.body.append(tool.element);
  }

  /** @param {string} name */
  show(name) {
    const isOther = this.shown !== name;
    this.shown = name;
    this.element.hidden = false;
    for (const tool of this.tools) {
      const isShown = tool.name === name;
      tool.element.hidden = !isShown;
      const tab = this.tabs.querySelector(`#tab-${tool.name}`);
      tab.setAttribute("aria-selected", String(isShown));
      tab.tabIndex = isShown ? 0 : -1;
      if (isShown && isOther) tool.onShow?.();
    }
    this.onChange();
  }

  hide() {
    this.shown = null;
    this.element.hidden = true;
    this.onChange();
  }

  toggle() {
    if (this.shown === null) this.show(this.tools[0].name);
    else this.hide();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    const at = this.tools.findIndex(({ name }) => name === this.shown);
    const next = this.tools[(at + step + this.tools.length) % this.tools.length];
    this.show(next.name);
    this.tabs.querySelector(`#tab-${next.name}`).focus();
    event.preventDefault();
    event.stopPropagation();
  }
}
