// @ts-check
// An alarm on request: a sound and a notification of the browser when the grade becomes worse.

import { byId } from "./elements.js";

const KEY = "ptycholive-alarm";
const GRAVITY = ["good", "check", "bad"];
/** Frequencies of the two tones, Hz, and how long each lasts, s. */
const TONES = { check: [660, 660], bad: [880, 440] };
const TONE_S = 0.22;

export class Alarm {
  constructor() {
    this.isOn = localStorage.getItem(KEY) === "on";
    /** @type {AudioContext | null} */
    this.audio = null;
    this.last = { scanId: /** @type {string | null} */ (null), grade: "good" };
    this.alarms = 0;
    this.#show();
  }

  /** Switch it on or off; a browser lets a page sound and notify only after such a click. */
  async toggle() {
    this.isOn = !this.isOn;
    localStorage.setItem(KEY, this.isOn ? "on" : "off");
    this.#show();
    if (!this.isOn) return;
    this.#sound("check");
    if ("Notification" in window && Notification.permission === "default") await Notification.requestPermission();
  }

  /** Take the newest assessment of the live scan.
   * @param {string | null} scanId
   * @param {Wire.AssessmentFields | null} assessment */
  look(scanId, assessment) {
    const grade = assessment?.grade ?? "good";
    const before = this.last.scanId === scanId ? this.last.grade : "good";
    this.last = { scanId, grade };
    if (assessment === null || GRAVITY.indexOf(grade) <= GRAVITY.indexOf(before) || !this.isOn) return;
    this.alarms += 1;
    this.#sound(grade);
    this.#notify(scanId, assessment);
  }

  #show() {
    byId("alarm").setAttribute("aria-pressed", String(this.isOn));
    byId("alarm").textContent = this.isOn ? "Alarm on" : "Alarm off";
  }

  /** @param {string} grade */
  #sound(grade) {
    this.audio ??= new AudioContext();
    this.audio.resume();
    const tones = grade === "bad" ? TONES.bad : TONES.check;
    tones.forEach((frequency, i) => this.#tone(frequency, i * TONE_S));
  }

  /** @param {number} frequency @param {number} after */
  #tone(frequency, after) {
    if (this.audio === null) return;
    const [tone, gain] = [this.audio.createOscillator(), this.audio.createGain()];
    const at = this.audio.currentTime + after;
    tone.frequency.value = frequency;
    gain.gain.setValueAtTime(0.15, at);
    gain.gain.linearRampToValueAtTime(0, at + TONE_S);
    tone.connect(gain).connect(this.audio.destination);
    tone.start(at);
    tone.stop(at + TONE_S);
  }

  /** @param {string | null} scanId @param {Wire.AssessmentFields} assessment */
  #notify(scanId, { grade, reason, action }) {
    if (!("Notification" in window) || Notification.permission !== "granted") return;
    new Notification(`${grade.toUpperCase()}: ${scanId ?? "daemon"}`, { body: `${reason}. ${action}.`, tag: "ptycholive" });
  }
}
