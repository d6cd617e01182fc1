/** From the tokens that the server gives to cells that a `CodeView` draws. */

/**
 * A picture's codes as a grid over it.
 *
 * @param {{grid: [number, number], codes: number[][]}} item rows and columns; the codes of each
 *   place, in reading order
 */
export function pictureCells({ grid: [rows, columns], codes }) {
  return codes.map((levels, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns];
    return {
      x: column / columns,
      y: row / rows,
      w: 1 / columns,
      h: 1 / rows,
      codes: levels,
      label: `Row ${row + 1}, column ${column + 1}: code ${levels.join(" / ")}`,
    };
  });
}

/**
 * A recording's units along its time; equal neighbours are one cell.
 *
 * @param {{codes: number[][], durations: number[] | null, frame_rate_hz: number,
 *   duration_s: number}} item
 */
export function soundCells({ codes, durations, frame_rate_hz: rate, duration_s: seconds }) {
  const runs = [];
  let start = 0;
  codes.forEach((levels, i) => {
    const frames = durations ? durations[i] : 1;
    const last = runs.at(-1);
    if (last && last.levels.join() === levels.join()) last.frames += frames;
    else runs.push({ levels, start, frames });
    start += frames;
  });
  const whole = Math.max(seconds * rate, start, 1);
  return runs.map(({ levels, start: first, frames }) => ({
    x: first / whole,
    y: 0,
    w: frames / whole,
    h: 1,
    codes: levels,
    start_s: first / rate,
    label:
      `${(first / rate).toFixed(2)} s: unit ${levels.join(" / ")}` +
      (frames > 1 ? `, ${frames} frames` : ""),
  }));
}
