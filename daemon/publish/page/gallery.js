// @ts-check
// All scans of the session: a gallery with search, and a map of them in the coordinates of the stage.

import { base, scanList } from "./archive.js";
import { button, make } from "./build.js";
import * as words from "./words.js";

const THUMB_PX = 240;
const MAP_WIDTH = 900;
const MAP_HEIGHT = 560;
const MARGIN = 24;

/** @typedef {{ y: number, x: number, h: number, w: number }} Area Metres on the stage. */
/** @typedef {{ image: ImageBitmap, area: Area | null }} Thumb */

/** Whether a scan has what is searched for in its name, state, grade, start or notes.
 * @param {Wire.ScanFields} scan @param {string} text */
export function isFound(scan, text) {
  const all = [scan.id, scan.state, scan.assessment?.grade ?? "", scan.started, ...scan.notes].join(" ").toLowerCase();
  return text.toLowerCase().split(/\s+/).every((part) => all.includes(part));
}

/** Scale and shift that fit areas into a rectangle of pixels.
 * @param {Area[]} areas @param {number} width @param {number} height */
export function mapFit(areas, width, height) {
  const ends = (/** @type {(area: Area) => number} */ of, /** @type {(...values: number[]) => number} */ best, start) => areas.reduce((found, area) => best(found, of(area)), start);
  const [top, left] = [ends(({ y }) => y, Math.min, Infinity), ends(({ x }) => x, Math.min, Infinity)];
  const [bottom, right] = [ends(({ y, h }) => y + h, Math.max, -Infinity), ends(({ x, w }) => x + w, Math.max, -Infinity)];
  const scale = Math.min((width - 2 * MARGIN) / Math.max(right - left, 1e-12), (height - 2 * MARGIN) / Math.max(bottom - top, 1e-12));
  return { scale, y: height / 2 - (scale * (top + bottom)) / 2, x: width / 2 - (scale * (left + right)) / 2 };
}

/** The area of a thumbnail from the headers of its answer; null where the pixel size is unknown.
 * @param {Headers} headers @returns {Area | null} */
export function areaOf(headers) {
  const pair = (/** @type {string} */ name) => (headers.get(name) ?? "").split(",").map(Number);
  const size = Number(headers.get("X-Pixel-Size-M"));
  const [[y, x], [h, w]] = [pair("X-Corner-Px"), pair("X-Size-Px")];
  return size > 0 && [y, x, h, w].every(Number.isFinite) ? { y: y * size, x: x * size, h: h * size, w: w * size } : null;
}

export class Gallery {
  /** `onPick` gets the id of a chosen scan.
   * @param {(scanId: string) => void} onPick */
  constructor(onPick) {
    this.onPick = onPick;
    /** @type {Wire.ScanFields[]} */
    this.scans = [];
    /** @type {Map<string, Thumb | null>} */
    this.thumbs = new Map();
    this.isLoading = false;
    this.search = make("input", { type: "search", id: "gallery-search", placeholder: "Search", "aria-label": "Search scans" });
    this.search.addEventListener("input", () => this.#show());
    const tab = (/** @type {string} */ id, /** @type {string} */ text, /** @type {boolean} */ isMap) => button(text, text, () => this.#choose(isMap), { id });
    this.tabs = [tab("gallery-list", "Gallery", false), tab("gallery-map-tab", "Map", true)];
    this.grid = make("div", { className: "gallery" });
    this.map = make("canvas", { width: MAP_WIDTH, height: MAP_HEIGHT, id: "session-map", hidden: true, role: "img", "aria-label": "All scans on the stage" });
    this.map.addEventListener("click", (/** @type {MouseEvent} */ event) => this.#pickOnMap(event));
    this.note = make("p", { className: "readout", role: "status" });
    const close = button("Close", "Close (Escape)", () => this.dialog.close(), { id: "gallery-close" });
    this.dialog = make("dialog", { id: "gallery", "aria-label": "Scans of the session" }, make("div", { className: "gallery-head" }, ...this.tabs, this.search, close), this.note, this.grid, this.map);
    document.body.append(this.dialog);
    this.isMap = false;
  }

  async open() {
    this.dialog.showModal();
    try {
      this.scans = await scanList();
    } catch (fault) {
      this.note.textContent = fault.message;
      return;
    }
    this.#choose(this.isMap);
    await this.#load();
  }

  /** Load thumbnails one after another, newest first; they are kept while the page is open. */
  async #load() {
    if (this.isLoading) return;
    this.isLoading = true;
    for (const scan of [...this.scans]) {
      const key = keyOf(scan);
      if (!this.dialog.open) break;
      if (this.thumbs.has(key)) continue;
      this.thumbs.set(key, await thumbOf(scan.id));
      this.#show();
    }
    this.isLoading = false;
  }

  /** @param {boolean} isMap */
  #choose(isMap) {
    this.isMap = isMap;
    this.tabs.forEach((tab, i) => tab.setAttribute("aria-pressed", String(isMap === (i === 1))));
    this.map.hidden = !isMap;
    this.grid.hidden = isMap;
    this.#show();
  }

  get #found() {
    return this.scans.filter((scan) => isFound(scan, this.search.value));
  }

  #show() {
    const found = this.#found;
    this.note.textContent = `${words.count(found.length)} of ${words.count(this.scans.length)} scans`;
    if (this.isMap) this.#drawMap(found);
    else this.grid.replaceChildren(...found.map((scan) => this.#card(scan)));
  }

  /** @param {Wire.ScanFields} scan */
  #card(scan) {
    const thumb = this.thumbs.get(keyOf(scan));
    const canvas = make("canvas", { width: THUMB_PX, height: THUMB_PX, "aria-hidden": "true" });
    if (thumb) canvas.getContext("2d").drawImage(thumb.image, (THUMB_PX - thumb.image.width) / 2, (THUMB_PX - thumb.image.height) / 2);
    const grade = scan.assessment?.grade ?? "";
    const texts = [make("b", {}, scan.id), make("span", {}, `${scan.state} · R ${words.rfactor(scan.rfactor)}`), make("span", {}, scan.started.replace("T", " ").slice(0, 16))];
    const card = button("", scan.assessment?.reason ?? scan.id, () => this.#pick(scan.id), { className: "scan-card" });
    card.dataset.grade = grade;
    card.append(canvas, ...texts, ...(grade === "" ? [] : [make("i", {}, grade)]));
    return card;
  }

  /** @param {string} scanId */
  #pick(scanId) {
    this.dialog.close();
    this.onPick(scanId);
  }

  /** @param {Wire.ScanFields[]} scans oldest last; the newest is drawn on top */
  #placed(scans) {
    return scans.flatMap((scan) => {
      const thumb = this.thumbs.get(keyOf(scan));
      return thumb?.area ? [{ id: scan.id, image: thumb.image, area: thumb.area }] : [];
    });
  }

  /** @param {Wire.ScanFields[]} scans */
  #drawMap(scans) {
    const context = this.map.getContext("2d");
    context.clearRect(0, 0, MAP_WIDTH, MAP_HEIGHT);
    const placed = this.#placed(scans);
    if (placed.length === 0) return;
    const style = getComputedStyle(this.map);
    const fit = mapFit(placed.map(({ area }) => area), MAP_WIDTH, MAP_HEIGHT);
    context.font = `14px ${style.fontFamily}`;
    for (const { id, image, area } of placed.reverse()) {
      const [x, y, w, h] = [fit.x + fit.scale * area.x, fit.y + fit.scale * area.y, fit.scale * area.w, fit.scale * area.h];
      context.drawImage(image, x, y, w, h);
      context.strokeStyle = style.getPropertyValue("--accent");
      context.strokeRect(x, y, w, h);
      context.fillStyle = style.color;
      context.fillText(id, x + 2, y - 4);
    }
    const length = words.roundDown((0.2 * MAP_WIDTH) / fit.scale);
    context.fillRect(MARGIN, MAP_HEIGHT - 12, length * fit.scale, 4);
    context.fillText(words.length(length), MARGIN, MAP_HEIGHT - 16);
  }

  /** @param {MouseEvent} event */
  #pickOnMap(event) {
    const placed = this.#placed(this.#found);
    if (placed.length === 0) return;
    const box = this.map.getBoundingClientRect();
    const fit = mapFit(placed.map(({ area }) => area), MAP_WIDTH, MAP_HEIGHT);
    const y = (((event.clientY - box.top) / box.height) * MAP_HEIGHT - fit.y) / fit.scale;
    const x = (((event.clientX - box.left) / box.width) * MAP_WIDTH - fit.x) / fit.scale;
    const hit = placed.find(({ area }) => y >= area.y && y <= area.y + area.h && x >= area.x && x <= area.x + area.w);
    if (hit !== undefined) this.#pick(hit.id);
  }
}

/** A thumbnail is fetched again once its scan has ended.
 * @param {Wire.ScanFields} scan */
function keyOf({ id, ended }) {
  return JSON.stringify([id, ended]);
}

/** @param {string} scanId @returns {Promise<Thumb | null>} */
async function thumbOf(scanId) {
  try {
    const answer = await fetch(`${base(scanId)}/snapshot.png?crop=1&side=${THUMB_PX}`);
    return answer.ok ? { image: await createImageBitmap(await answer.blob()), area: areaOf(answer.headers) } : null;
  } catch {
    return null; // the banner of the connection shows the fault
  }
}
