// @ts-check
// Colour tables, by the same formulae as daemon/publish/png.py: lines through the OKLCH space (Ottosson 2020).

const STEPS = 256;

/** [red, green, blue], 0..255, of an OKLCH colour, cut off at the gamut. */
export function oklchToSrgb(lightness, chroma, hueRad) {
  const a = chroma * Math.cos(hueRad);
  const b = chroma * Math.sin(hueRad);
  const long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const short = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
    -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
    -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
  ].map(encoded);
}

function encoded(linear) {
  const value = Math.min(1, Math.max(0, linear));
  return Math.round(255 * (value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055));
}

function table(colourAt) {
  const rgb = new Uint8Array(3 * STEPS);
  for (let i = 0; i < STEPS; i += 1) rgb.set(colourAt(i), 3 * i);
  return rgb;
}

/** 256 colours from dark blue over green to yellow. */
export const sequential = table((i) => {
  const t = i / (STEPS - 1);
  return oklchToSrgb(0.17 + 0.75 * t, 0.085 - 0.1 * t * (1 - t) + 0.06 * t, ((285 - 180 * t) * Math.PI) / 180);
});

/** 256 colours of equal lightness, cyclic. */
export const cyclic = table((i) => oklchToSrgb(0.72, 0.125, (2 * Math.PI * i) / STEPS + (75 * Math.PI) / 180));

/** 256 greys. */
export const grey = table((i) => [i, i, i]);

const BRIGHTNESSES = 64;
/** @type {Uint32Array | null} */
let complexPixels = null;

/** 64 x 256 opaque pixels: brightness (row) of an amplitude, hue (column) of a phase. */
export function complexTable() {
  if (complexPixels !== null) return complexPixels;
  const pixels = new Uint32Array(BRIGHTNESSES * STEPS);
  for (let row = 0; row < BRIGHTNESSES; row += 1) {
    const share = row / (BRIGHTNESSES - 1);
    const colours = table((i) => oklchToSrgb(0.84 * share, 0.125 * share, (2 * Math.PI * i) / STEPS + (75 * Math.PI) / 180));
    pixels.set(packed(colours), row * STEPS);
  }
  complexPixels = pixels;
  return pixels;
}

/** 256 opaque pixels (as ImageData's bytes seen as Uint32) of a table. */
export function packed(rgb) {
  const pixels = new Uint32Array(STEPS);
  const bytes = new Uint8ClampedArray(pixels.buffer);
  for (let i = 0; i < STEPS; i += 1) bytes.set([rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2], 255], 4 * i);
  return pixels;
}
