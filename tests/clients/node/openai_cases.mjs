// The openai library for JavaScript: every call it makes, and the error it raises for every failure.

import OpenAI from "openai";
import { PICTURE, check, raises, run, setting } from "./cases.mjs";

const CHAT = setting("CHAT");
const [EMBEDDING, WIDTH] = setting("EMBEDDING").split(":");
const TOOLS = [
  {
    type: "function",
    function: {
      name: "weather",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];
const CITY = {
  type: "object",
  properties: { name: { type: "string" }, districts: { type: "array", items: { type: "string" } } },
  required: ["name", "districts"],
  additionalProperties: false,
};

const client = (key = "OPENAI_KEY", options = {}) =>
  new OpenAI({ baseURL: setting("OPENAI_BASE"), apiKey: setting(key), maxRetries: 0, ...options });

const ask = (text, options = {}, own = client()) =>
  own.chat.completions.create({ model: CHAT, messages: [{ role: "user", content: text }], ...options });

async function all(stream) {
  const items = [];
  for await (const item of await stream) items.push(item);
  return items;
}

async function chat() {
  const answer = await ask("Hello, world");
  check(answer.choices[0].message.content.includes("Hello, world"), answer);
  check(answer.usage.total_tokens === answer.usage.prompt_tokens + answer.usage.completion_tokens, answer.usage);
}

async function stream() {
  const chunks = await all(ask("Hello, world", { stream: true, stream_options: { include_usage: true } }));
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  check(text.includes("Hello, world") && chunks.at(-1).usage.completion_tokens > 0, chunks);
}

async function tools() {
  const first = await ask("weather in Rome", { tools: TOOLS });
  const call = first.choices[0].message.tool_calls[0];
  check(call.function.name === "weather" && "city" in JSON.parse(call.function.arguments), first);
  const messages = [
    { role: "user", content: "weather in Rome" },
    first.choices[0].message,
    { role: "tool", tool_call_id: call.id, content: "blue sky" },
  ];
  const second = await client().chat.completions.create({ model: CHAT, messages, tools: TOOLS });
  check(second.choices[0].message.content.includes("blue sky"), second);
}

async function json_schema() {
  const response_format = { type: "json_schema", json_schema: { name: "city", strict: true, schema: CITY } };
  const answer = await ask("a city", { response_format });
  const city = JSON.parse(answer.choices[0].message.content);
  check(typeof city.name === "string" && city.districts.length > 0, city);
}

async function picture() {
  const image_url = { url: `data:image/png;base64,${PICTURE}` };
  const answer = await ask([{ type: "text", text: "What is this?" }, { type: "image_url", image_url }]);
  check(answer.choices[0].message.content.includes("image/png"), answer);
}

async function embeddings() {
  const answer = await client().embeddings.create({ model: EMBEDDING, input: ["one", "two"] });
  check(answer.data.length === 2 && answer.data[0].embedding.length === Number(WIDTH), answer);
}

async function models() {
  const names = (await all(client().models.list())).map((model) => model.id);
  check(names.includes(CHAT), names);
}

async function responses() {
  const answer = await client().responses.create({ model: CHAT, input: "Hello, world" });
  check(answer.output_text.includes("Hello, world"), answer);
  const kinds = (await all(client().responses.create({ model: CHAT, input: "Hello", stream: true }))).map(
    (event) => event.type,
  );
  check(kinds[0] === "response.created" && kinds.at(-1) === "response.completed", kinds);
}

async function errors() {
  const cases = [
    [OpenAI.AuthenticationError, 401, () => ask("Hello", {}, client("UNKNOWN_KEY"))],
    [OpenAI.NotFoundError, 404, () => ask("Hello", { model: "nothing-of-that-name" })],
    [OpenAI.BadRequestError, 400, () => client().chat.completions.create({ model: CHAT, messages: [] })],
    [OpenAI.RateLimitError, 429, () => ask("Hello", { model: "gpt-limited" })],
    [OpenAI.InternalServerError, 503, () => ask("Hello", { model: "gpt-overloaded" })],
    [OpenAI.InternalServerError, 500, () => ask("Hello", { model: "gpt-failing" })],
  ];
  for (const [kind, status, call] of cases) {
    const error = await raises(kind, call);
    check(error.status === status, error);
  }
}

async function streams_that_break() {
  await raises(OpenAI.APIError, () => all(ask("Hello", { model: "gpt-broken", stream: true })));
  let cut;
  try {
    await all(ask("Hello", { model: "gpt-cut", stream: true }));
  } catch (error) {
    cut = error;
  }
  check(cut instanceof Error, "a stream that is cut raises something");
}

async function retry_hints_are_obeyed() {
  const began = performance.now();
  await ask("Hello", { model: "gpt-patient" }, client("OPENAI_KEY", { maxRetries: 1 }));
  check(performance.now() - began >= 1900, "it was told to wait for two seconds");
}

async function gemini_in_openais_words() {
  const own = client("GOOGLE_KEY", { baseURL: setting("COMPAT_BASE") });
  const answer = await ask("Hello", { model: "gemini-2.5-flash" }, own);
  check(answer.choices[0].message.content.includes("Hello"), answer);
  const error = await raises(OpenAI.InternalServerError, () => ask("Hello", { model: "gemini-overloaded" }, own));
  check(error.status === 503, error);
}

async function refusals_of_the_proxy() {
  const cases = [
    [OpenAI.AuthenticationError, 401, () => ask("Hello", {}, client("UNKNOWN_KEY"))],
    [OpenAI.NotFoundError, 404, () => ask("Hello", { model: "nothing-of-that-name" })],
    [OpenAI.InternalServerError, 503, () => ask("Hello", { model: "gpt-overloaded" })],
    [OpenAI.InternalServerError, 503, () => ask("Hello", { model: "gemini-failing" })],
  ];
  for (const [kind, status, call] of cases) {
    const error = await raises(kind, call);
    // Whether the tries or the time are used up first hangs on the machine.
    check(error.status === status || (status === 503 && error.status === 504), error);
  }
}

async function hints_of_the_proxy_are_obeyed() {
  const began = performance.now();
  const hurried = { maxRetries: 3, defaultHeaders: { "x-stormproof-deadline": "1s" } };
  await ask("Hello", { model: "gpt-patient" }, client("OPENAI_KEY", hurried));
  check(performance.now() - began >= 1500, "it was told to wait for two seconds");
}

async function streams_that_break_through_the_proxy() {
  for (const model of ["gpt-broken", "gpt-cut", "gemini-broken", "gemini-cut"]) {
    await raises(OpenAI.APIError, () => all(ask("Hello", { model, stream: true })));
  }
}

const common = [chat, stream, tools, json_schema, picture, embeddings, models, responses];
const alone = [errors, streams_that_break, retry_hints_are_obeyed, gemini_in_openais_words];
const proxied = [refusals_of_the_proxy, hints_of_the_proxy_are_obeyed, streams_that_break_through_the_proxy];
await run([...common, ...{ mock: alone, serve: proxied, translated: [] }[setting("MODE")]]);
