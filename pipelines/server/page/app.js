/** The page: what happens when somebody drops a file, records, asks, stops. */

import {
  ServerError, canOpenSockets, introduce, listModels, rebuild, streamAnswer, tokenize, useKey,
} from "./api.js";
import { Conversation } from "./conversation.js";
import { Introduction, canWrite } from "./introduction.js";
import { LiveUnits } from "./live_units.js";
import { MediaError, messagePart, readMedia, recordedFile } from "./media.js";
import { LONGEST_S, MicrophoneError, Recorder } from "./recorder.js";
import { ShownMedia } from "./shown_media.js";

const EXAMPLES = {
  nothing: [["Who are you?", "en"], ["你是谁?", "zh"]],
  image: [["What is this?", "en"], ["这是什么?", "zh"]],
  audio: [["What was said?", "en"], ["说了什么?", "zh"]],
};
const ENDINGS = { length: "cut at the most tokens", content_filter: "held back" };

const $ = (id) => document.getElementById(id);
const shown = new ShownMedia();
const conversation = new Conversation($("turns"));
const introduction = new Introduction($("knows"), $("samples"), trySample);
let recorder = null;
let liveUnits = null;
let answering = null; // the AbortController of the answer that is coming
let tokenizing = null;

function say(error) {
  const isOurs = [ServerError, MediaError, MicrophoneError].some((kind) => error instanceof kind);
  if (!isOurs) console.error(error);
  $("error").textContent = isOurs ? error.message : "Something went wrong in this page; its console says what.";
  $("error").hidden = false;
  $("error").scrollIntoView({ block: "nearest" });
  if (error.wantsKey) askForKey();
}

function askForKey() {
  $("key-form").hidden = false;
  $("key").focus();
}

async function connect() {
  $("error").hidden = true;
  try {
    const options = (await listModels()).map((id) => new Option(id));
    $("model").replaceChildren(...options);
    $("model").disabled = false;
    $("key-form").hidden = true;
    await greet();
    return true;
  } catch (error) {
    say(error);
    return false;
  }
}

/** Let the chosen model introduce itself. */
async function greet() {
  const model = $("model").value;
  const said = await introduce(model).catch(() => null); // another server may know no such thing
  if ($("model").value === model) introduction.show(said);
}

async function trySample(file, question) {
  if (answering) return;
  await take(file);
  if (shown.media?.name === file.name) await ask(question || EXAMPLES[shown.media.kind][0][0]);
}

async function take(file) {
  $("error").hidden = true;
  let media;
  try {
    media = await readMedia(file);
  } catch (error) {
    return say(error);
  }
  await shown.show(media);
  offerExamples();
  return showTokens();
}

async function showTokens() {
  const { media } = shown;
  tokenizing?.abort();
  tokenizing = new AbortController();
  try {
    const { item, ids, numCodes } = await tokenize($("model").value, media, tokenizing.signal);
    if (shown.media === media) shown.showTokens(item, ids, numCodes);
  } catch (error) {
    if (error.name === "AbortError" || shown.media !== media) return;
    shown.fail();
    say(error);
  }
}

async function showAs(view) {
  const { media } = shown;
  try {
    const picture = view === "rebuilt" ? await rebuild($("model").value, shown.ids) : null;
    if (shown.media !== media) return;
    shown.showAs(view, picture);
    if (view === "rebuilt" && !picture) throw new ServerError("This model's bundle cannot draw pictures.");
  } catch (error) {
    say(error);
  }
}

function remove() {
  shown.clear();
  offerExamples();
  $("choose").focus();
}

function offerExamples() {
  const examples = EXAMPLES[shown.media?.kind ?? "nothing"].filter(([text]) => canWrite(text));
  const buttons = examples.map(([text, language]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.lang = language;
    button.textContent = text;
    button.addEventListener("click", () => ask(text));
    return button;
  });
  $("examples").replaceChildren(...buttons);
}

async function ask(question) {
  if (answering) return;
  $("error").hidden = true;
  const { media } = shown;
  answering = new AbortController();
  swap($("send"), $("stop"));
  const answer = conversation.ask(question, media?.name ?? null);
  const thinks = $("think").checked;
  const text = { type: "text", text: question };
  let usage = null;
  let ending = null;
  try {
    const request = {
      model: $("model").value,
      messages: [{ role: "user", content: media ? [messagePart(media), text] : question }],
      temperature: $("temperature").valueAsNumber || 0,
      max_tokens: $("max-tokens").valueAsNumber || 256,
      enable_thinking: thinks,
      return_reasoning: thinks,
    };
    for await (const chunk of streamAnswer(request, answering.signal)) {
      usage = chunk.usage ?? usage;
      for (const { delta, finish_reason: reason } of chunk.choices) {
        if (delta.reasoning_content) answer.think(delta.reasoning_content);
        if (delta.content) answer.say(delta.content);
        ending = ENDINGS[reason] ?? ending;
      }
    }
    if (introduction.isRefusal(answer.text)) answer.markRefusal();
    answer.finish(usage, ending);
  } catch (error) {
    if (error.name === "AbortError") answer.finish(null, "stopped");
    else if (error instanceof ServerError && !error.wantsKey) answer.fail(error.message);
    else {
      answer.finish(null, null);
      say(error);
    }
  } finally {
    answering = null;
    swap($("stop"), $("send"));
  }
}

/** Put one button in place of another, and the focus with it. */
function swap(gone, shownNow) {
  const hadFocus = document.activeElement === gone;
  shownNow.hidden = false;
  gone.hidden = true;
  if (hadFocus) shownNow.focus();
}

async function record() {
  $("error").hidden = true;
  if (recorder) return finishRecording();
  $("record").disabled = true;
  try {
    recorder = await Recorder.start((seconds, level) => {
      $("recording-time").textContent = `${seconds.toFixed(1)} s`;
      $("level").value = level;
      if (seconds >= LONGEST_S - 0.2) finishRecording();
    }, (samples, rate) => {
      if (!canOpenSockets()) return;
      liveUnits ??= new LiveUnits($("live-units"), $("model").value, rate);
      liveUnits.push(samples);
    });
    showRecording(true);
  } catch (error) {
    say(error);
  } finally {
    $("record").disabled = false;
  }
}

async function finishRecording() {
  const ended = recorder;
  if (!ended) return;
  recorder = null;
  showRecording(false);
  liveUnits?.end();
  liveUnits = null;
  const sound = await ended.stop();
  await take(recordedFile(sound));
}

function showRecording(isOn) {
  $("recording").hidden = !isOn;
  $("live-units").hidden = !isOn;
  $("recording-time").textContent = "0.0 s";
  $("record").setAttribute("aria-pressed", String(isOn));
  $("record").textContent = isOn ? "Stop recording" : "Record a sentence";
}

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) take(file);
  $("file").value = ""; // so that the same file can be chosen again
});
$("record").addEventListener("click", record);
$("remove").addEventListener("click", remove);
$("view").addEventListener("change", ({ target }) => showAs(target.value));
$("stop").addEventListener("click", () => answering?.abort());
$("model").addEventListener("change", () => {
  greet();
  if (shown.media) showTokens();
});

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const typed = $("question").value.trim();
  const question = typed || (shown.media ? EXAMPLES[shown.media.kind][0][0] : "");
  if (!question) return $("question").focus();
  $("question").value = "";
  return ask(question);
});
$("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") answering?.abort();
});

$("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  useKey($("key").value);
  if ((await connect()) && shown.media) showTokens();
});

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  const [file] = event.dataTransfer.files;
  if (file) take(file);
});
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) take(file);
});

offerExamples();
connect();
