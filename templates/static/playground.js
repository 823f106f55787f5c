// Sends a prompt, shows the answer while it comes, and then who served it.
import { announce, attempt, make, open } from "./edit.js";

const form = document.getElementById("ask");
const stop = document.getElementById("stop");
const at = (id) => document.getElementById(id);

const outcomes = {
  rate_limited: "rate limited",
  quota_spent: "quota spent",
  unauthorized: "key refused",
  too_large: "too large",
  broken: "broke off",
  skipped: "passed over",
};

/** The events of a stream: their name and what they hold. */
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const blocks = held.split("\n\n");
    held = blocks.pop();
    for (const block of blocks) {
      const [name, data] = block.split("\n");
      yield [name.replace("event: ", ""), JSON.parse(data.replace("data: ", ""))];
    }
  }
}

function seconds(value) {
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`;
}

function fact(name, ...content) {
  return make("div", {}, make("dt", {}, name), make("dd", {}, ...content));
}

function target({ provider, model, credential }) {
  return [make("strong", {}, provider), " ", make("code", {}, model), " ", make("span", { class: "soft credential" }, credential)];
}

function attemptRow(tried) {
  const told = [];
  if (tried.status !== null) told.push(String(tried.status));
  if (tried.outcome !== "skipped") told.push(seconds(tried.duration));
  if (tried.reason && tried.outcome !== "served") told.push(tried.reason);
  if (tried.until !== null) told.push(`back at ${new Date(tried.until * 1000).toLocaleTimeString()}`);
  return make("li", {},
    make("p", {}, ...target(tried), " ", make("span", { class: `state s-${tried.outcome}` }, outcomes[tried.outcome] || tried.outcome)),
    make("p", { class: "soft" }, told.join(" · ")),
  );
}

function clear() {
  for (const id of ["words", "reasoning", "wrong"]) at(id).textContent = "";
  for (const id of ["thinking", "wrong", "facts", "trail"]) at(id).hidden = true;
  at("waiting").hidden = false;
  at("waiting").textContent = "Waiting for the first words …";
}

function end(told, chain) {
  at("waiting").hidden = true;
  if (told.error) {
    at("wrong").hidden = false;
    at("wrong").textContent = told.error;
  } else if (told.finish === "length") {
    at("wrong").hidden = false;
    at("wrong").textContent = "It ends here because it was allowed no more tokens.";
  }
  const facts = [
    fact("Served by", ...(told.served ? target(told.served) : ["nobody"])),
    fact("Chain", chain),
    fact("Took", seconds(told.seconds)),
    fact("First token", told.first_token === null ? "none" : seconds(told.first_token)),
    fact("Tokens", told.tokens_in === null ? "not told" : `${told.tokens_in} in, ${told.tokens_out} out`),
  ];
  at("facts").replaceChildren(...facts);
  at("facts").hidden = false;
  at("trail").querySelector("ol").replaceChildren(...told.attempts.map(attemptRow));
  at("logged").href = `/requests/${encodeURIComponent(told.request_id)}`;
  at("trail").hidden = false;
  announce(told.served && !told.error ? `Answered by ${told.served.provider} in ${seconds(told.seconds)}.` : "It was not answered.");
}

async function send(stopping) {
  const body = { model: form.elements.model.value.trim(), prompt: form.elements.prompt.value };
  if (form.elements.system.value.trim()) body.system = form.elements.system.value;
  if (form.elements.max_tokens.value) body.max_tokens = Number(form.elements.max_tokens.value);
  clear();
  announce("Sent.");
  let ended = false;
  let chain = "";
  try {
    for await (const [name, told] of events(await open("POST", "prompt", body, stopping.signal))) {
      if (name === "begin") {
        chain = told.chain;
      } else if (name === "text") {
        at("waiting").hidden = true;
        at("words").append(told.text);
      } else if (name === "reasoning") {
        at("thinking").hidden = false;
        at("waiting").textContent = "It thinks …";
        at("reasoning").append(told.text);
      } else if (name === "end") {
        ended = true;
        end(told, chain);
      }
    }
  } catch (error) {
    at("waiting").hidden = true;
    if (!stopping.signal.aborted) throw error;
    at("waiting").hidden = false;
    at("waiting").textContent = "Stopped.";
    announce("Stopped.");
    return;
  }
  if (!ended) throw new Error("The answer broke off: chain429 may have been stopped.");
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("[type=submit]");
  if (button.getAttribute("aria-busy") === "true") return;
  const stopping = new AbortController();
  const abort = () => stopping.abort();
  stop.hidden = false;
  stop.addEventListener("click", abort);
  at("answer").setAttribute("aria-busy", "true");
  await attempt(form, button, () => send(stopping));
  at("answer").removeAttribute("aria-busy");
  stop.removeEventListener("click", abort);
  if (document.activeElement === stop) button.focus();
  stop.hidden = true;
});

form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
