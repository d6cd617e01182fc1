/**
 * Log-mel spectrogram of a recording, and its picture. Bands and scale are torchaudio's defaults
 * (HTK mel, periodic Hann window, power), so that the page shows what `dvse inspect` shows.
 */

const WINDOW = 512;
const BANDS = 64;
const STOPS = [[20, 18, 44], [86, 32, 96], [190, 60, 84], [244, 150, 90], [252, 240, 200]];

/**
 * @param {Float32Array} samples one channel
 * @param {number} sampleRate in Hz
 * @param {number} columns how many frames to take, evenly spread
 * @returns {{levels: Float32Array, columns: number, bands: number}} log10 of the power, a frame
 *   after another, low bands first
 */
export function logMel(samples, sampleRate, columns) {
  const filters = melFilters(sampleRate);
  const hann = Float64Array.from({ length: WINDOW }, (_, i) => Math.sin((Math.PI * i) / WINDOW) ** 2);
  const levels = new Float32Array(columns * BANDS);
  const re = new Float64Array(WINDOW);
  const im = new Float64Array(WINDOW);
  const span = Math.max(0, samples.length - WINDOW);
  for (let column = 0; column < columns; column++) {
    const start = columns > 1 ? Math.round((span * column) / (columns - 1)) : 0;
    for (let i = 0; i < WINDOW; i++) {
      re[i] = hann[i] * (samples[start + i] ?? 0);
      im[i] = 0;
    }
    transform(re, im);
    filters.forEach(({ first, weights }, band) => {
      let power = 0;
      weights.forEach((w, i) => {
        power += w * (re[first + i] ** 2 + im[first + i] ** 2);
      });
      levels[column * BANDS + band] = Math.log10(power + 1e-6);
    });
  }
  return { levels, columns, bands: BANDS };
}

/** Draw it over the whole canvas, quiet is dark, low frequencies at the bottom. */
export function drawSpectrogram(canvas, { levels, columns, bands }) {
  const top = levels.reduce((a, b) => Math.max(a, b), -Infinity);
  const floor = Math.max(levels.reduce((a, b) => Math.min(a, b), Infinity), top - 6);
  const scale = 1 / Math.max(top - floor, 1e-6);
  const picture = new ImageData(columns, bands);
  for (let x = 0; x < columns; x++) {
    for (let band = 0; band < bands; band++) {
      const level = Math.max(0, (levels[x * bands + band] - floor) * scale);
      picture.data.set([...warm(level), 255], 4 * ((bands - 1 - band) * columns + x));
    }
  }
  canvas.width = columns;
  canvas.height = bands;
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

/** In-place Fourier transform of 2^n points (Cooley & Tukey, radix 2). */
function transform(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const cos = Math.cos((2 * Math.PI * k) / size);
      const sin = -Math.sin((2 * Math.PI * k) / size);
      for (let a = k; a < n; a += size) {
        const b = a + half;
        const x = re[b] * cos - im[b] * sin;
        const y = re[b] * sin + im[b] * cos;
        [re[a], im[a], re[b], im[b]] = [re[a] + x, im[a] + y, re[a] - x, im[a] - y];
      }
    }
  }
}

/** Triangles, equally wide in mel: for each band the first bin and its weights. */
function melFilters(sampleRate) {
  const mel = (hz) => 2595 * Math.log10(1 + hz / 700);
  const hz = (m) => 700 * (10 ** (m / 2595) - 1);
  const top = mel(sampleRate / 2);
  const corners = Array.from({ length: BANDS + 2 }, (_, i) => hz((top * i) / (BANDS + 1)));
  const bins = Array.from({ length: WINDOW / 2 + 1 }, (_, i) => (i * sampleRate) / WINDOW);
  return corners.slice(1, -1).map((centre, band) => {
    const [low, high] = [corners[band], corners[band + 2]];
    const inside = bins.map((f) => Math.min((f - low) / (centre - low), (high - f) / (high - centre)));
    const first = Math.max(inside.findIndex((w) => w > 0), 0);
    return { first, weights: inside.slice(first).filter((w) => w > 0) };
  });
}

function warm(level) {
  const place = level * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[low].map((value, i) => value + (STOPS[low + 1][i] - value) * (place - low));
}
