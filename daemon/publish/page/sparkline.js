// @ts-check
// R-factors over time: one line a layer, lower is better.

import { percentile } from "./ranges.js";
import { rfactor } from "./words.js";

/** Draw [{time, network, refined}] (or other `keys`) on a canvas; returns a description. */
export function drawHistory(canvas, history, keys = ["network", "refined"]) {
  const ratio = window.devicePixelRatio;
  const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  const values = history.flatMap((point) => keys.map((key) => point[key])).filter(Number.isFinite);
  if (values.length < 2 || width === 0) return "not enough values yet";
  const colours = getComputedStyle(canvas);
  const font = 10.5 * ratio * (parseFloat(colours.fontSize) / 12);
  const frame = frameOf(history, values, width, height, font);
  drawGuides(context, frame, colours.getPropertyValue("--muted"), font);
  for (const layer of keys) {
    drawLine(context, history, layer, frame, colours.getPropertyValue(`--${layer}`), 1.75 * ratio);
  }
  return `between ${rfactor(frame.low)} and ${rfactor(frame.high)}`;
}

function frameOf(history, values, width, height, font) {
  const sorted = Float64Array.from(values).sort();
  const [low, high] = [sorted[0], percentile(sorted, 97)]; // the first few may be outliers
  const room = Math.max(high - low, 0.01);
  const right = width - 3.2 * font;
  const [from, to] = [history[0].time, history.at(-1).time];
  return {
    low,
    high,
    right,
    x: (time) => (to > from ? ((time - from) / (to - from)) * (right - 4) + 2 : right / 2),
    y: (value) => height - font * 0.7 - (Math.min(1, (value - low) / room)) * (height - font * 1.4),
  };
}

function drawGuides(context, frame, colour, font) {
  context.fillStyle = colour;
  context.strokeStyle = colour;
  context.font = `${font}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  context.textAlign = "right";
  for (const value of frame.high - frame.low > 0.002 ? [frame.low, frame.high] : [frame.low]) {
    const y = Math.round(frame.y(value)) + 0.5;
    context.globalAlpha = 0.3;
    context.setLineDash([2, 4]);
    context.beginPath();
    context.moveTo(0, y);
    context.lineTo(frame.right, y);
    context.stroke();
    context.globalAlpha = 1;
    context.fillText(rfactor(value), context.canvas.width, y);
  }
  context.setLineDash([]);
}

function drawLine(context, history, layer, frame, colour, width) {
  context.strokeStyle = colour;
  context.fillStyle = colour;
  context.lineWidth = width;
  context.lineJoin = "round";
  context.beginPath();
  /** @type {[number, number] | null} */
  let last = null;
  for (const point of history) {
    if (!Number.isFinite(point[layer])) continue;
    /** @type {[number, number]} */
    const place = [frame.x(point.time), frame.y(point[layer])];
    if (last === null) context.moveTo(...place);
    else context.lineTo(...place);
    last = place;
  }
  context.stroke();
  if (last === null) return;
  context.beginPath();
  context.arc(...last, 1.6 * width, 0, 2 * Math.PI);
  context.fill();
}
