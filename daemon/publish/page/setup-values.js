// @ts-check
// Values of the wizard: what a form sends, words about a stream, the place of the cut-out.

/** The filled fields of a form that are shown; empty ones are left out.
 * @param {Iterable<{ name: string, value: string, isShown: boolean }>} fields @returns {Record<string, string>} */
export function filled(fields) {
  /** @type {Record<string, string>} */
  const found = {};
  for (const { name, value, isShown } of fields) if (name !== "" && isShown && value.trim() !== "") found[name] = value.trim();
  return found;
}

/** @param {{ format: string, socket: string, shape: number[], dtype: string, rate_hz: number | null, counts: number }} heard */
export function heardWords({ format, socket, shape, dtype, rate_hz: rate, counts }) {
  const transport = ["pva", "merlin"].includes(format) ? "" : ` over a ${socket.toUpperCase()} socket`;
  const speed = rate === null ? "" : `, ${Math.round(rate)} frames/s`;
  return `${format}${transport}, ${shape[0]} × ${shape[1]} px, ${dtype}${speed}, ${Math.round(counts)} counts a frame`;
}

/** The cut-out around the centre in percent of the frame; null where the daemon finds the centre itself.
 * @param {{ center_px: number[] | null, size_px: number, shape: number[] }} made */
export function cutOut({ center_px: centre, size_px: side, shape }) {
  if (centre === null) return null;
  const [top, left] = [0, 1].map((axis) => (100 * (centre[axis] - side / 2)) / shape[axis]);
  return { top, left, height: (100 * side) / shape[0], width: (100 * side) / shape[1] };
}
