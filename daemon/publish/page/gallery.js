// @ts-check
// All scans of the session: a gallery with search, and a map of them.

import { base, scanList } from "./archive.js";
import { button, make } from "./build.js";
import { areaOf, SessionMap } from "./session-map.js";
import * as words from "./words.js";

const THUMB_PX = 240;
const MOST_CARDS = 200; // at once: more are found by search, and a browser lays out thousands slowly
const MOST_ON_MAP = 200; // the newest: each needs its picture

/** @typedef {{ image: ImageBitmap, area: import("./session-map.js").Area | null }} Thumb */

/** Whether a scan has what is searched for in its name, state, grade, start or notes.
 * @param {Wire.ScanFields} scan @param {string} text */
export function isFound(scan, text) {
  const all = [scan.id, scan.state, scan.assessment?.grade ?? "", scan.started, ...scan.notes].join(" ").toLowerCase();
  return text.toLowerCase().split(/\s+/).every((part) => all.includes(part));
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
    /** @type {Map<string, HTMLButtonElement>} Cards by what they show, so that the focus stays on one while others change. */
    this.cards = new Map();
    /** @type {Map<string, Wire.ScanFields>} Scans whose pictures are wanted, the first one first. */
    this.wanted = new Map();
    this.isLoading = false;
    this.search = make("input", { type: "search", id: "gallery-search", placeholder: "Search", "aria-label": "Search scans" });
    this.search.addEventListener("input", () => this.#show());
    const tab = (/** @type {string} */ id, /** @type {string} */ text, /** @type {boolean} */ isMap) => button(text, text, () => this.#choose(isMap), { id });
    this.tabs = [tab("gallery-list", "Gallery", false), tab("gallery-map-tab", "Map", true)];
    this.grid = make("div", { className: "gallery" });
    this.map = new SessionMap((id) => this.#pick(id), (id) => (this.note.textContent = id));
    this.note = make("p", { className: "readout", role: "status" });
    const close = button("Close", "Close (Escape)", () => this.dialog.close(), { id: "gallery-close" });
    this.dialog = make("dialog", { id: "gallery", "aria-label": "Scans of the session" }, make("div", { className: "gallery-head" }, ...this.tabs, this.search, close), this.note, this.grid, this.map.element);
    document.body.append(this.dialog);
    this.isMap = false;
    this.seen = new IntersectionObserver((entries) => this.#seen(entries), { root: this.grid });
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
  }

  /** @param {boolean} isMap */
  #choose(isMap) {
    this.isMap = isMap;
    this.tabs.forEach((tab, i) => tab.setAttribute("aria-pressed", String(isMap === (i === 1))));
    this.map.element.hidden = !isMap;
    this.grid.hidden = isMap;
    this.#show();
  }

  get #found() {
    return this.scans.filter((scan) => isFound(scan, this.search.value));
  }

  #show() {
    const found = this.#found;
    const most = this.isMap ? MOST_ON_MAP : MOST_CARDS;
    const all = `${words.count(found.length)} of ${words.count(this.scans.length)} scans`;
    this.note.textContent = found.length > most ? `${all}; the newest ${most} are shown, search for older ones` : all;
    this.wanted.clear();
    const shown = found.slice(0, most);
    if (!this.isMap) return this.#showCards(shown);
    this.#showMap();
    return this.#want(shown);
  }

  #showMap() {
    const placed = this.#found.slice(0, MOST_ON_MAP).flatMap((scan) => {
      const thumb = this.thumbs.get(keyOf(scan));
      return thumb?.area ? [{ id: scan.id, image: thumb.image, area: thumb.area }] : [];
    });
    this.map.show(placed);
  }

  /** @param {Wire.ScanFields[]} scans */
  #showCards(scans) {
    const kept = new Map(scans.map((scan) => [cardKey(scan), scan]));
    for (const [key, card] of this.cards) {
      if (kept.has(key)) continue;
      this.seen.unobserve(card);
      card.remove();
      this.cards.delete(key);
    }
    scans.forEach((scan, i) => {
      const key = cardKey(scan);
      if (!this.cards.has(key)) this.cards.set(key, this.#card(scan));
      const card = /** @type {HTMLButtonElement} */ (this.cards.get(key));
      if (this.grid.children[i] !== card) this.grid.insertBefore(card, this.grid.children[i] ?? null);
      this.seen.unobserve(card);
      if (!this.thumbs.has(keyOf(scan))) this.seen.observe(card);
    });
  }

  /** @param {Wire.ScanFields} scan @returns {HTMLButtonElement} */
  #card(scan) {
    const canvas = make("canvas", { width: THUMB_PX, height: THUMB_PX, "aria-hidden": "true" });
    const grade = scan.assessment?.grade ?? "";
    const texts = [make("b", {}, scan.id), make("span", {}, `${scan.state} · R ${words.rfactor(scan.rfactor)}`), make("span", {}, scan.started.replace("T", " ").slice(0, 16))];
    const card = button("", `${scan.id}: ${scan.assessment?.reason || scan.state}`, () => this.#pick(scan.id), { className: "scan-card" });
    card.dataset.grade = grade;
    card.append(canvas, ...texts, ...(grade === "" ? [] : [make("i", {}, grade)]));
    this.#paint(card, this.thumbs.get(keyOf(scan)) ?? null);
    return card;
  }

  /** @param {HTMLButtonElement | undefined} card @param {Thumb | null} thumb */
  #paint(card, thumb) {
    const canvas = card?.querySelector("canvas");
    if (thumb === null || !canvas) return;
    canvas.getContext("2d")?.drawImage(thumb.image, (THUMB_PX - thumb.image.width) / 2, (THUMB_PX - thumb.image.height) / 2);
  }

  /** Load the pictures of cards that have come into view. @param {IntersectionObserverEntry[]} entries */
  #seen(entries) {
    const visible = new Set(entries.filter(({ isIntersecting }) => isIntersecting).map(({ target }) => target));
    this.#want(this.scans.filter((scan) => visible.has(/** @type {HTMLButtonElement} */ (this.cards.get(cardKey(scan))))));
  }

  /** @param {Wire.ScanFields[]} scans */
  #want(scans) {
    for (const scan of scans) if (!this.thumbs.has(keyOf(scan))) this.wanted.set(keyOf(scan), scan);
    this.#load();
  }

  /** Load thumbnails one after another; they are kept while the page is open. */
  async #load() {
    if (this.isLoading) return;
    this.isLoading = true;
    while (this.dialog.open && this.wanted.size > 0) {
      const [[key, scan]] = this.wanted;
      this.wanted.delete(key);
      const thumb = await thumbOf(scan.id);
      if (thumb === undefined) continue;
      this.thumbs.set(key, thumb);
      this.#paint(this.cards.get(cardKey(scan)), thumb);
      if (this.isMap) this.#showMap();
    }
    this.isLoading = false;
  }

  /** @param {string} scanId */
  #pick(scanId) {
    this.dialog.close();
    this.onPick(scanId);
  }
}

/** A thumbnail is fetched again once its scan has ended.
 * @param {Wire.ScanFields} scan */
function keyOf({ id, ended }) {
  return JSON.stringify([id, ended]);
}

/** A card is made again once anything on it has changed.
 * @param {Wire.ScanFields} scan */
function cardKey({ id, state, rfactor, ended, assessment }) {
  return JSON.stringify([id, state, rfactor, ended, assessment?.grade, assessment?.reason]);
}

/** A thumbnail; null of a scan without a picture, undefined where the daemon could not answer now.
 * @param {string} scanId @returns {Promise<Thumb | null | undefined>} */
async function thumbOf(scanId) {
  try {
    const answer = await fetch(`${base(scanId)}/snapshot.png?crop=1&side=${THUMB_PX}`);
    if (!answer.ok) return answer.status === 404 ? null : undefined;
    return { image: await createImageBitmap(await answer.blob()), area: areaOf(answer.headers) };
  } catch {
    return undefined; // the banner of the connection shows the fault
  }
}
