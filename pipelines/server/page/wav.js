/**
 * A recording as a WAV file: one channel, 16 bits, little-endian.
 *
 * @param {Float32Array} samples -1 … 1; what is louder is cut
 * @param {number} sampleRate in Hz
 * @returns {Uint8Array} the whole file
 */
export function encodeWav(samples, sampleRate) {
  const size = 2 * samples.length;
  const file = new DataView(new ArrayBuffer(44 + size));
  const text = (at, word) => [...word].forEach((c, i) => file.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  file.setUint32(4, 36 + size, true);
  text(8, "WAVEfmt ");
  file.setUint32(16, 16, true);
  file.setUint16(20, 1, true); // PCM
  file.setUint16(22, 1, true); // channels
  file.setUint32(24, sampleRate, true);
  file.setUint32(28, 2 * sampleRate, true); // bytes a second
  file.setUint16(32, 2, true); // bytes a sample of all channels
  file.setUint16(34, 16, true);
  text(36, "data");
  file.setUint32(40, size, true);
  samples.forEach((x, i) => {
    file.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, x))), true);
  });
  return new Uint8Array(file.buffer);
}
