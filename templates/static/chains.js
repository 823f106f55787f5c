// Puts chains into another order, by dragging and by keyboard. What is on the page is the draft; "Save" sends it.
import { announce, ask, attempt, change, forgive, leaving, part, remove, served } from "./edit.js";

const cards = document.getElementById("chain-list");

// A chain's draft: its tiers from top to bottom

const rungsOf = (card) => [...card.querySelectorAll(".rung")];
const targetsOf = (rung) => [...rung.querySelectorAll("[data-target]")].map((peer) => peer.dataset.target);

function draft(card) {
  const affinity = card.querySelector("[name=affinity]").value;
  return { tiers: rungsOf(card).map(targetsOf), affinity: affinity === "" ? null : affinity === "true" };
}

const saved = new WeakMap();

function isChanged(card) {
  return JSON.stringify(draft(card)) !== saved.get(card);
}

/** Names the buttons after what they do now, and shows whether something is to be saved. */
function dress(card) {
  const rungs = rungsOf(card);
  rungs.forEach((rung, index) => {
    const targets = targetsOf(rung);
    const names = targets.join(" and ");
    const button = (name) => rung.querySelector(`[data-do=${name}]`);
    button("up").disabled = index === 0;
    button("down").disabled = index === rungs.length - 1;
    button("join").hidden = index === 0;
    button("up").setAttribute("aria-label", `Move ${names} up`);
    button("down").setAttribute("aria-label", `Move ${names} down`);
    button("join").setAttribute("aria-label", `Same rank as above: ${names}`);
    for (const peer of rung.querySelectorAll(".peer")) {
      peer.querySelector("[data-do=out]").setAttribute("aria-label", `Take ${peer.dataset.target} out`);
      const apart = peer.querySelector("[data-do=apart]");
      apart.hidden = targets.length < 2;
      apart.setAttribute("aria-label", `Own rank: ${peer.dataset.target}`);
    }
  });
  const changed = isChanged(card);
  for (const each of card.querySelectorAll("[data-do=save], [data-do=undo], .unsaved")) each.hidden = !changed;
}

function begin(card) {
  saved.set(card, JSON.stringify(draft(card)));
  dress(card);
}

function place(rung) {
  const rungs = rungsOf(rung.closest("article"));
  return `${targetsOf(rung).join(" and ")} is now ${rungs.indexOf(rung) + 1} of ${rungs.length}.`;
}

function newRung(target) {
  const rung = document.getElementById("new-rung").content.firstElementChild.cloneNode(true);
  const peer = rung.querySelector(".peer");
  peer.dataset.target = target;
  peer.querySelector("code").textContent = target;
  return rung;
}

// What the buttons do

const moves = {
  up(rung, button) {
    rung.previousElementSibling.before(rung);
    return { focus: button, say: place(rung) };
  },
  down(rung, button) {
    rung.nextElementSibling.after(rung);
    return { focus: button, say: place(rung) };
  },
  join(rung) {
    const above = rung.previousElementSibling;
    above.querySelector(".peers").append(...rung.querySelectorAll(".peer"));
    rung.remove();
    return { focus: above.querySelector(".peer:last-child [data-do=apart]"), say: `${targetsOf(above).join(" and ")} are of the same rank.` };
  },
  apart(rung, button) {
    const peer = button.closest(".peer");
    const own = newRung(peer.dataset.target);
    peer.remove();
    rung.after(own);
    return { focus: own.querySelector("[data-do=join]"), say: place(own) };
  },
  out(rung, button) {
    const peer = button.closest(".peer");
    const card = rung.closest("article");
    const focus = (rung.nextElementSibling || rung.previousElementSibling || card).querySelector("[data-do=out], [name=target]");
    if (targetsOf(rung).length > 1) peer.remove();
    else rung.remove();
    return { focus: rung.isConnected ? rung.querySelector("[data-do=out]") : focus, say: `${peer.dataset.target} is taken out.` };
  },
};

function usable(button) {
  if (!button.disabled && !button.hidden) return button;
  return button.parentElement.querySelector("[data-do=up]:enabled, [data-do=down]:enabled") || button;
}

function undo(card) {
  const { tiers, affinity } = JSON.parse(saved.get(card));
  const rungs = tiers.map(([first, ...others]) => {
    const rung = newRung(first);
    rung.querySelector(".peers").append(...others.map((target) => newRung(target).querySelector(".peer")));
    return rung;
  });
  card.querySelector(".rungs").replaceChildren(...rungs);
  card.querySelector("[name=affinity]").value = affinity === null ? "" : String(affinity);
  forgive(card);
  dress(card);
}

async function save(card) {
  const sent = draft(card);
  for (const rung of rungsOf(card)) rung.classList.remove("wrong");
  try {
    await change("PUT", `chains/${part(card.dataset.chain)}`, sent);
  } catch (error) {
    for (const fault of error.faults || []) {
      const number = /\.(\d+)$/.exec(fault.key || "");
      const rung = number && rungsOf(card)[Number(number[1])];
      if (rung) rung.classList.add("wrong");
    }
    throw error;
  }
  saved.set(card, JSON.stringify(sent));
  dress(card);
  announce(`${card.dataset.chain} is saved.`);
}

async function removeChain(card) {
  const name = card.dataset.chain;
  if (!(await remove(`chains/${part(name)}`, `Delete the chain ${name}?`))) return;
  // Aliases may have gone with it.
  await renewAliases();
  card.remove();
  announce(`${name} is deleted.`);
  document.getElementById("main").focus();
}

cards.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-do]");
  if (!button) return;
  const card = button.closest("article");
  const rung = button.closest(".rung");
  if (rung) {
    const { focus, say } = moves[button.dataset.do](rung, button);
    dress(card);
    if (focus) usable(focus).focus();
    announce(say);
  } else if (button.dataset.do === "undo") {
    undo(card);
    card.querySelector("[name=target]").focus();
    announce("As it was.");
  } else {
    attempt(card, button, () => (button.dataset.do === "save" ? save(card) : removeChain(card)));
  }
});

cards.addEventListener("change", (event) => {
  if (event.target.name === "affinity") dress(event.target.closest("article"));
});

cards.addEventListener("submit", (event) => {
  const form = event.target.closest("[data-form=target]");
  event.preventDefault();
  const card = form.closest("article");
  const rung = newRung(form.elements.target.value.trim());
  card.querySelector(".rungs").append(rung);
  form.reset();
  dress(card);
  announce(place(rung));
});

// Dragging

cards.addEventListener("pointerdown", (event) => {
  const grip = event.target.closest(".grip");
  if (!grip || event.button !== 0) return;
  event.preventDefault();
  const rung = grip.closest(".rung");
  const list = rung.parentElement;
  const home = rung.nextElementSibling;
  const ending = new AbortController();
  const options = { signal: ending.signal };
  rung.classList.add("held");
  list.setPointerCapture(event.pointerId);

  function move({ clientY }) {
    if (clientY < 60) window.scrollBy(0, -12);
    else if (clientY > innerHeight - 60) window.scrollBy(0, 12);
    const others = [...list.children].filter((each) => each !== rung);
    const below = others.find((each) => {
      const { top, height } = each.getBoundingClientRect();
      return clientY < top + height / 2;
    });
    if ((below || null) !== rung.nextElementSibling) list.insertBefore(rung, below || null);
  }

  function end(put) {
    ending.abort();
    rung.classList.remove("held");
    if (!put) list.insertBefore(rung, home);
    dress(list.closest("article"));
    announce(place(rung));
  }

  list.addEventListener("pointermove", move, options);
  list.addEventListener("pointerup", () => end(true), options);
  list.addEventListener("pointercancel", () => end(false), options);
  document.addEventListener("keydown", (key) => { if (key.key === "Escape") end(false); }, options);
});

// New chains, aliases

async function showChain(name) {
  const fresh = (await served()).getElementById(`chain-${name}`);
  const none = document.getElementById("no-chain");
  if (none) none.remove();
  cards.append(document.adoptNode(fresh));
  begin(fresh);
  fresh.querySelector("[name=target]").focus();
}

const addingChain = document.getElementById("add-chain");
addingChain.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(addingChain, event.submitter, async () => {
    const name = addingChain.elements.name.value.trim();
    if (document.getElementById(`chain-${name}`)) throw new Error(`There is a chain ${name} already.`);
    await change("PUT", `chains/${part(name)}`, { tiers: [[addingChain.elements.target.value.trim()]] });
    addingChain.reset();
    await showChain(name);
    announce(`${name} is made.`);
  });
});

const aliases = document.getElementById("aliases");

async function renewAliases() {
  const fresh = (await served()).getElementById("alias-list");
  document.getElementById("alias-list").replaceWith(document.adoptNode(fresh));
}

aliases.addEventListener("input", (event) => {
  const form = event.target.closest("[data-form=alias]");
  if (form) form.querySelector("[type=submit]").hidden = form.elements.to.value === form.elements.to.defaultValue;
});

aliases.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  attempt(form, event.submitter, async () => {
    const row = form.closest("[data-alias]");
    const name = row ? row.dataset.alias : form.elements.name.value.trim();
    await change("PUT", `aliases/${part(name)}`, { to: form.elements.to.value.trim() });
    if (!row) form.reset();
    await renewAliases();
    announce(`${name} is saved.`);
  });
});

aliases.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do=delete-alias]");
  if (!button) return;
  const name = button.closest("[data-alias]").dataset.alias;
  attempt(button.closest("form"), button, async () => {
    if (!(await remove(`aliases/${part(name)}`, `Delete the alias ${name}?`))) return;
    await renewAliases();
    announce(`${name} is deleted.`);
  });
});

// Providers are asked for their models when somebody is about to name one.

const targets = document.getElementById("targets");

document.addEventListener("focusin", (event) => {
  if (event.target.getAttribute("list") !== "targets" || !targets.dataset.ask) return;
  const providers = targets.dataset.ask.split(" ");
  targets.dataset.ask = "";
  for (const provider of providers) offer(provider);
});

async function offer(provider) {
  const known = new Set([...targets.options].map((option) => option.value));
  const { models } = await ask("GET", `providers/${part(provider)}/models`).catch(() => ({ models: [] }));
  for (const { id } of models) {
    if (!known.has(`${provider}/${id}`)) targets.append(new Option("", `${provider}/${id}`));
  }
}

addEventListener("beforeunload", (event) => {
  if (!leaving && [...cards.querySelectorAll("article")].some(isChanged)) event.preventDefault();
});

for (const card of cards.querySelectorAll("article")) begin(card);
