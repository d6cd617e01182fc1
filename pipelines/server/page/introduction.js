/** What the loaded model says of itself: one line, samples to click, the words of its refusals. */

/** Whether this browser has letters for a text: without a font all letters look the same. */
export function canWrite(text) {
  const pen = new OffscreenCanvas(24, 24).getContext("2d", { willReadFrequently: true });
  pen.font = "20px system-ui, sans-serif";
  const drawn = (letter) => {
    pen.clearRect(0, 0, 24, 24);
    pen.fillText(letter, 0, 20);
    return pen.getImageData(0, 0, 24, 24).data.join();
  };
  const missing = drawn("\u{10FFFE}");
  return [...text].every((letter) => drawn(letter) !== missing);
}

export class Introduction {
  #refusals = new Set();

  /**
   * @param {HTMLElement} line what it knows @param {HTMLElement} list of samples
   * @param {(file: File, question: string) => void} onSample
   */
  constructor(line, list, onSample) {
    this.line = line;
    this.list = list;
    this.onSample = onSample;
  }

  /** @param {{knows: string, samples: object[], refusals: string[]} | null} said */
  show(said) {
    this.line.textContent = said?.knows ? `Knows: ${said.knows}` : "";
    this.line.hidden = !said?.knows;
    this.#refusals = new Set(said?.refusals ?? []);
    this.list.replaceChildren(...(said?.samples ?? []).map((sample) => this.#button(sample)));
    this.list.hidden = !said?.samples.length;
  }

  /** Whether a whole answer means that the model does not know. */
  isRefusal(answer) {
    return this.#refusals.has(answer.trim());
  }

  #button({ title, question, name, media_type: type, data }) {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const file = new File([bytes], name, { type });
    const button = document.createElement("button");
    button.type = "button";
    if (type.startsWith("image/")) {
      const picture = document.createElement("img");
      picture.src = URL.createObjectURL(file);
      picture.alt = "";
      button.append(picture);
    } else {
      const note = document.createElement("span");
      note.textContent = "♪";
      note.setAttribute("aria-hidden", "true");
      button.append(note);
    }
    button.append(title);
    button.addEventListener("click", () => this.onSample(file, question));
    return button;
  }
}
