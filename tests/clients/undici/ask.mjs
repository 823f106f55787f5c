// undici with a proxy agent: asks for a whole answer and a stream by way of the proxy, or leaves a stream when told to.
import { readFileSync } from "node:fs";
import { ProxyAgent, fetch } from "undici";

const [proxy, certificate, leave] = process.argv.slice(2);
const dispatcher = new ProxyAgent({
  uri: proxy,
  requestTls: { ca: readFileSync(certificate) },
  allowH2: process.env.HTTP2 === "1",
});

function ask(more) {
  const body = { model: "gpt-4o", messages: [{ role: "user", content: "Hello" }], ...more };
  return fetch("https://api.openai.com/v1/chat/completions", {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${process.env.OPENAI_API_KEY}` },
    body: JSON.stringify(body),
    dispatcher,
  });
}

const text = (line) => JSON.parse(line.slice(6)).choices[0]?.delta.content ?? "";

if (leave) {
  const answer = await ask({ stream: true });
  const reader = answer.body.getReader();
  const { value } = await reader.read();
  process.stdout.write(JSON.stringify({ first: new TextDecoder().decode(value) }));
  await reader.cancel();
} else {
  const whole = (await (await ask()).json()).choices[0].message.content;
  const streamed = await (await ask({ stream: true })).text();
  const lines = streamed.split("\n").filter((line) => line.startsWith("data: {"));
  process.stdout.write(JSON.stringify({ whole, pieces: lines.map(text) }));
}
await dispatcher.destroy();
