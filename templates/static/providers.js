// Adds providers and keys, tries keys, shows models; all over the admin API.
import { Refusal, announce, ask, attempt, change, forgive, make, part, remove, renew } from "./edit.js";

const live = document.getElementById("live");
const adding = document.getElementById("add-provider");
const added = document.getElementById("added");

// A reference to where a key is kept stands as it is; anything else is the key.
const reference = /^(env|file|secret):./;

function keyOf(text) {
  return reference.test(text) ? { key: text } : { secret: text };
}

function filled(form, names) {
  const told = {};
  for (const name of names) {
    const value = form.elements[name].value.trim();
    if (value) told[name] = value;
  }
  return told;
}

// Adding one

function about() {
  return [...adding.querySelectorAll("[data-preset]")].find((each) => each.dataset.preset === adding.elements.preset.value);
}

function freeName(wanted) {
  const taken = new Set([...document.querySelectorAll("article[data-id]")].map((card) => card.dataset.id));
  if (!taken.has(wanted)) return wanted;
  let number = 2;
  while (taken.has(`${wanted}-${number}`)) number += 1;
  return `${wanted}-${number}`;
}

function chosen() {
  const preset = adding.elements.preset.value;
  for (const each of adding.querySelectorAll("[data-preset]")) each.hidden = each.dataset.preset !== preset;
  for (const each of adding.querySelectorAll("[data-custom]")) each.hidden = preset !== "";
  adding.elements.base_url.required = preset === "";
  // There must be a chain: of most providers it is known which models belong into the first one.
  const first = adding.querySelector("[data-first]");
  if (first) {
    first.hidden = preset !== "" && "models" in about().dataset;
    adding.elements.model.required = !first.hidden;
  }
  adding.elements.name.value = freeName(preset || "home");
  forgive(adding);
}

async function add() {
  const preset = adding.elements.preset.value;
  const name = adding.elements.name.value.trim();
  const body = preset ? { preset } : filled(adding, ["base_url", "dialect"]);
  const secret = adding.elements.secret.value.trim();
  if (secret) body.keys = [keyOf(secret)];
  const variables = {};
  for (const input of preset ? about().querySelectorAll("[data-variable]") : []) {
    if (input.value.trim()) variables[input.dataset.variable] = input.value.trim();
  }
  if (Object.keys(variables).length) body.variables = variables;
  if (adding.elements.model && adding.elements.model.required) body.default_models = [adding.elements.model.value.trim()];
  if (document.getElementById(`provider-${name}`)) {
    throw new Refusal(0, { message: `There is a provider named ${name} already: choose another name, or add the key to it.` });
  }
  await change("PUT", `providers/${part(name)}`, body);
  adding.reset();
  adding.querySelector("[data-first]")?.remove(); // there is a chain now
  await renew();
  chosen();
  await showAdded(name);
}

async function showAdded(name) {
  added.hidden = false;
  added.replaceChildren(make("p", {}, make("strong", {}, name), " is added. Its models are being looked up …"));
  let told;
  try {
    told = await ask("GET", `providers/${part(name)}/models`);
  } catch (error) {
    const words = make("p", {}, make("strong", {}, name), " is added, but it did not give its models.");
    added.replaceChildren(words, make("p", { class: "problem" }, error.message));
    return;
  }
  added.replaceChildren(
    make("p", {}, make("strong", {}, name), ` is added and has ${count(told.models.length)}. Put those that you want into `,
      make("a", { href: "/chains" }, "a chain"), "."),
    models(name, told),
  );
}

// Models

function count(number) {
  return number === 1 ? "1 model" : `${number} models`;
}

function models(provider, told) {
  if (!told.models.length) return make("p", { class: "soft" }, "It names no models.");
  const list = make("ul", { class: "model-list" });
  for (const model of told.models) {
    const can = [];
    if (model.tools) can.push("tools");
    if (model.images) can.push("images");
    if (model.reasoning) can.push("reasoning");
    if (model.context) can.push(`${model.context.toLocaleString("en")} tokens`);
    const target = `${provider}/${model.id}`;
    list.append(make("li", {},
      make("code", {}, model.id),
      ...(can.length ? [" ", make("span", { class: "soft" }, can.join(" · "))] : []),
      " ",
      make("a", { href: `/playground?model=${part(target)}` }, "Try", make("span", { class: "unseen" }, ` ${target}`)),
    ));
  }
  const box = make("div", { class: "scroll-y", tabindex: "0", role: "region", "aria-label": `Models of ${provider}` }, list);
  if (told.models.length < 12) return box;
  const search = make("input", { type: "search", placeholder: "Find a model", "aria-label": `Find a model of ${provider}` });
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    for (const row of list.children) row.hidden = !row.querySelector("code").textContent.toLowerCase().includes(wanted);
  });
  return make("div", {}, search, box);
}

async function showModels(details) {
  const box = details.querySelector(".models");
  if (!details.open || box.childElementCount) return;
  const provider = details.closest("article").dataset.id;
  box.replaceChildren(make("p", { class: "soft" }, "Asking …"));
  try {
    box.replaceChildren(models(provider, await ask("GET", `providers/${part(provider)}/models`)));
  } catch (error) {
    box.replaceChildren(make("p", { class: "problem" }, error.message));
  }
}

// What the buttons of a provider do

const actions = {
  async test({ path, told, button }) {
    const credential = button.closest("[data-credential]").dataset.credential;
    told.textContent = `Trying ${credential} …`;
    const found = await ask("POST", `${path}/keys/${part(credential)}/test`);
    const mark = !found.tried ? "·" : found.works ? "✓" : "✕";
    told.className = found.tried && !found.works ? "told problem" : "told";
    told.textContent = `${mark} ${credential}: ${found.words}${found.tried ? ` (${found.seconds.toFixed(2)} s)` : ""}`;
  },
  async clear({ button }) {
    await ask("POST", "limits/clear", { target: button.dataset.target, credential: button.dataset.credential });
    announce("Cleared.");
  },
  async reset({ card }) {
    await ask("POST", `breakers/${part(card.dataset.id)}/reset`);
    announce("The breaker is closed.");
  },
  async enable({ path }) {
    await change("PUT", path, { enabled: true });
    await renew();
    announce("Enabled.");
  },
  async disable({ path }) {
    await change("PUT", path, { enabled: false });
    await renew();
    announce("Disabled.");
  },
  async delete({ card, path }) {
    if (!(await remove(path, `Delete ${card.dataset.id} with its keys?`))) return;
    await renew();
    announce(`${card.dataset.id} is deleted.`);
    document.getElementById("main").focus();
  },
  async "delete-key"({ path, button }) {
    const credential = button.closest("[data-credential]").dataset.credential;
    if (!(await remove(`${path}/keys/${part(credential)}`, `Delete the key ${credential}?`))) return;
    await renew();
    announce("The key is deleted.");
  },
};

live.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-do]");
  if (!button) return;
  const card = button.closest("article");
  const told = card.querySelector(".told");
  told.textContent = "";
  const path = `providers/${part(card.dataset.id)}`;
  attempt(card, button, () => actions[button.dataset.do]({ card, path, told, button }));
});

live.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-form=key]");
  if (!form) return;
  event.preventDefault();
  const provider = form.closest("article").dataset.id;
  attempt(form, event.submitter, async () => {
    await change("POST", `providers/${part(provider)}/keys`, { ...keyOf(form.elements.secret.value.trim()), ...filled(form, ["account"]) });
    await renew();
    announce(`${provider} has one more key.`);
  });
});

live.addEventListener("toggle", (event) => {
  if (event.target.matches("[data-models]")) showModels(event.target);
}, true);

adding.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(adding, event.submitter, add);
});
adding.elements.preset.addEventListener("change", chosen);
chosen();
