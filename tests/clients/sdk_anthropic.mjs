// The Anthropic SDK for Node through the gateway: messages, before a provider of any dialect.
//
// Reads BASE_URL (the gateway, without /v1) and TOKEN; where CONTROL (the simulator's control API) and SERVING (the
// provider that answers) are told, too, that provider is made to fail at the end. One line for each check; the first
// that fails ends it.

import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const { BASE_URL, TOKEN, CONTROL, SERVING } = process.env;
assert(BASE_URL && TOKEN, "BASE_URL and TOKEN must be set");
const sdk = new Anthropic({ baseURL: BASE_URL, apiKey: TOKEN, maxRetries: 0, timeout: 20_000 });
const model = "default";
const tools = [
  { name: "weather", input_schema: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } },
  { name: "news", input_schema: { type: "object", properties: {} } },
];

/** The answer as {text, calls}; it is appended to the conversation, as the SDK gave it. */
async function say(said, streamed, more = {}) {
  const asked = { model, max_tokens: 1000, messages: said, ...more };
  let message;
  let pieces = "";
  if (streamed) {
    const stream = sdk.messages.stream(asked);
    stream.on("text", (piece) => (pieces += piece));
    message = await stream.finalMessage();
  } else {
    message = await sdk.messages.create(asked);
  }
  said.push({ role: "assistant", content: message.content });
  const text = message.content.map((block) => (block.type === "text" ? block.text : "")).join("");
  if (streamed) assert.equal(pieces, text);
  assert(message.usage.input_tokens > 0 && message.usage.output_tokens > 0, "no usage");
  const calls = message.content.filter((block) => block.type === "tool_use");
  assert.equal(message.stop_reason, calls.length ? "tool_use" : "end_turn");
  return { text, calls };
}

async function check(name, run) {
  try {
    await run();
  } catch (error) {
    console.log(`FAILED: ${name}: ${error?.name}: ${String(error?.message).replaceAll(/\s+/g, " ")}`);
    process.exit(1);
  }
  console.log(`ok: ${name}`);
}

async function script(fault, more = {}) {
  const body = JSON.stringify({ provider: SERVING, fault, ...more });
  const done = await fetch(`${CONTROL}/faults`, { method: "POST", body, headers: { "content-type": "application/json" } });
  assert(done.ok, `the simulator said ${done.status}`);
}

const user = (content) => ({ role: "user", content });
const result = (call, text) => ({ type: "tool_result", tool_use_id: call.id, content: text });
const names = (calls) => calls.map((call) => [call.name, call.input]);

for (const streamed of [false, true]) {
  const where = `messages, ${streamed ? "streamed" : "whole"}`;
  await check(`${where}: text`, async () => {
    const { text, calls } = await say([user("Hello there, wörld")], streamed);
    assert.match(text, / here\. You said: Hello there, wörld$/);
    assert.deepEqual(calls, []);
  });
  await check(`${where}: a tool is called and its result is heard`, async () => {
    const said = [user('think first, then call weather with {"city":"Oslo"}')];
    const { calls } = await say(said, streamed, { tools });
    assert.deepEqual(names(calls), [["weather", { city: "Oslo" }]]);
    said.push(user([result(calls[0], "sunny")]));
    assert.match((await say(said, streamed, { tools })).text, / here\. The tool answered: sunny$/);
    said.push(user("And tomorrow?"));
    assert.match((await say(said, streamed, { tools })).text, / here\. You said: And tomorrow\?$/);
  });
  await check(`${where}: parallel calls are answered in any order`, async () => {
    const said = [user('call weather with {"city":"Oslo"} and call news with {}')];
    const { calls } = await say(said, streamed, { tools });
    assert.deepEqual(names(calls), [["weather", { city: "Oslo" }], ["news", {}]]);
    said.push(user(calls.map((call) => result(call, `of ${call.name}`)).reverse()));
    assert.match((await say(said, streamed, { tools })).text, / here\. The tool answered: of /);
  });
  await check(`${where}: a bad request has its field named`, async () => {
    await assert.rejects(say([{ role: 7, content: "Hello" }], streamed), (error) => {
      assert(error instanceof Anthropic.BadRequestError, `${error}`);
      assert.match(error.message, /messages\W0\W.*role/);
      return true;
    });
  });
}

await check("a wrong token is an authentication error", async () => {
  const stranger = sdk.withOptions({ apiKey: "wrong" });
  await assert.rejects(stranger.messages.create({ model, max_tokens: 10, messages: [user("Hello")] }), (error) => {
    assert(error instanceof Anthropic.AuthenticationError, `${error}`);
    return true;
  });
});

await check("models are listed", async () => {
  const ids = [];
  for await (const entry of sdk.models.list()) ids.push(entry.id);
  assert(ids.includes(model), `${ids}`);
});

await check("tokens are counted", async () => {
  const count = await sdk.messages.countTokens({ model, messages: [user("Hello there ".repeat(100))] });
  assert(count.input_tokens > 200 && count.input_tokens < 400, `${count.input_tokens}`);
});

if (CONTROL && SERVING) {
  await check("an answer that breaks off is no answer", async () => {
    await script("error_mid_stream");
    await assert.rejects(say([user("say 20 words")], true), (error) => {
      assert(error instanceof Anthropic.APIError, `${error}`);
      assert.match(error.message, /broke off in the middle of its answer/);
      return true;
    });
  });
  await check("when nothing is left it is a rate limit that says how long", async () => {
    await script("429", { retry_after: "20" });
    await assert.rejects(say([user("Hello")], true), (error) => {
      assert(error instanceof Anthropic.RateLimitError, `${error}`);
      const wait = Number(error.headers.get("retry-after"));
      assert(wait >= 1 && wait <= 20, `retry-after: ${wait}`);
      return true;
    });
  });
}
