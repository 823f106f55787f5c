// Saves settings, makes client tokens, takes a configuration over; all over the admin API.
import { announce, attempt, change, part, remove, renew, sure } from "./edit.js";

const tokens = document.getElementById("tokens");
const hosts = document.getElementById("hosts");
const hostList = document.getElementById("host-list");
const importing = document.getElementById("import");

function said(form, words) {
  form.querySelector(".told").textContent = words;
}

// Copying needs a page that the browser trusts: this machine's, or one over TLS.

for (const button of document.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  announce("Copied.");
  button.firstChild.textContent = "Copied";
});

// Tokens

async function makeToken() {
  const { token } = await change("POST", "tokens");
  document.getElementById("token").textContent = token;
  document.getElementById("lines-token").textContent = `export CHAIN429_TOKEN=${token}`;
  document.getElementById("new-token").hidden = false;
  await renew();
}

async function deleteToken(name) {
  if (!(await remove(`tokens/${part(name)}`, `Delete ${name}? Clients that show it are refused from then on.`))) return;
  await renew();
  announce(`${name} is deleted.`);
}

tokens.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-do]");
  if (!button) return;
  attempt(tokens, button, () => (button.dataset.do === "make-token" ? makeToken() : deleteToken(button.dataset.name)));
});

// Settings: what was changed is sent, nothing else; an empty field takes the setting out of the file.

function valueOf(field) {
  if (field.type === "checkbox") return field.checked;
  const text = field.value.trim();
  if (text === "") return null;
  return field.type === "number" ? Number(text) : text;
}

function isChanged(field) {
  return field.type === "checkbox" ? field.checked !== field.defaultChecked : field.value !== field.defaultValue;
}

function settle(field) {
  field.defaultValue = field.value;
  field.defaultChecked = field.checked;
}

for (const form of document.querySelectorAll("[data-form=settings]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const changed = [...form.elements].filter((field) => field.name && isChanged(field));
    said(form, changed.length ? "" : "Nothing was changed.");
    if (!changed.length) return;
    const body = {};
    for (const field of changed) {
      const names = field.name.split(".");
      const last = names.pop();
      names.reduce((inner, name) => (inner[name] ??= {}), body)[last] = valueOf(field);
    }
    attempt(form, event.submitter, async () => {
      await change("PUT", "settings", body);
      changed.forEach(settle);
      said(form, "Saved.");
    });
  });
}

// Covered hosts

function written() {
  const found = {};
  for (const row of hostList.children) {
    const host = row.querySelector("[name=host]").value.trim();
    if (host) found[host] = row.querySelector("[name=use]").value;
  }
  return found;
}

let before = written();

hosts.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-do]");
  if (!button) return;
  if (button.dataset.do === "add-host") {
    hostList.append(document.getElementById("new-host").content.cloneNode(true));
    hostList.lastElementChild.querySelector("input").focus();
  } else {
    const row = button.closest("li");
    const next = row.nextElementSibling || row.previousElementSibling;
    row.remove();
    (next ? next.querySelector("input") : hosts.querySelector("[data-do=add-host]")).focus();
    announce("Taken out, once it is saved.");
  }
});

hosts.addEventListener("submit", (event) => {
  event.preventDefault();
  const now = written();
  const gone = Object.keys(before).filter((host) => !(host in now));
  // Where nothing is said of any of them, the file has a list.
  const plain = Object.values(now).every((use) => use === "");
  const told = plain ? Object.keys(now) : { ...Object.fromEntries(gone.map((host) => [host, null])), ...now };
  attempt(hosts, event.submitter, async () => {
    await change("PUT", "settings", { proxy: { hosts: told } });
    before = now;
    said(hosts, "Saved.");
  });
});

// The whole file

importing.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(importing, event.submitter, async () => {
    const text = await importing.elements.file.files[0].text();
    if (!(await sure("Put this file in the place of the one that is there? That one is kept as .bak.", "Import"))) return;
    await change("POST", "config/import", { text });
    location.reload();
  });
});
