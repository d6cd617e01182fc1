/**
 * Server-sent events from a response body: the text after `data:` of each event, in order.
 * Knows the event format (WHATWG HTML, section 9.2), nothing of what the data means.
 *
 * @param {ReadableStream<Uint8Array>} body cut anywhere, even inside a character
 * @yields {string} the data of one event
 */
export async function* serverEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  let data = [];
  try {
    while (true) {
      const { value, done } = await reader.read();
      held += done ? "\n\n" : value;
      const lines = held.split("\n");
      held = lines.pop();
      for (const line of lines.map((text) => text.replace(/\r$/, ""))) {
        if (line.startsWith("data:")) {
          data.push(line.slice(5).replace(/^ /, ""));
        } else if (line === "" && data.length) {
          yield data.join("\n");
          data = [];
        }
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
