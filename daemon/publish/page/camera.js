// @ts-check
// The view: the object pixel in the middle of the screen, and device pixels per object pixel.

const MARGIN = 0.05;
const GROWING_MARGIN = 0.1; // room for what comes next, so that a growing picture seldom moves
const LOOSE = 1.15; // the picture could be this many times larger before the view moves closer
const MAX_SCALE = 96;
const EASE_S = 0.09;

export class Camera {
  constructor() {
    this.width = 1;
    this.height = 1;
    this.now = { y: 0, x: 0, scale: 1 };
    this.goal = { ...this.now };
    this.content = null;
    this.follows = true;
    this.isCalm = window.matchMedia("(prefers-reduced-motion: reduce)");
  }

  resize(width, height) {
    this.width = Math.max(1, width);
    this.height = Math.max(1, height);
    if (this.follows) this.#fitNow();
  }

  /** Set the box around the picture. While following, the view changes at once when the box leaves it, and smoothly when it
   * fills little of it. */
  setContent(box) {
    const isFirst = this.content === null;
    this.content = box;
    if (!this.follows || box === null) return;
    if (isFirst) this.#fitNow();
    else if (this.#leaves(box)) {
      this.goal = this.#fitted(box, GROWING_MARGIN);
      this.#jump();
    } else if (this.#fitted(box).scale > LOOSE * this.goal.scale) this.goal = this.#fitted(box);
  }

  fit() {
    this.follows = true;
    if (this.content !== null) this.goal = this.#fitted(this.content);
  }

  /** Look at a place from now on. */
  look(y, x, scale) {
    this.follows = false;
    this.goal = { y, x, scale: Math.min(MAX_SCALE, scale) };
    this.#jump();
  }

  panBy(dy, dx) {
    this.follows = false;
    const { y, x, scale } = this.goal;
    this.goal = { y: y - dy / scale, x: x - dx / scale, scale };
    this.#jump();
  }

  /** Zoom; the object pixel under the screen point stays there. */
  zoomBy(factor, screenY = this.height / 2, screenX = this.width / 2, isSmooth = false) {
    this.follows = false;
    const { y, x, scale } = this.goal;
    const wanted = Math.min(MAX_SCALE, Math.max(this.#leastScale(), scale * factor));
    const [offY, offX] = [screenY - this.height / 2, screenX - this.width / 2];
    this.goal = { y: y + offY / scale - offY / wanted, x: x + offX / scale - offX / wanted, scale: wanted };
    if (!isSmooth) this.#jump();
  }

  /** Move towards the goal; true if the view has changed. */
  advance(seconds) {
    const { now, goal } = this;
    if (now.y === goal.y && now.x === goal.x && now.scale === goal.scale) return false;
    const share = this.isCalm.matches ? 1 : 1 - Math.exp(-seconds / EASE_S);
    const left = Math.max(Math.abs(goal.y - now.y), Math.abs(goal.x - now.x)) * goal.scale;
    if (share === 1 || (left < 0.5 && Math.abs(goal.scale / now.scale - 1) < 0.001)) this.#jump();
    else {
      now.scale *= (goal.scale / now.scale) ** share;
      now.y += (goal.y - now.y) * share;
      now.x += (goal.x - now.x) * share;
    }
    return true;
  }

  get isSettled() {
    return this.now.scale === this.goal.scale && this.now.y === this.goal.y && this.now.x === this.goal.x;
  }

  toScreen(y, x) {
    const { now } = this;
    return [(y - now.y) * now.scale + this.height / 2, (x - now.x) * now.scale + this.width / 2];
  }

  toObject(screenY, screenX) {
    const { now } = this;
    return [(screenY - this.height / 2) / now.scale + now.y, (screenX - this.width / 2) / now.scale + now.x];
  }

  #fitted(box, margin = MARGIN) {
    const room = 1 - 2 * margin;
    const scale = Math.min(MAX_SCALE, (room * this.height) / box.h, (room * this.width) / box.w);
    return { y: box.y + box.h / 2, x: box.x + box.w / 2, scale };
  }

  #fitNow() {
    if (this.content === null) return;
    this.goal = this.#fitted(this.content);
    this.#jump();
  }

  #leaves(box) {
    const { y, x, scale } = this.goal;
    const [halfY, halfX] = [this.height / 2 / scale, this.width / 2 / scale];
    return box.y < y - halfY || box.x < x - halfX || box.y + box.h > y + halfY || box.x + box.w > x + halfX;
  }

  #leastScale() {
    return this.content === null ? 0.01 : Math.min(1, 0.2 * this.#fitted(this.content).scale);
  }

  #jump() {
    this.now = { ...this.goal };
  }
}
