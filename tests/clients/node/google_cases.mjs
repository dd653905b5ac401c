// The @google/genai library: every call it makes, and the error it raises for every failure.

import { ApiError, FunctionCallingConfigMode, GoogleGenAI, Type } from "@google/genai";
import { PICTURE, check, raises, run, setting } from "./cases.mjs";

const CHAT = setting("GOOGLE_CHAT");
const DECLARED = {
  functionDeclarations: [
    {
      name: "weather",
      parameters: { type: Type.OBJECT, properties: { city: { type: Type.STRING } }, required: ["city"] },
    },
  ],
};

const client = (key = "GOOGLE_KEY", options = {}) =>
  new GoogleGenAI({ apiKey: setting(key), httpOptions: { baseUrl: setting("GOOGLE_BASE"), ...options } });

const ask = (contents, config = {}, model = CHAT, own = client()) =>
  own.models.generateContent({ model, contents, config });

async function events(contents, config = {}, model = CHAT) {
  const items = [];
  for await (const item of await client().models.generateContentStream({ model, contents, config })) items.push(item);
  return items;
}

async function generate() {
  const answer = await ask("Hello, world");
  check(answer.text.includes("Hello, world") && answer.candidates[0].finishReason === "STOP", answer);
}

async function stream() {
  const seen = await events("Hello, world");
  const text = seen.map((event) => event.text ?? "").join("");
  check(seen.length > 2 && text.includes("Hello, world"), seen);
  check(seen.at(-1).candidates[0].finishReason === "STOP", seen.at(-1));
}

async function tools() {
  const first = await ask("weather in Rome", { tools: [DECLARED] });
  check(first.functionCalls[0].name === "weather" && "city" in first.functionCalls[0].args, first);
  const answer = { functionResponse: { name: "weather", response: { sky: "blue" } } };
  const contents = [
    { role: "user", parts: [{ text: "weather in Rome" }] },
    first.candidates[0].content,
    { role: "user", parts: [answer] },
  ];
  check((await ask(contents, { tools: [DECLARED] })).text.includes("blue"), "the tool's answer");
  const none = { functionCallingConfig: { mode: FunctionCallingConfigMode.NONE } };
  check(!(await ask("weather in Rome", { tools: [DECLARED], toolConfig: none })).functionCalls, "no call");
}

async function json_schema() {
  const responseSchema = { type: Type.OBJECT, properties: { name: { type: Type.STRING } }, required: ["name"] };
  const answer = await ask("a city", { responseMimeType: "application/json", responseSchema });
  check(typeof JSON.parse(answer.text).name === "string", answer.text);
}

async function picture() {
  const answer = await ask([{ text: "What is this?" }, { inlineData: { mimeType: "image/png", data: PICTURE } }]);
  check(answer.text.includes("image/png"), answer);
}

async function embeddings() {
  const answer = await client().models.embedContent({ model: "gemini-embedding-001", contents: ["one", "two"] });
  check(answer.embeddings.length === 2 && answer.embeddings[0].values.length === 3072, answer);
}

async function count_tokens() {
  const answer = await client().models.countTokens({ model: CHAT, contents: "twelve bytes" });
  check(answer.totalTokens === 3, answer);
}

async function models() {
  const names = [];
  for await (const model of await client().models.list({ config: { pageSize: 3 } })) names.push(model.name);
  check(names.includes(`models/${CHAT}`) && new Set(names).size === names.length, names);
}

async function failures() {
  const cases = [
    [400, () => ask("Hello", {}, CHAT, client("UNKNOWN_KEY"))],
    [403, () => ask("Hello", {}, CHAT, client("SUSPENDED_KEY"))],
    [404, () => ask("Hello", {}, "nothing-of-that-name")],
    [429, () => ask("Hello", {}, "gemini-limited")],
    [503, () => ask("Hello", {}, "gemini-overloaded")],
    [500, () => ask("Hello", {}, "gemini-failing")],
    [503, () => events("Hello", {}, "gemini-overloaded")],
    [503, () => events("Hello", {}, "gemini-broken")],
  ];
  for (const [status, call] of cases) {
    const error = await raises(ApiError, call);
    check(error.status === status, error);
  }
}

async function streams_that_are_cut() {
  await raises(TypeError, () => events("Hello", {}, "gemini-cut"));
}

async function refusals_of_the_proxy() {
  const cases = [
    [401, () => ask("Hello", {}, CHAT, client("UNKNOWN_KEY"))],
    [404, () => ask("Hello", {}, "nothing-of-that-name")],
    [503, () => ask("Hello", {}, "gemini-overloaded")],
    [503, () => ask("Hello", {}, "gpt-failing")],
    [503, () => events("Hello", {}, "gemini-overloaded")],
  ];
  for (const [status, call] of cases) {
    const error = await raises(ApiError, call);
    // Whether the tries or the time are used up first hangs on the machine.
    check(error.status === status || (status === 503 && error.status === 504), error);
  }
}

async function streams_that_break_through_the_proxy() {
  for (const model of ["gemini-broken", "gemini-cut", "gpt-broken", "gpt-cut"]) {
    await raises(ApiError, () => events("Hello", {}, model));
  }
}

const common = [generate, stream, tools, json_schema, picture];
const native = [embeddings, count_tokens, models];
const alone = [failures, streams_that_are_cut];
const proxied = [refusals_of_the_proxy, streams_that_break_through_the_proxy];
const own = { mock: [...native, ...alone], serve: [...native, ...proxied], translated: [] };
await run([...common, ...own[setting("MODE")]]);
