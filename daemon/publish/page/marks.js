// @ts-check
// Marks over the picture: the frame that is shown, the cross of the keyboard, lines and regions of the tools.

/** @typedef {(context: CanvasRenderingContext2D, toScreen: (y: number, x: number) => [number, number], ratio: number) => void} Mark */

export class Marks {
  /** @param {HTMLElement} holder @param {import("./camera.js").Camera} camera */
  constructor(holder, camera) {
    this.camera = camera;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "marks";
    this.canvas.setAttribute("aria-hidden", "true");
    holder.querySelector("canvas")?.after(this.canvas);
    /** @type {Map<string, Mark>} */
    this.marks = new Map();
  }

  /** Set or remove a mark and draw all.
   * @param {string} name @param {Mark | null} mark */
  set(name, mark) {
    if (mark === null) this.marks.delete(name);
    else this.marks.set(name, mark);
    this.draw();
  }

  draw() {
    const { canvas, camera } = this;
    canvas.hidden = this.marks.size === 0;
    if (canvas.hidden) return;
    if (canvas.width !== camera.width || canvas.height !== camera.height) [canvas.width, canvas.height] = [camera.width, camera.height];
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.clearRect(0, 0, canvas.width, canvas.height);
    const ratio = (window.devicePixelRatio * parseFloat(getComputedStyle(canvas).fontSize)) / 14;
    for (const mark of this.marks.values()) mark(context, (y, x) => /** @type {[number, number]} */ (camera.toScreen(y, x)), ratio);
  }
}

/** Stroke the current path in a colour with a dark rim, so that it is seen on any picture.
 * @param {CanvasRenderingContext2D} context @param {string} colour @param {number} width */
export function stroke(context, colour, width) {
  context.strokeStyle = "rgb(0 0 0 / 70%)";
  context.lineWidth = 2.4 * width;
  context.stroke();
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke();
}

/** The box of a pattern around a frame's position.
 * @param {number[]} place @param {number | null} side @returns {Mark} */
export function frameMark(place, side) {
  return (context, toScreen, ratio) => {
    const [y, x] = toScreen(place[0] + 0.5, place[1] + 0.5);
    context.beginPath();
    context.arc(x, y, 6 * ratio, 0, 2 * Math.PI);
    stroke(context, "#ff5a36", 2 * ratio);
    if (side === null) return;
    const [top, left] = toScreen(place[0] - side / 2, place[1] - side / 2);
    const [bottom, right] = toScreen(place[0] + side / 2, place[1] + side / 2);
    context.beginPath();
    context.rect(left, top, right - left, bottom - top);
    context.setLineDash([5 * ratio, 4 * ratio]);
    stroke(context, "#ff5a36", 1.2 * ratio);
    context.setLineDash([]);
  };
}

/** A cross in the middle of the screen. @type {Mark} */
export function crossMark(context, _toScreen, ratio) {
  const [x, y, reach] = [context.canvas.width / 2, context.canvas.height / 2, 12 * ratio];
  context.beginPath();
  context.moveTo(x - reach, y);
  context.lineTo(x + reach, y);
  context.moveTo(x, y - reach);
  context.lineTo(x, y + reach);
  stroke(context, "#ffffff", 1.4 * ratio);
}
