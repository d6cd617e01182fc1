/**
 * The server's endpoints as functions. Addresses are relative, so that the page works behind a
 * proxy, too. Errors come out as `ServerError` in words for people.
 */

import { serverEvents } from "./server_events.js";

let apiKey = "";

/** Send this key from now on; it stays in this page's memory. */
export function useKey(key) {
  apiKey = key.trim();
}

export class ServerError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }

  /** Whether a key, or another key, is what is missing. */
  get wantsKey() {
    return this.status === 401 || this.status === 403;
  }
}

/** @returns {Promise<string[]>} ids of the models that are served */
export async function listModels() {
  const { data } = await (await send("v1/models")).json();
  return data.map((model) => model.id);
}

/** @returns {Promise<object>} what a model knows, its samples, the words of its refusals */
export async function introduce(model) {
  return (await send(`v1/introductions/${encodeURIComponent(model)}`)).json();
}

/** Whether a socket, which cannot carry a key, may be opened. */
export const canOpenSockets = () => !apiKey;

/**
 * The tokens of one picture or recording.
 *
 * @param {string} model
 * @param {{kind: "image" | "audio", base64: string}} media
 * @returns {Promise<{item: object, ids: number[], numCodes: number}>} what the tokens stand for,
 *   the ids of the row, and how many codes the codebook has
 */
export async function tokenize(model, media, signal) {
  const inputs = [{ type: media.kind, data: media.base64 }];
  const { ids, items } = await (await send("v1/tokenize", { model, inputs }, signal)).json();
  const item = items.find(({ modality }) => modality === media.kind);
  return { item, ids, numCodes: item.num_codes };
}

/** @returns {Promise<Blob | null>} the picture that ids stand for, where the bundle can draw it */
export async function rebuild(model, ids) {
  const answer = await send("v1/detokenize", { model, ids, render: true });
  const { png } = (await answer.json()).items.find(({ modality }) => modality === "image");
  if (!png) return null;
  return new Blob([Uint8Array.from(atob(png), (c) => c.charCodeAt(0))], { type: "image/png" });
}

/**
 * Stream one answer.
 *
 * @param {object} request the body of `POST /v1/chat/completions`, streaming added here
 * @yields {object} `chat.completion.chunk`s, the last with `usage`
 */
export async function* streamAnswer(request, signal) {
  const body = { ...request, stream: true, stream_options: { include_usage: true } };
  const response = await send("v1/chat/completions", body, signal);
  try {
    for await (const data of serverEvents(response.body)) {
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ServerError(sentence(chunk.error.message), 500);
      yield chunk;
    }
  } catch (error) {
    throw error instanceof TypeError ? new ServerError("The connection broke off.") : error;
  }
  throw new ServerError("The server ended the answer early.");
}

async function send(path, body, signal) {
  const headers = {};
  if (apiKey) headers.Authorization = `Bearer ${apiKey}`;
  if (body) headers["Content-Type"] = "application/json";
  const method = body ? "POST" : "GET";
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not answer. Is it still running?");
  }
  if (!response.ok) throw await explain(response);
  return response;
}

async function explain(response) {
  const { status } = response;
  const said = await response.json().then((body) => body.error?.message, () => null);
  if (status === 401 || status === 403) {
    const words = apiKey ? "The server does not know this key." : "The server asks for an API key.";
    return new ServerError(words, status);
  }
  if (status === 429) {
    const seconds = Number(response.headers.get("Retry-After"));
    const when = seconds ? `in ${seconds} s` : "in a moment";
    return new ServerError(`The server is busy. Try again ${when}.`, status);
  }
  if (status === 413) return new ServerError("This file is larger than the server takes.", status);
  const fallback = `The server answered ${status}${status >= 500 ? "; its log says why" : ""}.`;
  return new ServerError(said ? sentence(said) : fallback, status);
}

function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?。]$/.test(whole) ? whole : `${whole}.`;
}
