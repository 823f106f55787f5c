// The OpenAI SDK for Node through the gateway: chat.completions and responses, before a provider of any dialect.
//
// Reads BASE_URL (the gateway, without /v1) and TOKEN; where CONTROL (the simulator's control API) and SERVING (the
// provider that answers) are told, too, that provider is made to fail at the end. One line for each check; the first
// that fails ends it.

import assert from "node:assert/strict";
import OpenAI from "openai";

const { BASE_URL, TOKEN, CONTROL, SERVING } = process.env;
assert(BASE_URL && TOKEN, "BASE_URL and TOKEN must be set");
const sdk = new OpenAI({ baseURL: `${BASE_URL}/v1`, apiKey: TOKEN, maxRetries: 0, timeout: 20_000 });
const model = "default";
const city = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const nothing = { type: "object", properties: {}, required: [], additionalProperties: false };
const OSLO_AND_NEWS = 'call weather with {"city":"Oslo"} and call news with {}';
const stateless = { store: false, include: ["reasoning.encrypted_content"] };

// Each gives {text, calls: [[id, name, arguments]], end} and appends the answer to the conversation, as the SDK gave it.
const chat = {
  name: "chat.completions",
  tools: [
    { type: "function", function: { name: "weather", parameters: city, strict: true } },
    { type: "function", function: { name: "news", parameters: nothing, strict: true } },
  ],
  field: "messages",
  result: (id, text) => ({ role: "tool", tool_call_id: id, content: text }),
  async say(said, streamed, more = {}) {
    const asked = { model, messages: said, ...more };
    let completion;
    let pieces = "";
    if (streamed) {
      const stream = sdk.chat.completions.stream({ ...asked, stream_options: { include_usage: true } });
      stream.on("content", (piece) => (pieces += piece));
      completion = await stream.finalChatCompletion();
    } else {
      completion = await sdk.chat.completions.create(asked);
      pieces = completion.choices[0].message.content ?? "";
    }
    const { message, finish_reason: end } = completion.choices[0];
    said.push(message);
    assert.equal(pieces, message.content ?? "");
    assert(completion.usage.prompt_tokens > 0 && completion.usage.completion_tokens > 0, "no usage");
    const calls = (message.tool_calls ?? []).map((call) => [call.id, call.function.name, call.function.arguments]);
    return { text: message.content ?? "", calls, called: end === "tool_calls" };
  },
};

const responses = {
  name: "responses",
  tools: [
    { type: "function", name: "weather", parameters: city, strict: true },
    { type: "function", name: "news", parameters: nothing, strict: true },
  ],
  field: "input",
  result: (id, text) => ({ type: "function_call_output", call_id: id, output: text }),
  async say(said, streamed, more = {}) {
    const asked = { model, input: said, ...stateless, ...more };
    let response;
    let pieces = "";
    if (streamed) {
      const stream = sdk.responses.stream(asked);
      stream.on("response.output_text.delta", (event) => (pieces += event.delta));
      // For the SDK this is an event as any other.
      stream.on("response.failed", (event) => (responses.failure = event.response.error.message));
      response = await stream.finalResponse();
    } else {
      response = await sdk.responses.create(asked);
      pieces = response.output_text;
    }
    assert.equal(response.status, "completed");
    said.push(...response.output);
    assert.equal(pieces, response.output_text);
    assert(response.usage.input_tokens > 0 && response.usage.output_tokens > 0, "no usage");
    const found = response.output.filter((item) => item.type === "function_call");
    const calls = found.map((item) => [item.call_id, item.name, item.arguments]);
    return { text: response.output_text, calls, called: calls.length > 0 };
  },
};

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

const user = (text) => ({ role: "user", content: text });

for (const api of [chat, responses]) {
  for (const streamed of [false, true]) {
    const where = `${api.name}, ${streamed ? "streamed" : "whole"}`;
    await check(`${where}: text`, async () => {
      const { text, calls } = await api.say([user("Hello there, wörld")], streamed);
      assert.match(text, / here\. You said: Hello there, wörld$/);
      assert.deepEqual(calls, []);
    });
    await check(`${where}: a tool is called and its result is heard`, async () => {
      const said = [user('think first, then call weather with {"city":"Oslo"}')];
      const { calls, called } = await api.say(said, streamed, { tools: api.tools });
      assert(called, "it did not end for a call");
      assert.deepEqual(calls.map(([, name, told]) => [name, JSON.parse(told)]), [["weather", { city: "Oslo" }]]);
      said.push(api.result(calls[0][0], "sunny"));
      assert.match((await api.say(said, streamed, { tools: api.tools })).text, / here\. The tool answered: sunny$/);
      said.push(user("And tomorrow?"));
      assert.match((await api.say(said, streamed, { tools: api.tools })).text, / here\. You said: And tomorrow\?$/);
    });
    await check(`${where}: parallel calls are answered in any order`, async () => {
      const said = [user(OSLO_AND_NEWS)];
      const { calls } = await api.say(said, streamed, { tools: api.tools });
      const told = calls.map(([, name, text]) => [name, JSON.parse(text)]);
      assert.deepEqual(told, [["weather", { city: "Oslo" }], ["news", {}]]);
      said.push(...calls.map(([id, name]) => api.result(id, `of ${name}`)).reverse());
      assert.match((await api.say(said, streamed, { tools: api.tools })).text, / here\. The tool answered: of /);
    });
    await check(`${where}: a bad request has its field named`, async () => {
      await assert.rejects(api.say([{ role: 7, content: "Hello" }], streamed), (error) => {
        assert(error instanceof OpenAI.BadRequestError, `${error}`);
        assert.equal(error.param, `${api.field}[0].role`);
        return true;
      });
    });
  }
}

await check("a wrong token is an authentication error", async () => {
  const stranger = sdk.withOptions({ apiKey: "wrong" });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
});

await check("models are listed", async () => {
  const ids = [];
  for await (const entry of sdk.models.list()) ids.push(entry.id);
  assert(ids.includes(model), `${ids}`);
});

if (CONTROL && SERVING) {
  for (const api of [chat, responses]) {
    await check(`${api.name}: an answer that breaks off is no answer`, async () => {
      await script("error_mid_stream");
      await assert.rejects(api.say([user("say 20 words")], true), (error) => {
        assert.match(api.failure ?? error.message, /broke off in the middle of its answer/);
        return true;
      });
    });
  }
  await check("when nothing is left it is a rate limit that says how long", async () => {
    await script("429", { retry_after: "20" });
    for (const api of [chat, responses]) {
      await assert.rejects(api.say([user("Hello")], true), (error) => {
        assert(error instanceof OpenAI.RateLimitError, `${error}`);
        const wait = Number(error.headers.get("retry-after"));
        assert(wait >= 1 && wait <= 20, `retry-after: ${wait}`);
        return true;
      });
    }
  });
}
