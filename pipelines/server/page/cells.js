/** From the tokens that the server gives to cells that a `CodeView` draws. */

/**
 * A picture's codes as a grid over it.
 *
 * @param {{grid: [number, number], codes: number[]}} item rows and columns; the code of each place,
 *   in reading order
 * @param {number} aspect width / height of the picture
 */
export function pictureCells({ grid: [rows, columns], codes }, aspect) {
  const part = keptPart(rows, columns, aspect);
  return codes.map((code, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns];
    return {
      x: part.x + (part.w * column) / columns,
      y: part.y + (part.h * row) / rows,
      w: part.w / columns,
      h: part.h / rows,
      code,
      label: `Row ${row + 1}, column ${column + 1}: code ${code}`,
    };
  });
}

/**
 * The part of the picture that was encoded. Some bundles cut the centre square out: then a picture
 * that is not square has a square grid, which rounding to whole cells cannot explain.
 */
function keptPart(rows, columns, aspect) {
  const rounding = Math.log((rows + 0.5) / (rows - 0.5));
  if (rows !== columns || Math.abs(Math.log(aspect)) <= rounding) return { x: 0, y: 0, w: 1, h: 1 };
  if (aspect > 1) return { x: (1 - 1 / aspect) / 2, y: 0, w: 1 / aspect, h: 1 };
  return { x: 0, y: (1 - aspect) / 2, w: 1, h: aspect };
}

/**
 * A recording's units along its time; equal neighbours are one cell.
 *
 * @param {{codes: number[], durations: number[] | null, frame_rate_hz: number,
 *   duration_s: number}} item
 */
export function soundCells({ codes, durations, frame_rate_hz: rate, duration_s: seconds }) {
  const runs = [];
  let start = 0;
  codes.forEach((code, i) => {
    const frames = durations ? durations[i] : 1;
    const last = runs.at(-1);
    if (last?.code === code) last.frames += frames;
    else runs.push({ code, start, frames });
    start += frames;
  });
  const whole = Math.max(seconds * rate, start, 1);
  return runs.map(({ code, start: first, frames }) => ({
    x: first / whole,
    y: 0,
    w: frames / whole,
    h: 1,
    code,
    label: `${(first / rate).toFixed(2)} s: unit ${code}` + (frames > 1 ? `, ${frames} frames` : ""),
  }));
}
