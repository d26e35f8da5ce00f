// @ts-check
// The WebSocket of updates: it reconnects after a loss and closes while the page is hidden.

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 10_000;
const SILENT_MS = 15_000;
const HIDDEN_GRACE_MS = 5_000;

export class Connection {
  /**
   * `state` is "connecting", "open", "lost", "refused" (a token is needed) or "resting" (the page is hidden);
   * `onMessage` gets each binary message, `onState` is called after each change of state.
   */
  constructor(onMessage, onState) {
    this.onMessage = onMessage;
    this.onState = onState;
    this.state = "connecting";
    this.retryAt = 0;
    this.heardAt = 0;
    this.failures = 0;
    this.socket = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.restTimer = undefined;
    document.addEventListener("visibilitychange", () => this.#look());
    window.addEventListener("online", () => this.state === "lost" && this.open());
    window.addEventListener("pagehide", () => this.#drop());
    setInterval(() => this.#watch(), 1000);
  }

  open() {
    clearTimeout(this.timer);
    this.#drop();
    const scheme = window.location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${window.location.host}/api/v1/updates`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    const own = (act) => (event) => this.socket === socket && act(event);
    socket.onopen = own(() => this.#opened());
    socket.onmessage = own((event) => this.#heard(event.data));
    socket.onclose = own(() => this.#lost());
  }

  get silentSeconds() {
    return (performance.now() - this.heardAt) / 1000;
  }

  #opened() {
    this.failures = 0;
    this.heardAt = performance.now();
    this.#become("open");
  }

  #heard(data) {
    this.heardAt = performance.now();
    this.onMessage(data);
  }

  #lost() {
    this.socket = null;
    const pause = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.failures) * (0.8 + 0.4 * Math.random());
    this.failures += 1;
    this.retryAt = performance.now() + pause;
    this.timer = setTimeout(() => this.open(), pause);
    this.#become(this.state === "refused" ? "refused" : "lost");
    if (this.failures > 1) this.#askWhy();
  }

  /** A browser does not tell why a WebSocket was refused, so request the status instead. */
  async #askWhy() {
    try {
      const { status } = await fetch("/api/v1/status");
      if (this.socket === null && this.state !== "resting") this.#become(status === 401 ? "refused" : "lost");
    } catch {
      this.state = this.state === "refused" ? "lost" : this.state; // no answer
    }
  }

  #drop() {
    const { socket } = this;
    this.socket = null;
    socket?.close();
  }

  #watch() {
    if (this.state === "open" && performance.now() - this.heardAt > SILENT_MS) {
      this.#drop();
      this.#lost();
    }
  }

  #look() {
    clearTimeout(this.restTimer);
    if (document.hidden) this.restTimer = setTimeout(() => this.#rest(), HIDDEN_GRACE_MS);
    else if (this.state === "resting") this.open();
  }

  #rest() {
    clearTimeout(this.timer);
    this.#drop();
    this.#become("resting");
  }

  #become(state) {
    this.state = state;
    this.onState(state);
  }
}
