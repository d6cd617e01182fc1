/** A recording from the microphone, as samples. Knows nothing of files or of the server. */

export const LONGEST_S = 30;

/** Why there is no microphone, in words for people. */
export class MicrophoneError extends Error {}

export class Recorder {
  #chunks = [];
  #numSamples = 0;

  /**
   * Ask for the microphone and start.
   *
   * @param {(seconds: number, level: number) => void} onSound called a few times a second with
   *   the seconds so far and the loudness, 0 … 1
   * @param {(samples: Float32Array, sampleRate: number) => void} onSamples called with all of it
   * @returns {Promise<Recorder>}
   */
  static async start(onSound, onSamples) {
    if (!navigator.mediaDevices) {
      throw new MicrophoneError(
        "Browsers lend the microphone only to pages on https or localhost. Choose a file instead.",
      );
    }
    const recorder = new Recorder();
    try {
      recorder.stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
    } catch (error) {
      throw new MicrophoneError(
        error.name === "NotAllowedError"
          ? "The microphone was not allowed. Allow it beside the page's address and try again."
          : "No microphone was found. Choose a file instead.",
      );
    }
    recorder.context = new AudioContext();
    await recorder.context.audioWorklet.addModule(new URL("recorder_tap.js", import.meta.url));
    const tap = new AudioWorkletNode(recorder.context, "tap");
    tap.port.onmessage = ({ data }) => recorder.#take(data, onSound, onSamples);
    const silence = new GainNode(recorder.context, { gain: 0 });
    recorder.context.createMediaStreamSource(recorder.stream).connect(tap);
    tap.connect(silence).connect(recorder.context.destination); // only what is heard is computed
    await recorder.context.resume();
    return recorder;
  }

  /** End it and return what was heard: `samples` in -1 … 1 and `sampleRate` in Hz. */
  async stop() {
    const { sampleRate } = this.context;
    this.stream.getTracks().forEach((track) => track.stop());
    await this.context.close();
    const samples = new Float32Array(this.#numSamples);
    let at = 0;
    for (const chunk of this.#chunks) {
      samples.set(chunk, at);
      at += chunk.length;
    }
    return { samples, sampleRate };
  }

  #take(chunk, onSound, onSamples) {
    if (this.#numSamples >= LONGEST_S * this.context.sampleRate) return;
    this.#chunks.push(chunk);
    this.#numSamples += chunk.length;
    onSamples(chunk, this.context.sampleRate);
    if (this.#chunks.length % 32) return;
    const loudest = this.#chunks.slice(-32).flatMap((c) => [...c]).reduce((a, x) => Math.max(a, Math.abs(x)), 0);
    onSound(this.#numSamples / this.context.sampleRate, Math.sqrt(loudest));
  }
}
