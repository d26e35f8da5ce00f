// @ts-check
// A closer look at the picture: the panel with its tools, the marks, clicks and keys.

import { button } from "./build.js";
import { byId } from "./elements.js";
import { FrameTool } from "./frame-tool.js";
import { crossMark, frameMark, Marks } from "./marks.js";
import { Panel } from "./panel.js";

export class Inspector {
  /** `where` returns the scan and the layer on the screen; `onPlace` gets the place of the keyboard's cross, or null.
   * @param {import("./canvas.js").Stage} stage
   * @param {() => { scanId: string | null, layer: string }} where
   * @param {(place: [number, number] | null) => void} onPlace */
  constructor(stage, where, onPlace) {
    this.stage = stage;
    this.onPlace = onPlace;
    this.hasCross = false;
    this.marks = new Marks(byId("stage"), stage.camera);
    this.frames = new FrameTool(where, () => this.#markFrame());
    const main = /** @type {HTMLElement} */ (document.querySelector("main"));
    this.button = button("Inspect", "Panel with frame and tools (I); a click on the picture shows its frame", () => this.panel.toggle(), { id: "inspect", "aria-keyshortcuts": "i", "aria-pressed": "false" });
    byId("path-shown").after(this.button);
    this.panel = new Panel(main, /** @type {HTMLElement} */ (main.querySelector("aside")), () => this.#changed());
    this.panel.add({ name: "frame", title: "Frame", element: this.frames.element, onShow: () => this.frames.shown === null && this.#clickMiddle() });
    stage.canvas.addEventListener("focus", () => this.#cross(stage.canvas.matches(":focus-visible")));
    stage.canvas.addEventListener("blur", () => this.#cross(false));
    stage.canvas.addEventListener("pointerdown", () => this.#cross(false));
  }

  /** Keys of the tools, by name. */
  get keys() {
    return {
      i: () => this.panel.toggle(),
      "[": () => this.#step("previous"),
      "]": () => this.#step("next"),
    };
  }

  /** A click on the picture; `place` is in device pixels.
   * @param {[number, number]} place */
  click(place) {
    if (this.stage.picture === null) return;
    const [y, x] = this.stage.camera.toObject(...place);
    this.panel.show("frame");
    this.frames.goNear(y - 0.5, x - 0.5);
  }

  /** Enter on the picture: the frame under the cross. */
  clickMiddle() {
    this.#cross(true);
    if (this.panel.shown !== "frame") this.panel.show("frame");
    this.#clickMiddle();
  }

  /** @param {"previous" | "next"} way */
  #step(way) {
    this.panel.show("frame");
    this.frames.step(way);
  }

  #clickMiddle() {
    if (this.stage.picture === null) return;
    const { y, x } = this.stage.camera.now;
    this.frames.goNear(y - 0.5, x - 0.5);
  }

  /** To be called after the picture was drawn. */
  drawn() {
    this.marks.draw();
    if (this.hasCross) this.onPlace(this.#middle());
  }

  /** To be called when another scan or layer is shown. */
  changed() {
    if (this.panel.shown === "frame") this.frames.refresh();
  }

  /** To be called when another scan has begun: its frames are others. */
  newScan() {
    this.frames.clear();
    this.#markFrame();
  }

  /** @returns {[number, number]} */
  #middle() {
    const { width, height } = this.stage.camera;
    return [height / 2, width / 2];
  }

  /** @param {boolean} isShown */
  #cross(isShown) {
    if (isShown === this.hasCross) return;
    this.hasCross = isShown;
    this.marks.set("cross", isShown ? crossMark : null);
    this.onPlace(isShown ? this.#middle() : null);
  }

  #markFrame() {
    const frame = this.panel.shown === "frame" ? (this.frames.shown?.frame ?? null) : null;
    const place = frame === null ? null : (frame.found_px ?? frame.position_px);
    this.marks.set("frame", place === null ? null : frameMark(place, frame?.side_px ?? null));
  }

  #changed() {
    this.button.setAttribute("aria-pressed", String(this.panel.shown !== null));
    this.#markFrame();
  }
}
