// Keeps a page true while it is looked at: new content whenever the gateway says that something changed, countdowns
// every second, local times.
"use strict";

const live = document.getElementById("live");
const lost = document.getElementById("lost");
const shown = new Map(); // section id -> its HTML as the server sent it
const retry = 3000;
let ahead = 0; // seconds that the server's clock is ahead of this one
let events = null;
let renewing = false;
let again = false; // something changed while the page was being renewed

function readClock(root) {
  const told = root.querySelector("#now");
  if (told) ahead = Number(told.value) - Date.now() / 1000;
}

function remember(root) {
  for (const section of root.querySelectorAll("section[id]")) shown.set(section.id, section.outerHTML);
}

function localTime(at) {
  const date = new Date(at * 1000);
  const sameDay = date.toDateString() === new Date().toDateString();
  const day = sameDay ? {} : { month: "short", day: "numeric" };
  return date.toLocaleString([], { ...day, hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

function countdown(seconds) {
  if (seconds <= 0) return "back any moment";
  const s = Math.ceil(seconds);
  if (s < 100) return `back in ${s} s`;
  if (s < 6000) return `back in ${Math.ceil(s / 60)} min`;
  const hours = Math.floor(s / 3600);
  if (hours < 48) return `back in ${hours} h ${Math.floor((s % 3600) / 60)} min`;
  return `back in ${Math.floor(hours / 24)} days`;
}

function tick() {
  const now = Date.now() / 1000 + ahead;
  for (const time of live.querySelectorAll("[data-until]")) {
    const text = countdown(Number(time.dataset.until) - now);
    if (time.textContent !== text) time.textContent = text;
    time.title = localTime(Number(time.dataset.until));
  }
}

function dress(root) {
  for (const time of root.querySelectorAll("[data-at]")) {
    time.title = time.textContent;
    time.textContent = localTime(Number(time.dataset.at));
  }
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
  tick();
}

// Where the keyboard is within a section, so that it is there again after the section was replaced.
const focusable = "a[href], summary, button";

function place(section) {
  const active = document.activeElement;
  const keyed = active && active.closest("[data-key]");
  return { key: keyed && keyed.dataset.key, index: [...section.querySelectorAll(focusable)].indexOf(active) };
}

function restore(section, { key, index }) {
  if (index < 0) return;
  const keyed = [...section.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key);
  const target = keyed && (keyed.matches(focusable) ? keyed : keyed.querySelector(focusable));
  const focused = target || section.querySelectorAll(focusable)[index];
  if (focused) focused.focus({ preventScroll: true });
}

function replace(fresh) {
  const old = document.getElementById(fresh.id);
  if (!old) return; // there since the page was made
  const open = new Set([...old.querySelectorAll("details[open]")].map((details) => details.dataset.key));
  const focus = place(old);
  shown.set(fresh.id, fresh.outerHTML);
  for (const details of fresh.querySelectorAll("details")) details.open = open.has(details.dataset.key);
  old.replaceWith(fresh);
  dress(fresh);
  restore(fresh, focus);
}

async function renew() {
  const answer = await fetch(live.dataset.part, { headers: { Accept: "text/html" } });
  if (answer.status === 401) {
    location.assign("/login");
    return;
  }
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  readClock(page);
  for (const fresh of page.querySelectorAll("section[id]")) {
    if (shown.get(fresh.id) !== fresh.outerHTML) replace(document.adoptNode(fresh));
  }
  if (!("title" in live.dataset)) return;
  const headline = live.querySelector("h1").textContent;
  const title = `${headline} · chain429`;
  if (document.title === title) return;
  document.title = title;
  document.getElementById("said").textContent = headline; // read aloud, for those who do not see it turn red
}

function say(problem) {
  if (problem && lost.hidden) document.getElementById("lost-since").textContent = localTime(Date.now() / 1000);
  lost.hidden = !problem;
}

async function changed() {
  again = true;
  if (renewing) return;
  renewing = true;
  try {
    while (again) {
      again = false;
      await renew();
    }
    say(false);
  } catch {
    say(true);
  } finally {
    renewing = false;
  }
}

// A browser opens few connections to one host, so a page that nobody sees has none.
function watch() {
  if (document.hidden || events) return;
  const source = new EventSource("/admin/api/events");
  events = source;
  source.addEventListener("snapshot", changed);
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) {
      say(true); // the browser tries again of its own accord
      return;
    }
    // Refused: nobody is logged in, or too many are watching.
    source.close();
    if (events === source) events = null;
    changed();
    setTimeout(watch, retry);
  });
}

function look() {
  if (!document.hidden) {
    watch();
  } else if (events) {
    events.close();
    events = null;
  }
}

live.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  button.textContent = "Copied";
});

// What another script has put in the place of a part.
live.addEventListener("renewed", (event) => {
  remember(event.target);
  dress(event.target);
});

readClock(document);
remember(live);
dress(live);
setInterval(tick, 1000);
if (live.dataset.part) {
  document.addEventListener("visibilitychange", look);
  watch();
}
