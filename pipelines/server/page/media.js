/**
 * A picture or recording that a person gave: what kind it is, and its bytes for the server. Sound
 * of a kind that the server does not read (a phone's M4A, say) becomes a WAV file here.
 */

import { encodeWav } from "./wav.js";

const LARGEST_BYTES = 14e6; // 20 MB of JSON once it is base64
const CONVERTED_HZ = 16000;
const SOUND = /\.(wav|mp3|flac|ogg|oga|opus)$/i;
const SOUND_TYPE = /^audio\/(x-)?(wav|wave|mpeg|mp3|flac|ogg)$/;
const PICTURE = /\.(png|jpe?g|gif|webp|bmp|tiff?|avif)$/i;

/** A file that cannot be taken, in words for people. */
export class MediaError extends Error {}

/**
 * @param {File} file
 * @returns {Promise<{kind: "image" | "audio", name: string, type: string, format: string,
 *   base64: string, url: string, bytes: ArrayBuffer}>} `url` to be revoked by whoever shows it
 */
export async function readMedia(file) {
  const kind = kindOf(file);
  if (!kind) throw new MediaError(`“${file.name}” is neither a picture nor a recording.`);
  if (kind === "other sound") return readMedia(await converted(file));
  if (file.size > LARGEST_BYTES) {
    throw new MediaError(`“${file.name}” has ${Math.ceil(file.size / 1e6)} MB; the most is 14 MB.`);
  }
  if (!file.size) throw new MediaError(`“${file.name}” is empty.`);
  const dataUrl = await readAsDataUrl(file);
  return {
    kind,
    name: file.name,
    type: file.type || "application/octet-stream",
    format: formatOf(file),
    base64: dataUrl.slice(dataUrl.indexOf(",") + 1),
    url: URL.createObjectURL(file),
    bytes: await file.arrayBuffer(),
  };
}

/** What the microphone heard, as if it were a file. */
export function recordedFile({ samples, sampleRate }) {
  return new File([encodeWav(samples, sampleRate)], "recording.wav", { type: "audio/wav" });
}

/** The part of a chat message that carries it. */
export function messagePart(media) {
  return media.kind === "image"
    ? { type: "image_url", image_url: { url: `data:${media.type};base64,${media.base64}` } }
    : { type: "input_audio", input_audio: { data: media.base64, format: media.format } };
}

function kindOf(file) {
  if (file.type.startsWith("image/") || PICTURE.test(file.name)) return "image";
  if (SOUND.test(file.name) || SOUND_TYPE.test(file.type)) return "audio";
  return /^(audio|video)\//.test(file.type) ? "other sound" : null;
}

/** Its sound as a WAV file, the channels' mean. */
async function converted(file) {
  let sound;
  try {
    const context = new OfflineAudioContext(1, 1, CONVERTED_HZ);
    sound = await context.decodeAudioData(await file.arrayBuffer());
  } catch {
    throw new MediaError(`“${file.name}” cannot be read. Try WAV, MP3, FLAC or OGG.`);
  }
  const channels = Array.from({ length: sound.numberOfChannels }, (_, i) => sound.getChannelData(i));
  const samples = channels[0].map((_, i) => channels.reduce((sum, c) => sum + c[i], 0) / channels.length);
  return new File([encodeWav(samples, CONVERTED_HZ)], `${file.name}.wav`, { type: "audio/wav" });
}

function formatOf(file) {
  const ending = SOUND.exec(file.name)?.[1].toLowerCase();
  if (ending) return /^o/.test(ending) ? "ogg" : ending;
  return /mpeg|mp3/.test(file.type) ? "mp3" : (/flac|ogg/.exec(file.type)?.[0] ?? "wav");
}

function readAsDataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new MediaError(`“${file.name}” cannot be read.`));
    reader.readAsDataURL(file);
  });
}
