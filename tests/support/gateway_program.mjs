// The official npm package before a gateway: `node gateway_program.mjs SCENARIO…`, where it finds `openai`.
//
// It prints one JSON object, as support/sightings.py describes it: `client` is the package's release, `seen` what each
// scenario found (null where there is no such scenario here), `failed` the stack of those that failed. GATEWAY_URL and
// GATEWAY_KEY lead to the gateway, SIM_URL to the stand-in behind it; QUOTA_MODEL is a model of its own, of which each
// key may send one call in a few seconds. ASKED holds, as JSON, what all clients ask for.

import OpenAI from "openai";
import { VERSION } from "openai/version";

const { CHAT_MODEL, TEXT_MODEL, EMBEDDING_MODEL, SCARCE_MODEL, WORDS, PROMPTS, INPUTS, TIMEOUT_S } = JSON.parse(
  process.env.ASKED,
);

const client = new OpenAI({ baseURL: process.env.GATEWAY_URL, apiKey: process.env.GATEWAY_KEY, maxRetries: 0 });

const chat = (text, more = {}, options = {}, asked = client) =>
  asked.chat.completions.create(
    { model: CHAT_MODEL, messages: [{ role: "user", content: text }], max_tokens: 20, ...more },
    options,
  );
const streamed = (text, more = {}) => chat(text, { stream: true, ...more });
const respond = (input) => client.responses.create({ model: CHAT_MODEL, input, stream: true });

const pieceOf = (chunk) => chunk.choices[0]?.delta.content ?? "";
const deltaOf = (event) => (event.type === "response.output_text.delta" ? event.delta : "");

async function inFlight() {
  const answer = await fetch(`${process.env.SIM_URL}/sim/stats`);
  return (await answer.json()).in_flight;
}

async function all(stream) {
  const items = [];
  for await (const item of await stream) items.push(item);
  return items;
}

/** The error of a call. */
async function errorOf(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error("no error was raised");
}

async function refusal(call) {
  const error = await errorOf(call);
  if (!(error instanceof OpenAI.APIError) || error.status === undefined) throw error;
  return { error: error.constructor.name, status: error.status, code: error.code };
}

/** What came of a stream, and the error that ended it. */
async function breaking(stream, read) {
  const pieces = [];
  const error = await errorOf(async () => {
    for await (const item of await stream) pieces.push(read(item));
  });
  if (!(error instanceof OpenAI.APIError)) throw error;
  return { error: error.constructor.name, code: error.code, pieces: pieces.filter(Boolean) };
}

/** The first two tokens, and how many calls are at the provider when they are there; then the stream is left. */
async function begun(stream, read) {
  const pieces = [];
  for await (const item of await stream) {
    if (read(item)) pieces.push(read(item));
    if (pieces.length === 2) return { pieces, in_flight: await inFlight() };
  }
  throw new Error("the stream ended");
}

const scenarios = {
  chat_completion: async () => (await chat("hello")).choices[0].message.content,

  completions: async () => {
    const done = await client.completions.create({ model: TEXT_MODEL, prompt: PROMPTS, n: 2, max_tokens: 4 });
    return done.choices.map((choice) => [choice.index, choice.text]);
  },

  embeddings: async () => {
    const done = await client.embeddings.create({ model: EMBEDDING_MODEL, input: INPUTS });
    const asked = { model: EMBEDDING_MODEL, input: INPUTS[3], encoding_format: "float" };
    const alone = await client.embeddings.create(asked);
    return {
      indices: done.data.map((one) => one.index),
      fourth: done.data[3].embedding,
      fourth_alone: alone.data[0].embedding,
    };
  },

  responses: async () => (await client.responses.create({ model: CHAT_MODEL, input: "hello" })).output_text,

  moderations: async () => {
    const done = await client.moderations.create({ input: ["peace", "violence", "peace"] });
    return done.results.map((result) => result.flagged);
  },

  models: async () => (await all(client.models.list())).map((model) => model.id),

  streamed_chat: async () => {
    const chunks = await all(streamed(WORDS, { stream_options: { include_usage: true } }));
    return {
      pieces: chunks.map(pieceOf).filter(Boolean),
      completion_tokens: chunks.at(-1).usage.completion_tokens,
    };
  },

  streamed_completion: async () => {
    const asked = { model: TEXT_MODEL, prompt: WORDS, max_tokens: 20, stream: true };
    return (await all(client.completions.create(asked))).map((chunk) => chunk.choices[0].text).join("");
  },

  streamed_response: async () => {
    const events = await all(respond(WORDS));
    return { pieces: events.map(deltaOf).filter(Boolean), first: events[0].type, last: events.at(-1).type };
  },

  begun_chat: () => begun(streamed(`${WORDS} [[sim:stall]]`), pieceOf),
  begun_response: () => begun(respond(`${WORDS} [[sim:stall]]`), deltaOf),
  broken_chat: () => breaking(streamed(`${WORDS} [[sim:break_off]]`), pieceOf),
  broken_response: () => breaking(respond(`${WORDS} [[sim:break_off]]`), deltaOf),
  failed_chat: () => breaking(streamed(`${WORDS} [[sim:stream_error]]`), pieceOf),

  bad_request: () => refusal(() => chat("[[sim:400]]")),
  bad_stream: () => refusal(() => streamed("[[sim:400]]")),
  unknown_model: () => refusal(() => chat("hello", { model: "nobodys" })),
  wrong_key: () => refusal(() => chat("hello", {}, {}, client.withOptions({ apiKey: "wrong" }))),

  timeout: async () => {
    const error = await errorOf(() => chat("late [[sim:hang]]", {}, { timeout: TIMEOUT_S * 1000 }));
    return { error: error.constructor.name };
  },

  used_up: async () => {
    const error = await errorOf(() => chat("hello", { model: SCARCE_MODEL }));
    return {
      error: error.constructor.name,
      status: error.status,
      code: error.code,
      retry_after: error.headers.get("retry-after"),
    };
  },

  /** The statuses of three calls, of which the last must wait longer than the gateway lets it. */
  asked_again: async () => {
    const statuses = [];
    const noting = async (url, init) => {
      const answer = await fetch(url, init);
      statuses.push(answer.status);
      return answer;
    };
    const patient = client.withOptions({ fetch: noting, maxRetries: 1 });
    for (const number of [0, 1, 2]) await chat(`call ${number}`, { model: process.env.QUOTA_MODEL }, {}, patient);
    return statuses;
  },
};

const seen = {};
const failed = {};
for (const name of process.argv.slice(2)) {
  try {
    seen[name] = name in scenarios ? await scenarios[name]() : null;
  } catch (error) {
    failed[name] = error.stack;
  }
}
console.log(JSON.stringify({ client: VERSION, seen, failed }));
