// @ts-check
// A closer look at the picture: the panel with its tools, the marks, clicks and keys.

import { button } from "./build.js";
import { byId } from "./elements.js";
import { FrameTool } from "./frame-tool.js";
import { crossMark, frameMark, Marks } from "./marks.js";
import { MeasureTool } from "./measure-tool.js";
import { Panel } from "./panel.js";
import { ProbeTool } from "./probe-tool.js";
import { RangeTool } from "./range-tool.js";

export class Inspector {
  /** `where` returns the scan and the layer on the screen; `onPlace` gets the place of the keyboard's cross, or null;
   * `choose` changes the choices `chosen`.
   * @param {import("./canvas.js").Stage} stage
   * @param {() => { scanId: string | null, layer: string }} where
   * @param {{ onPlace: (place: [number, number] | null) => void, choose: (changes: any) => void, chosen: any }} page */
  constructor(stage, where, { onPlace, choose, chosen }) {
    this.stage = stage;
    this.onPlace = onPlace;
    this.chosen = chosen;
    this.hasCross = false;
    /** @type {number | null} The frame of the page's address, until there is a picture. */
    this.wanted = null;
    this.marks = new Marks(byId("stage"), stage.camera);
    this.frames = new FrameTool(where, () => this.#markFrame());
    this.probe = new ProbeTool(where);
    this.range = new RangeTool(stage, choose);
    this.measure = new MeasureTool(stage, this.marks);
    const main = /** @type {HTMLElement} */ (document.querySelector("main"));
    this.button = button("Inspect", "Panel with frame and tools (I); a click on the picture shows its frame", () => this.panel.toggle(), { id: "inspect", "aria-keyshortcuts": "i", "aria-pressed": "false" });
    byId("path-shown").after(this.button);
    this.panel = new Panel(main, /** @type {HTMLElement} */ (main.querySelector("aside")), () => this.#changed());
    this.panel.add({ name: "frame", title: "Frame", element: this.frames.element, onShow: () => this.frames.shown === null && this.wanted === null && this.#clickMiddle() });
    this.panel.add({ name: "probe", title: "Probe", element: this.probe.element, onShow: () => this.probe.show() });
    this.panel.add({ name: "range", title: "Range", element: this.range.element, onShow: () => this.showRange() });
    this.panel.add({ name: "measure", title: "Measure", element: this.measure.element });
    stage.canvas.addEventListener("focus", () => this.#cross(stage.canvas.matches(":focus-visible")));
    stage.canvas.addEventListener("blur", () => this.#cross(false));
    stage.canvas.addEventListener("pointerdown", () => this.#cross(false));
  }

  /** Index of the shown frame, null without one. */
  get shownFrame() {
    return this.panel.shown === "frame" ? (this.frames.shown?.frame.index ?? this.wanted) : null;
  }

  /** Open a tool and a frame once there is a picture.
   * @param {string | null} tool @param {number | null} frame */
  begin(tool, frame) {
    this.wanted = frame;
    if (tool !== null && this.panel.tools.some(({ name }) => name === tool)) this.panel.show(tool);
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
    if (this.stage.picture === null || this.measure.draws) return;
    const [y, x] = this.stage.camera.toObject(...place);
    this.panel.show("frame");
    this.frames.goNear(y - 0.5, x - 0.5);
  }

  /** Whether a drag over the picture draws instead of panning. */
  get draws() {
    return this.measure.draws;
  }

  /** A drag over the picture from one place to another, in device pixels.
   * @param {number[]} from @param {number[]} to */
  draw(from, to) {
    const ends = [from, to].map(([y, x]) => this.stage.camera.toObject(y, x));
    this.measure.set(/** @type {[[number, number], [number, number]]} */ (ends));
  }

  /** Enter on the picture: an end of the line or region at the cross, or the frame under it. */
  enter() {
    this.#cross(true);
    if (this.measure.draws) {
      const { y, x } = this.stage.camera.now;
      this.measure.addEnd([y, x]);
      return;
    }
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
    if (this.wanted !== null && this.stage.picture !== null) {
      this.frames.go(this.wanted);
      this.wanted = null;
    }
    if (this.hasCross) this.onPlace(this.#middle());
  }

  /** Show range and histogram as they are, where they are seen. */
  showRange() {
    this.measure.update();
    if (this.panel.shown === "range") this.range.show(this.chosen);
  }

  /** To be called when another scan or layer is shown. */
  changed() {
    if (this.panel.shown === "frame") this.frames.refresh();
    if (this.panel.shown === "probe") this.probe.show();
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
    this.measure.show(this.panel.shown === "measure");
    this.button.setAttribute("aria-pressed", String(this.panel.shown !== null));
    this.#markFrame();
  }
}
