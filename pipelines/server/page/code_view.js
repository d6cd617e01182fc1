/**
 * Codes drawn as cells on a canvas that can be walked over with pointer and arrow keys.
 * Knows places and numbers, nothing of pictures, sound or the server.
 *
 * A cell is `{x, y, w, h, code, label}`: its place as shares (0 … 1) of the canvas, its code, and what
 * to say about it.
 */

/** The colour of a code as hue, saturation and lightness; `dvse inspect --html` has the same. */
export function codeColour(code, numCodes, alpha = 1) {
  const hue = (360 * code * 0.618033988749895) % 360;
  const lightness = 45 + (25 * ((code * 7) % numCodes)) / numCodes;
  return `hsl(${hue} 55% ${lightness}% / ${alpha})`;
}

export class CodeView {
  #cells = [];
  #columns = 1;
  #at = null;

  /**
   * @param {HTMLCanvasElement} canvas focusable
   * @param {HTMLElement} readout where the chosen cell is described; a live region
   */
  constructor(canvas, readout) {
    this.canvas = canvas;
    this.readout = readout;
    this.strength = 0.5;
    canvas.addEventListener("pointermove", (event) => this.#choose(this.#under(event)));
    canvas.addEventListener("pointerdown", (event) => this.#choose(this.#under(event)));
    canvas.addEventListener("pointerleave", () => this.#choose(null));
    canvas.addEventListener("blur", () => this.#choose(null));
    canvas.addEventListener("keydown", (event) => this.#walk(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /**
   * @param {object[]} cells in reading order
   * @param {number} columns cells in a row
   * @param {number} numCodes of the codebook
   */
  show(cells, columns, numCodes) {
    this.#cells = cells;
    this.#columns = columns;
    this.#at = null;
    this.numCodes = numCodes;
    this.digits = Math.max(1, ...cells.map(({ code }) => String(code).length));
    this.draw();
  }

  /** @param {number} strength of the colours, 0 (what is underneath) … 1 (codes only) */
  setStrength(strength) {
    this.strength = strength;
    this.draw();
  }

  draw() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    this.#cells.forEach((cell, i) => {
      const [x, y, w, h] = [cell.x * width, cell.y * height, cell.w * width, cell.h * height];
      if (this.strength > 0) {
        pen.fillStyle = codeColour(cell.code, this.numCodes, this.strength);
        pen.fillRect(x, y, Math.max(w - 0.5, 0.5), Math.max(h - 0.5, 0.5));
        writeNumber(pen, cell.code, this.digits, x, y, w, h);
      }
      if (i === this.#at) outline(pen, x, y, w, h);
    });
  }

  #under(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height];
    const found = this.#cells.findIndex((c) => x >= c.x && x < c.x + c.w && y >= c.y && y < c.y + c.h);
    return found < 0 ? null : found;
  }

  #walk(event) {
    const last = this.#cells.length - 1;
    const column = this.#columns;
    const to = {
      ArrowRight: (i) => i + 1,
      ArrowLeft: (i) => i - 1,
      ArrowDown: (i) => (i + column > last ? i : i + column),
      ArrowUp: (i) => (i - column < 0 ? i : i - column),
      Home: () => 0,
      End: () => last,
    }[event.key];
    if (!to || last < 0) return;
    event.preventDefault();
    this.#choose(this.#at === null ? 0 : Math.max(0, Math.min(last, to(this.#at))));
  }

  #choose(at) {
    if (at === this.#at) return;
    this.#at = at;
    this.readout.textContent = at === null ? this.readout.dataset.rest : this.#cells[at].label;
    this.draw();
  }
}

function writeNumber(pen, code, digits, x, y, w, h) {
  const size = Math.min(13, 0.55 * h, (0.95 * w) / (0.6 * digits));
  if (size * Math.min(window.devicePixelRatio, 1.2) < 6.5) return;
  const text = String(code);
  pen.font = `600 ${size}px ui-monospace, monospace`;
  pen.lineWidth = 2.2;
  pen.strokeStyle = "rgb(10 14 22 / 0.55)";
  pen.strokeText(text, x + w / 2, y + h / 2);
  pen.fillStyle = "#fff";
  pen.fillText(text, x + w / 2, y + h / 2);
}

function outline(pen, x, y, w, h) {
  pen.strokeStyle = "#000";
  pen.lineWidth = 4;
  pen.strokeRect(x + 1, y + 1, Math.max(w - 2, 1), Math.max(h - 2, 1));
  pen.strokeStyle = "#fff";
  pen.lineWidth = 2;
  pen.strokeRect(x + 1, y + 1, Math.max(w - 2, 1), Math.max(h - 2, 1));
}
