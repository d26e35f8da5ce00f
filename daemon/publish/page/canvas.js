// @ts-check
// Draws a picture: each tile has a canvas in native pixels; only its changed parts are coloured and drawn again.

import { boxPixels } from "./box.js";
import { Camera } from "./camera.js";
import { intersection, TILE, union } from "./picture.js";
import { extentOf, isNear, measure, paint, rangeOf } from "./ranges.js";

const BUDGET_MS = 10;
const MEASURE_MS = 400;
const MEASURE_SHARE = 0.05;
const SMOOTH_BELOW_SCALE = 2;

/** @typedef {{
 *   view: string, half: number | null, colours: string | null, limits: [number, number] | null, isInverted: boolean,
 *   isFlat: boolean, isHeld: boolean,
 * }} Look */

export class Stage {
  /** `onDrawn` is called after each animation frame that changed the picture. */
  constructor(canvas, onDrawn) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.camera = new Camera();
    this.onDrawn = onDrawn;
    /** @type {import("./picture.js").Picture | null} */
    this.picture = null;
    /** @type {Look} */
    this.look = { view: "phase", half: null, colours: null, limits: null, isInverted: false, isFlat: false, isHeld: false };
    /** @type {any} */
    this.range = null;
    /** @type {ReturnType<typeof measure> | null} */
    this.measured = null;
    /** @type {ReturnType<typeof rangeOf> | null} */
    this.shared = null;
    /** @type {import("./box.js").BoxUm | null} */
    this.box = null;
    /** @type {readonly number[] | null} The part that the running scan will cover, m. */
    this.planned = null;
    this.measuredChange = -1;
    this.measureAgainAt = 0;
    this.styleNumber = 0;
    /** @type {"all" | import("./picture.js").Box | null} */
    this.invalid = "all";
    this.lastFrameAt = 0;
    this.isRequested = false;
    this.waiting = [];
    new ResizeObserver((entries) => this.#resize(entries[0])).observe(canvas);
  }

  /**
   * Show a picture (or null). Half (of the phase's range), colours and limits may be null to fit the picture, isFlat removes
   * the phase ramp, and isHeld keeps the colour range.
   * @param {import("./picture.js").Picture | null} picture @param {Look} look
   */
  show(picture, look) {
    const isOther = picture !== this.picture;
    if (isOther) this.invalid = "all";
    if (isOther || Object.keys(look).some((name) => look[name] !== this.look[name])) this.measuredChange = -1;
    if (isOther && picture !== null) for (const tile of picture.tiles.values()) tile.style = null;
    this.picture = picture;
    this.look = { ...look };
    this.request();
  }

  /** Take the colour range of another stage, so that one colour bar is true for both.
   * @param {ReturnType<typeof rangeOf> | null} range */
  share(range) {
    if (range === this.shared) return;
    this.shared = range;
    this.measuredChange = -1;
    this.request();
  }

  /** Keep the view on a fixed box from now on; with null, on the growing picture.
   * @param {import("./box.js").BoxUm | null} box */
  keep(box) {
    if (box === this.box) return;
    this.box = box;
    this.measuredChange = -1;
    this.move((camera) => {
      camera.content = null;
      camera.follows ||= box !== null;
    });
  }

  /** Fit what the running scan will cover, known before it; with null, what is covered.
   * @param {readonly number[] | null} planned [top, left, bottom, right], m */
  plan(planned) {
    if (String(planned) === String(this.planned)) return;
    this.planned = planned;
    this.measuredChange = -1;
    this.request();
  }

  /** Take the view of another stage. */
  follow(camera) {
    const own = this.camera;
    own.follows = false;
    if (["y", "x", "scale"].every((name) => own.now[name] === camera.now[name])) return;
    own.now = { ...camera.now };
    own.goal = { ...camera.now };
    this.invalid = "all";
    this.request();
  }

  /** Drop the picture and follow the next one. */
  clear() {
    this.show(null, this.look);
    this.range = null;
    this.camera.content = null;
    this.camera.follows = true;
  }

  /** Change the camera with `act` and redraw. */
  move(act) {
    act(this.camera);
    this.invalid = "all";
    this.request();
  }

  request() {
    if (this.isRequested) return;
    this.isRequested = true;
    requestAnimationFrame((now) => this.#frame(now));
  }

  /** Resolves when everything received is on the screen. */
  settled() {
    this.request();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  #resize(entry) {
    const ratio = window.devicePixelRatio;
    const exact = entry.devicePixelContentBoxSize?.[0];
    const width = exact?.inlineSize ?? Math.round(entry.contentRect.width * ratio);
    const height = exact?.blockSize ?? Math.round(entry.contentRect.height * ratio);
    [this.canvas.width, this.canvas.height] = [width, height];
    this.camera.resize(width, height);
    this.invalid = "all";
    this.request();
  }

  #frame(now) {
    this.isRequested = false;
    const seconds = Math.min(0.1, (now - this.lastFrameAt) / 1000);
    this.lastFrameAt = now;
    this.#measure(now);
    this.#follow();
    if (this.camera.advance(seconds)) this.invalid = "all";
    const isPainted = this.#paint(performance.now() + BUDGET_MS);
    const isChanged = this.invalid !== null;
    this.#draw();
    if (isChanged) this.onDrawn();
    const isMeasured = this.picture === null || this.measuredChange === this.picture.changes;
    if (!isPainted || !isMeasured || !this.camera.isSettled) this.request();
    else for (const resolve of this.waiting.splice(0)) resolve();
  }

  #measure(now) {
    const { picture } = this;
    if (picture === null || picture.changes === this.measuredChange) return;
    if (this.measuredChange >= 0 && now < this.measureAgainAt) return;
    const startedAt = performance.now();
    const { view, half, colours, limits, isInverted, isFlat, isHeld } = this.look;
    this.measured = measure(picture, isFlat);
    const range = ofShared(rangeOf(view, this.measured, half, colours, { limits, isInverted }), this.shared);
    const isKept = isHeld && this.shared === null && this.range?.view === view && this.range.colours === range.colours;
    const isExact = (limits === null && this.shared === null) || hasSameEnds(this.range, range);
    if (!isKept && !(isExact && isNear(this.range, range))) {
      this.range = range;
      this.styleNumber += 1;
    }
    this.measuredChange = picture.changes;
    picture.takeNews(Infinity);
    this.camera.setContent(boxPixels(this.box, picture.header) ?? this.#whole(extentOf(view, this.measured).box));
    this.measureAgainAt = now + Math.max(MEASURE_MS, (performance.now() - startedAt) / MEASURE_SHARE);
  }

  /** What is covered, and what the scan will cover.
   * @param {import("./picture.js").Box | null} covered */
  #whole(covered) {
    const planned = this.planned === null ? null : boxPixels(/** @type {any} */ (this.planned.map((side) => 1e6 * side)), this.picture?.header);
    return planned === null || covered === null ? covered : union(covered, planned);
  }

  /** Keep what is new in view before it is drawn: the next measurement may be far. */
  #follow() {
    const { picture, camera, measured } = this;
    if (picture?.news == null || measured === null || !camera.follows || boxPixels(this.box, picture.header) !== null) return;
    const { least } = extentOf(this.look.view, measured);
    const news = picture.takeNews(least);
    if (news !== null && camera.content !== null) camera.setContent(union(camera.content, news));
  }

  /** Colour the changed tiles, visible ones first, until the deadline; true when all are done. */
  #paint(deadline) {
    if (this.picture === null || this.range === null) return true;
    const stale = [...this.picture.tiles.values()].filter((tile) => tile.dirty !== null || tile.style !== this.styleNumber);
    const seen = this.#visibleBox();
    stale.sort((a, b) => Number(intersection(b.box, seen) !== null) - Number(intersection(a.box, seen) !== null));
    for (const tile of stale) {
      if (performance.now() > deadline) return false;
      this.#paintTile(tile);
    }
    return true;
  }

  #paintTile(tile) {
    const box = tile.style === this.styleNumber ? tile.dirty : tile.box;
    tile.canvas ??= new OffscreenCanvas(TILE, TILE);
    const image = new ImageData(box.w, box.h);
    paint(new Uint32Array(image.data.buffer), tile, box, this.range);
    tile.canvas.getContext("2d").putImageData(image, box.x - tile.x, box.y - tile.y);
    tile.dirty = null;
    tile.style = this.styleNumber;
    if (this.invalid !== "all") this.invalid = this.invalid === null ? box : union(this.invalid, box);
  }

  #visibleBox() {
    const [top, left] = this.camera.toObject(0, 0);
    const [bottom, right] = this.camera.toObject(this.camera.height, this.camera.width);
    return { y: top, x: left, h: bottom - top, w: right - left };
  }

  #draw() {
    if (this.invalid === null) return;
    const { context, camera } = this;
    const box = this.invalid === "all" ? this.#visibleBox() : grown(this.invalid, Math.max(4, 4 / camera.now.scale));
    this.invalid = null;
    const area = this.#screenArea(box);
    context.save();
    context.beginPath();
    context.rect(...area);
    context.clip();
    context.clearRect(...area);
    context.imageSmoothingEnabled = camera.now.scale < SMOOTH_BELOW_SCALE;
    context.imageSmoothingQuality = "medium";
    for (const tile of this.picture?.tiles.values() ?? []) {
      if (tile.canvas !== null && intersection(tile.box, box) !== null) {
        context.drawImage(tile.canvas, ...this.#screenArea(tile.box));
      }
    }
    context.restore();
  }

  /** [x, y, width, height] in whole device pixels, so that neighbouring tiles meet without a seam. */
  #screenArea({ y, x, h, w }) {
    const [top, left] = this.camera.toScreen(y, x).map(Math.round);
    const [bottom, right] = this.camera.toScreen(y + h, x + w).map(Math.round);
    return [left, top, right - left, bottom - top];
  }
}

function hasSameEnds(one, two) {
  return one?.low === two.low && one?.high === two.high;
}

/** A range with the ends and colours of another stage's; the mean phase stays that of its own picture. */
function ofShared(own, shared) {
  if (shared?.view !== own.view) return own;
  const { low, high, colours, top } = shared;
  return { ...own, low, high, colours, ...(top === undefined ? {} : { top }) };
}

/** A box with a margin for the smoothing. */
function grown({ y, x, h, w }, by) {
  return { y: y - by, x: x - by, h: h + 2 * by, w: w + 2 * by };
}
