// @ts-check
// Mouse, touch and pen on the stage: drag pans, wheel and pinch zoom, double click fits; hovering reports the position, a click its place.

const DRAG_PX = 4;

export class Gestures {
  /** `onPlace` gets [screenY, screenX] in device pixels, or null when the pointer has left; `onClick` the place of a click;
   * `drawer` takes a drag instead of the camera where `drawer.draws`.
   * @param {any} stage @param {(place: any) => void} onPlace @param {(place: any) => void} onClick
   * @param {{ draws: boolean, draw: (from: number[], to: number[]) => void } | null} drawer */
  constructor(stage, onPlace, onClick = (_place) => {}, drawer = null) {
    this.stage = stage;
    this.onPlace = onPlace;
    this.onClick = onClick;
    this.drawer = drawer;
    this.from = [0, 0];
    this.pointers = new Map();
    this.isDragging = false;
    const { canvas } = stage;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(kind, (event) => this.#up(event));
    }
    canvas.addEventListener("pointerleave", () => this.onPlace(null));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("dblclick", () => stage.move((camera) => camera.fit()));
  }

  #down(event) {
    if (event.button !== 0) return;
    this.stage.canvas.setPointerCapture(event.pointerId);
    this.from = this.#place(event);
    this.pointers.set(event.pointerId, this.from);
    this.onPlace(this.from);
  }

  #move(event) {
    const place = this.#place(event);
    this.onPlace(place);
    const before = this.pointers.get(event.pointerId);
    if (before === undefined) return;
    if (!this.isDragging && distance(before, place) < DRAG_PX * window.devicePixelRatio) return;
    this.isDragging = true;
    if (this.pointers.size === 2) this.#pinch(event.pointerId, before, place);
    else if (this.drawer?.draws) this.drawer.draw(this.from, place);
    else this.stage.move((camera) => camera.panBy(place[0] - before[0], place[1] - before[1]));
    this.pointers.set(event.pointerId, place);
  }

  #pinch(id, before, place) {
    const other = [...this.pointers].find(([known]) => known !== id)?.[1] ?? place;
    const factor = distance(place, other) / Math.max(1, distance(before, other));
    const [oldMid, mid] = [middle(before, other), middle(place, other)];
    this.stage.move((camera) => {
      camera.panBy(mid[0] - oldMid[0], mid[1] - oldMid[1]);
      camera.zoomBy(factor, ...mid);
    });
  }

  #up(event) {
    const isClick = event.type === "pointerup" && !this.isDragging && this.pointers.size === 1;
    if (this.pointers.delete(event.pointerId) && isClick) this.onClick(this.#place(event));
    if (this.pointers.size === 0) this.isDragging = false;
    if (event.pointerType === "touch") this.onPlace(null);
  }

  #wheel(event) {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 33 : event.deltaMode === 2 ? 400 : 1;
    const rate = event.ctrlKey ? 0.01 : 0.0016;
    const factor = Math.exp(-Math.max(-300, Math.min(300, event.deltaY * unit)) * rate);
    this.stage.move((camera) => camera.zoomBy(factor, ...this.#place(event)));
  }

  #place(event) {
    const { canvas } = this.stage;
    const box = canvas.getBoundingClientRect();
    const ratio = canvas.width / Math.max(1, box.width);
    return [(event.clientY - box.top) * ratio, (event.clientX - box.left) * ratio];
  }
}

function distance(a, b) {
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
}

function middle(a, b) {
  return [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
}
