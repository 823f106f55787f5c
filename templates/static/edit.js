// What the pages that change something share: requests to the admin API, what went wrong said where it belongs, the
// page renewed without being loaded again, and questions before what can't be undone.

const csrf = document.querySelector("input[name=csrf]");

/** Somebody asked for the page anew, whatever is on it. */
export let leaving = false;

export class Refusal extends Error {
  constructor(status, error) {
    super(error.message || `chain429 answered with status ${status}.`);
    this.status = status;
    this.faults = error.faults || [];
    this.usedBy = error.used_by || null;
  }
}

async function call(method, path, body, headers, signal) {
  let answer;
  try {
    answer = await fetch(`/admin/api/${path}`, {
      method,
      headers: { "x-chain429-csrf": csrf ? csrf.value : "", "Content-Type": "application/json", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal && signal.aborted) throw error;
    throw new Refusal(0, { message: "chain429 can't be reached. Is it still running?" });
  }
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Refusal(answer.status, told.error || {});
  }
  return answer;
}

/** The answer of a route that changes no configuration. Throws Refusal. */
export async function ask(method, path, body) {
  return (await call(method, path, body)).json();
}

/** Its answer as it comes, until `signal` breaks it off. Throws Refusal. */
export function open(method, path, body, signal) {
  return call(method, path, body, {}, signal);
}

/** Changes the configuration, unless it is another by now than the page shows. Throws Refusal. */
export async function change(method, path, body) {
  const version = document.getElementById("version");
  const answer = await call(method, path, body, { "If-Match": `"${version.value}"` });
  const told = await answer.json();
  version.value = told.version;
  return told;
}

/** A path's part out of any name. */
export const part = encodeURIComponent;

export function make(tag, attributes = {}, ...content) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...content);
  return element;
}

/** Read aloud, and shown to nobody. */
export function announce(text) {
  document.getElementById("said").textContent = text;
}

/**
 * Says what went wrong in the element of class "faults" within `place`. Fields are marked that a fault is about: those
 * with a `data-fault` that the end of the fault's key has.
 */
export function report(error, place) {
  const box = place.querySelector(".faults");
  const lines = [error.message];
  if (error.faults && error.faults.length) {
    lines.length = 0;
    for (const fault of error.faults) {
      const key = fault.key || "";
      const field = [...place.querySelectorAll("[data-fault]")].find((each) => ends(key, each.dataset.fault));
      if (field) {
        field.setAttribute("aria-invalid", "true");
        field.setAttribute("aria-describedby", box.id);
      }
      lines.push(key ? `${key}: ${fault.message}` : fault.message);
    }
  }
  box.replaceChildren(...lines.map((line) => make("p", {}, line)));
  if (error.status === 409 && !error.usedBy) {
    const again = make("button", { type: "button", class: "quiet" }, "Show it as it is now");
    again.addEventListener("click", () => {
      leaving = true;
      location.reload();
    });
    box.append(again);
  }
  box.hidden = false;
  box.scrollIntoView({ block: "nearest" });
}

function ends(key, wanted) {
  return key === wanted || key.endsWith(`.${wanted}`);
}

export function forgive(place) {
  const box = place.querySelector(".faults");
  box.hidden = true;
  box.replaceChildren();
  for (const field of place.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-describedby");
  }
}

/** Does `work` with the button held, and says in `place` what went wrong. True where nothing did. */
export async function attempt(place, button, work) {
  if (button && button.getAttribute("aria-busy") === "true") return false;
  forgive(place);
  if (button) button.setAttribute("aria-busy", "true");
  try {
    await work();
    return true;
  } catch (error) {
    report(error, place);
    return false;
  } finally {
    if (button) button.removeAttribute("aria-busy");
  }
}

/** This page as the server makes it now. */
export async function served() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

/** Puts what the server says now in the place of the elements of the class "renewed", which have ids. */
export async function renew() {
  const page = await served();
  for (const old of document.querySelectorAll(".renewed")) {
    const fresh = page.getElementById(old.id);
    if (!fresh) continue;
    old.replaceWith(document.adoptNode(fresh));
    fresh.dispatchEvent(new CustomEvent("renewed", { bubbles: true }));
  }
}

/** Asks before something is done; `word` is on the button that does it. */
export function sure(question, word) {
  const dialog = document.getElementById("sure");
  dialog.querySelector("p").textContent = question;
  dialog.querySelector("[value=yes]").textContent = word;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((answer) => {
    dialog.addEventListener("close", () => answer(dialog.returnValue === "yes"), { once: true });
  });
}

/** Deletes what `path` leads to, once people said that they want it; where it is in use, they are asked again. */
export async function remove(path, question) {
  if (!(await sure(question, "Delete"))) return false;
  try {
    await change("DELETE", path);
  } catch (error) {
    if (!(error instanceof Refusal) || !error.usedBy) throw error;
    const { chains, aliases } = error.usedBy;
    const users = [...chains.map((name) => `chain ${name}`), ...aliases.map((name) => `alias ${name}`)].join(", ");
    if (!(await sure(`It is still used by ${users}. Take it out of there, too?`, "Take it out"))) return false;
    await change("DELETE", `${path}?force=1`);
  }
  return true;
}
