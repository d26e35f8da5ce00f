// @ts-check
// Numbers, states and warnings as text. Nothing here changes the page.

/** @typedef {{ kind: "error" | "warning", text: string }} Warning */

const NONE = "–";
/** @type {Wire.DaemonState[]} */
const STATES = ["starting", "ready", "idle", "scanning", "finishing", "stopping", "degraded"];

/** @param {unknown} value @returns {value is number} */
function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

export function count(value) {
  return isNumber(value) ? Math.round(value).toLocaleString("en") : NONE;
}

export function frames(value) {
  return `${count(value)} ${value === 1 ? "frame" : "frames"}`;
}

export function rate(value) {
  if (!isNumber(value)) return NONE;
  if (value < 0.005) return "0";
  return value >= 100 ? count(value) : value.toFixed(value >= 10 ? 1 : 2);
}

export function seconds(value) {
  if (!isNumber(value)) return NONE;
  if (value < 1) return `${Math.round(1000 * value)} ms`;
  if (value < 10) return `${value.toFixed(1)} s`;
  return value < 120 ? `${Math.round(value)} s` : `${Math.round(value / 60)} min`;
}

export function bytes(value) {
  if (!isNumber(value)) return NONE;
  const power = Math.max(0, Math.min(4, Math.floor(Math.log10(Math.max(1, value)) / 3)));
  return `${(value / 1000 ** power).toPrecision(3)} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

export function rfactor(value) {
  return isNumber(value) ? value.toFixed(3) : NONE;
}

export function correlation(value) {
  return isNumber(value) ? value.toFixed(2) : NONE;
}

/** A resolution, nm. */
export function resolution(value) {
  return isNumber(value) ? length(value * 1e-9) : NONE;
}

/** How far two pictures agree, and what was taken off the other one first.
 * @param {Wire.ComparisonFields | null} figures */
export function agreement(figures) {
  if (figures === null) return "";
  const { phase_correlation: phase, ssim, difference, frc_px: px, frc_nm: nm, shift_px: shift, ramp_rad_px: ramp } = figures;
  const frc = isNumber(nm) ? resolution(nm) : isNumber(px) ? `${px.toFixed(2)} px` : NONE;
  const parts = [
    `phase correlation ${fixed(phase, 3)}`,
    `SSIM ${fixed(ssim, 3)}`,
    `difference ${isNumber(difference) ? `${(100 * difference).toFixed(1)} %` : NONE}`,
    `FRC ${frc}`,
    `shift (${fixed(shift[0], 2)}, ${fixed(shift[1], 2)}) px and ramp (${level(ramp[0])}, ${level(ramp[1])}) rad/px removed`,
  ];
  return parts.join(" · ");
}

/** @param {number | null} value @param {number} digits */
function fixed(value, digits) {
  return isNumber(value) ? value.toFixed(digits) : NONE;
}

/** How long the resolution has not got better.
 * @param {Pick<Wire.FrcFields, "no_gain_s" | "is_settled" | "frc_nm">} frc */
export function trend(frc) {
  if (!isNumber(frc.frc_nm)) return "the halves do not agree yet";
  return frc.is_settled ? `no gain in resolution for ${seconds(frc.no_gain_s)}` : "still getting sharper, or too early to tell";
}

export function plain(value) {
  return value === null || value === undefined || value === "" ? NONE : String(value);
}

export function clock(date) {
  return date === null ? NONE : date.toLocaleTimeString("en-GB");
}

/** A length with the unit that keeps it readable. */
export function length(metres) {
  const size = Math.abs(metres);
  const [factor, unit] = size >= 1e-3 ? [1e3, "mm"] : size >= 1e-6 ? [1e6, "µm"] : [1e9, "nm"];
  return `${Number((metres * factor).toPrecision(3))} ${unit}`;
}

/** A value of the colour bar. */
export function level(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e4 || size < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

/** The largest of 1, 2, 5 times a power of ten that is not above `value`. */
export function roundDown(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return ([5, 2, 1].find((step) => step * power <= value * 1.0001) ?? 1) * power;
}

/** @param {Wire.StatusHeader | null} status */
export function stateWord(status) {
  if (status === null) return "connected";
  return STATES.includes(status.state) ? status.state : "unknown";
}

/** "516 received = 490 stitched + 26 duplicate", and the missing frames; a difference is shown as "not accounted for".
 * @param {Wire.VerdictFields | null | undefined} verdict
 * @param {boolean} hasEnded */
export function verdictWords(verdict, hasEnded) {
  if (!verdict || !isNumber(verdict.received)) return "";
  const parts = accountParts(verdict).filter(([number], i) => isNumber(number) && (number > 0 || i === 0));
  const rest = verdict.received - parts.reduce((sum, [number]) => sum + number, 0);
  if (rest !== 0) parts.push([rest, "not accounted for"]);
  const words = `${count(verdict.received)} received = ${parts.map(([number, word]) => `${count(number)} ${word}`).join(" + ")}`;
  if (!hasEnded || !(verdict.missing > 0)) return words;
  const expected = isNumber(verdict.expected) ? ` of ${count(verdict.expected)} expected` : "";
  return `${words}; ${count(verdict.missing)}${expected} missing`;
}

/** @param {Wire.VerdictFields} verdict @returns {[number, string][]} */
function accountParts(verdict) {
  const refused = Object.entries(verdict.refused ?? {});
  return [
    [verdict.stitched, "stitched"],
    [verdict.pending, "pending"],
    [verdict.duplicate, "duplicate"],
    [verdict.without_position, "without position"],
    .../** @type {[number, string][]} */ (refused.map(([reason, number]) => [number, `refused (${reason.replaceAll("_", " ")})`])),
  ];
}

/** The most urgent warning, or null.
 * @param {{
 *   connection: Pick<import("./connection.js").Connection, "state" | "retryAt">,
 *   session: Pick<import("./session.js").Session, "status" | "pictureAt" | "isConfirmed">,
 *   staleSeconds: number,
 *   now: number,
 * }} known
 * @returns {Warning | null} */
export function warningOf({ connection, session, staleSeconds, now }) {
  const asOf = session.pictureAt === null ? "" : ` The picture is from ${clock(session.pictureAt)}.`;
  if (connection.state === "refused") {
    return { kind: "error", text: "The daemon requires a token. Open this page once with ?token=… at the end of its address." };
  }
  if (connection.state === "lost") {
    const wait = Math.max(0, Math.ceil((connection.retryAt - now) / 1000));
    const again = wait === 0 ? "Trying again now." : `Trying again in ${wait} s.`;
    return { kind: "error", text: `Connection to the daemon lost. ${again}${asOf}` };
  }
  if (connection.state === "resting") return { kind: "warning", text: `Paused while this page was hidden.${asOf}` };
  if (connection.state === "open" && staleSeconds > 0) {
    return { kind: "error", text: `No message from the daemon for ${seconds(staleSeconds)}.${asOf}` };
  }
  if (!session.isConfirmed) {
    return { kind: "warning", text: `Connected again, but the daemon has no picture of this scan.${asOf}` };
  }
  return warningOfStatus(session);
}

/** Whether frames of the newest scan are still awaited; a sender may leave when all are there.
 * @param {Wire.StatusHeader | null} status */
export function areFramesDue(status) {
  if ((status?.phase ?? status?.state) !== "scanning") return false;
  const verdict = status?.verdict;
  return !(verdict && isNumber(verdict.expected) && verdict.missing === 0);
}

/** @param {Pick<import("./session.js").Session, "status">} session
 * @returns {Warning | null} */
function warningOfStatus({ status }) {
  if (status?.state === "degraded") return { kind: "warning", text: plain(status.sentence ?? "The daemon is degraded.") };
  const gone = (status?.streams ?? []).filter((stream) => stream.connected === false).map((stream) => plain(stream.name));
  if (gone.length > 0 && areFramesDue(status)) return { kind: "warning", text: `Not connected: ${gone.join(", ")}.` };
  return null;
}
