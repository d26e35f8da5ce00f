// @ts-check
// The resolution: its number, its curve, how long it has not got better.

import { byId, say } from "./elements.js";
import { length, resolution, trend } from "./words.js";

const LABEL_PX = 10;

/** Show the resolution of the scan that the status is of, or none.
 * @param {Wire.FrcFields | null | undefined} frc */
export function showResolution(frc) {
  const card = byId("resolution-card");
  card.hidden = !frc;
  if (!frc) return;
  say("resolution", resolution(frc.frc_nm));
  say("resolution-trend", trend(frc));
  byId("resolution-card").dataset.settled = String(frc.is_settled);
  const canvas = byId("resolution-curve");
  drawCurve(canvas, frc);
  canvas.setAttribute("aria-label", `Fourier ring correlation over spatial frequency, ${resolution(frc.frc_nm)} at the ${frc.criterion} line`);
}

/** @param {any} canvas @param {Wire.FrcFields} frc */
function drawCurve(canvas, frc) {
  const ratio = window.devicePixelRatio;
  const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  const colours = getComputedStyle(canvas);
  const last = frc.frequency_per_m.at(-1) ?? 1;
  const foot = height - 1.4 * LABEL_PX * ratio;
  /** @param {number} frequency @param {number} value */
  const place = (frequency, value) => [(frequency / last) * (width - 2) + 1, foot - Math.min(1, Math.max(0, value)) * (foot - 2)];
  context.lineJoin = "round";
  drawLine(context, frc.frequency_per_m.map((f, i) => place(f, frc.threshold[i])), colours.getPropertyValue("--muted"), ratio, [3 * ratio, 3 * ratio]);
  drawLine(context, frc.frequency_per_m.map((f, i) => place(f, frc.correlation[i])), colours.getPropertyValue("--refined"), 1.75 * ratio, []);
  if (frc.frc_nm) {
    const reached = 0.5 / (frc.frc_nm * 1e-9);
    drawLine(context, [place(reached, 0), place(reached, 1)], colours.getPropertyValue("--accent"), ratio, []);
  }
  context.fillStyle = colours.getPropertyValue("--muted");
  context.font = `${LABEL_PX * ratio}px ${colours.fontFamily}`;
  context.textAlign = "left";
  context.fillText("half a period", 1, height - 2);
  context.textAlign = "right";
  context.fillText(length(0.5 / last), width - 1, height - 2);
}

function drawLine(context, points, colour, width, dash) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.setLineDash(dash);
  context.beginPath();
  points.forEach(([x, y], i) => (i === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
  context.stroke();
  context.setLineDash([]);
}
