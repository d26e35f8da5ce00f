// @ts-check
// The last diffraction pattern, fetched once a second while frames arrive.

const PAUSE_MS = 1000;
const PAUSE_AFTER_FAULT_MS = 5000;

export class Pattern {
  /** `isWanted` returns whether a newer pattern can exist. */
  constructor(image, caption, isWanted) {
    this.image = image;
    this.caption = caption;
    this.isWanted = isWanted;
    this.address = null;
    this.#later(PAUSE_MS);
  }

  clear() {
    this.image.hidden = true;
    this.image.removeAttribute("src");
    this.caption.textContent = "none yet";
    if (this.address !== null) URL.revokeObjectURL(this.address);
    this.address = null;
  }

  #later(pause) {
    setTimeout(() => this.#next(), pause);
  }

  async #next() {
    if (!this.isWanted()) return this.#later(PAUSE_MS);
    try {
      const answer = await fetch("/api/v1/scans/latest/pattern.png");
      if (!answer.ok) return this.#later(PAUSE_AFTER_FAULT_MS);
      this.#show(await answer.blob(), answer.headers.get("X-Frame-Index"));
    } catch {
      return this.#later(PAUSE_AFTER_FAULT_MS); // the banner of the connection shows the fault
    }
    return this.#later(PAUSE_MS);
  }

  #show(blob, index) {
    if (this.address !== null) URL.revokeObjectURL(this.address);
    this.address = URL.createObjectURL(blob);
    this.image.src = this.address;
    this.image.hidden = false;
    this.caption.textContent = index === null ? "log scale" : `frame ${index} · log scale`;
  }
}
