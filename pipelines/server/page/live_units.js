/** The units of speech while one speaks, over `v1/realtime/tokens`. */

const SHOWN = 14;

export class LiveUnits {
  #isOpen = false;

  /** @param {HTMLElement} list shows the last units @param {string} model @param {number} rate Hz */
  constructor(list, model, rate) {
    list.replaceChildren();
    const address = new URL("v1/realtime/tokens", document.baseURI);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(address);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.socket.send(JSON.stringify({ type: "start", model, sample_rate_hz: rate, format: "f32" }));
      this.#isOpen = true;
    };
    this.socket.onmessage = ({ data }) => {
      for (const [unit] of JSON.parse(data).codes ?? []) {
        const shown = document.createElement("li");
        shown.textContent = unit;
        list.append(shown);
        if (list.children.length > SHOWN) list.firstChild.remove();
      }
    };
    this.socket.onerror = () => {}; // it is a pleasure, not a need: the recording goes on
  }

  /** @param {Float32Array} samples what was just heard */
  push(samples) {
    if (this.#isOpen && this.socket.readyState === WebSocket.OPEN) this.socket.send(samples);
  }

  end() {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type: "end" }));
    else this.socket.close();
  }
}
