// The console's own script: what it adds to pages that work without it. It decides nothing and says nothing of its own:
// all words are in the page.
"use strict";

const body = document.body;
const form = document.getElementById("settings");
const cut = document.getElementById("cut");
const drawer = document.getElementById("drawer");

// What is chosen and not sent is never replaced by what the cluster says: whatever differs from what the page came with.
const differs = ({ type, checked, defaultChecked }) => (type === "checkbox" || type === "radio") && checked !== defaultChecked;
const dirty = () => form && [...form.elements].some(differs);
const searches = () => [...form.elements].some((one) => one.type === "search" && one.value !== one.defaultValue);
const unsent = () => { document.getElementById("unsent").hidden = !dirty(); };
form?.addEventListener("change", unsent);
if (form) unsent();
let sending = false;
document.addEventListener("submit", (event) => {
  if (event.target.dataset.within) within(event);
  else if (event.target.method !== "dialog") sending = event.target === form || !dirty();
});
window.addEventListener("beforeunload", (event) => {
  if (dirty() && !sending) event.preventDefault();
});

async function page(address, more) {
  const answer = await fetch(address, { headers: { accept: "text/html" }, credentials: "same-origin", ...more });
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  fresh.status = answer.status;
  return fresh;
}

// Who has the focus, and what is folded out, is found again in a part that was replaced.
const mark = (element) => [element.tagName, element.id, element.name, element.value, element.getAttribute("href")].join();
const notice = (details) => details.closest("[data-notice]")?.dataset.notice;
function replace(old, next) {
  const active = old.contains(document.activeElement) && mark(document.activeElement);
  const open = [...old.querySelectorAll("details[open]")].map(notice);
  old.className = next.className;
  if (next.dateTime) old.dateTime = next.dateTime;
  // The element stays, so that a screen reader says what is new in it.
  old.replaceChildren(...next.childNodes);
  for (const details of old.querySelectorAll("details")) details.open = open.includes(notice(details));
  if (active) [...old.querySelectorAll("a, button, input, pre, summary")].find((one) => mark(one) === active)?.focus({ preventScroll: true });
}

// The parts of the page that are about now are replaced by those of the page as it is now.
let shown = performance.now();
let ended = false;
async function refresh() {
  const fresh = await page(body.dataset.now);
  if (fresh.status === 401) {
    // The session is over: what is said of that takes the place of what is said of the stream.
    ended = true;
    cut.replaceChildren(...fresh.getElementById("main").childNodes);
    cut.hidden = false;
    return;
  }
  if (fresh.status !== 200) throw new Error(String(fresh.status));
  shown = performance.now();
  body.dataset.state = fresh.body.dataset.state;
  document.title = fresh.title;
  for (const old of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(old.id);
    const kept = old === form && (dirty() || searches() || old.contains(document.activeElement));
    if (next && !kept && next.innerHTML !== old.innerHTML) replace(old, next);
  }
  offer();
}

// One refresh at a time, at most one a second, and none of a page that nobody sees.
let busy = false;
let wanted = false;
let last = 0;
function soon() {
  wanted = true;
  if (busy || document.hidden || ended) return;
  busy = true;
  setTimeout(async () => {
    wanted = false;
    // What fails now is tried again when the stream is heard.
    await refresh().catch(() => { failed = true; });
    last = performance.now();
    busy = false;
    if (wanted) soon();
  }, Math.max(0, last + 1000 - performance.now()));
}
let failed = false;
document.addEventListener("visibilitychange", () => { if (wanted) soon(); });

// The stream, and the clock: the server beats; a stream that is silent for longer, or cut for a while, is stale.
if (body.dataset.events && window.EventSource) {
  const [fresh, stale] = document.getElementById("alive").children;
  const age = document.getElementById("age");
  const beat = 1000 * body.dataset.beat;
  let heard = performance.now();
  let broken = null;
  let live = true;
  let seen = null;

  // A stream that is heard of a cluster that the server itself does not hear of is no news.
  const cutBehind = () => document.querySelector("[data-notice='stream-lost']") !== null;
  const say = (is) => {
    live = is;
    const now = is && !cutBehind();
    fresh.hidden = !now;
    stale.hidden = now;
    if (!ended) cut.hidden = is;
  };
  const hear = () => {
    heard = performance.now();
    broken = null;
    if (!live || failed) soon();
    failed = false;
    say(true);
  };
  const listen = () => {
    const events = new EventSource(body.dataset.events);
    events.addEventListener("open", hear);
    events.addEventListener("status", (event) => {
      if (seen !== null && seen !== event.data) soon();
      seen = event.data;
      hear();
    });
    events.addEventListener("beat", () => {
      // Ages, nodes and events change though the MeshCNI does not.
      if (performance.now() - shown > 4 * beat) soon();
      hear();
    });
    events.addEventListener("error", () => {
      broken ??= performance.now();
      if (events.readyState !== EventSource.CLOSED) return;
      // Refused, not lost: the page says why, if it is for good.
      soon();
      setTimeout(() => { if (!ended) listen(); }, beat);
    });
  };
  const short = (seconds) => seconds < 120 ? `${seconds}s` : seconds < 7200 ? `${Math.floor(seconds / 60)}m` : `${Math.floor(seconds / 3600)}h`;
  setInterval(() => {
    const now = performance.now();
    age.textContent = `(${short(Math.floor((now - shown) / 1000))} ${age.dataset.ago})`;
    const silent = ended || now - heard > 2.5 * beat || (broken !== null && now - broken > 3000);
    say(live && !silent);
  }, 1000);
  listen();
}

// Drawers are pages; with a script they open beside the list.
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-drawer]");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey || !drawer.showModal) return;
  event.preventDefault();
  try {
    const fresh = await page(link.href);
    document.getElementById("drawn").replaceChildren(...fresh.getElementById("main").childNodes);
    if (!drawer.open) drawer.showModal();
    offer();
    follow(true);
  } catch {
    location.assign(link.href);
  }
});

drawer.addEventListener("close", () => document.getElementById("drawn").replaceChildren());

// What a pod holds now is looked at again while somebody has it before his eyes: every few seconds, and not for ever.
const EVERY = 5000, TIMES = 60;
let looking = false, clock = null;
function put(fresh, ids) {
  for (const id of ids) {
    const [old, next] = [document.getElementById(id), fresh.getElementById(id)];
    if (!old || !next) continue;
    const held = old.contains(document.activeElement) && document.activeElement.matches("[data-look]");
    next.dataset.follow ? (old.dataset.follow = next.dataset.follow) : delete old.dataset.follow;
    old.replaceChildren(...next.childNodes);
    if (held) old.querySelector("[data-look]")?.focus();
  }
  offer();
}
async function look(live) {
  if (looking) return;
  looking = true;
  live.setAttribute("aria-busy", "true");
  try {
    put(await page(live.dataset.follow), ["live", "path-panel"]);
  } catch { cut.hidden = false; }
  live.removeAttribute("aria-busy");
  looking = false;
}
function follow(now) {
  const first = document.getElementById("live");
  let left = TIMES;
  clearInterval(clock);
  if (!first?.dataset.follow) return;
  if (now) look(first);
  clock = setInterval(() => {
    const live = document.getElementById("live");
    if (!live?.dataset.follow || left-- === 0) return clearInterval(clock);
    // What is being read or selected stays as it is.
    const read = live.contains(document.activeElement) || !getSelection().isCollapsed;
    if (!document.hidden && !read) look(live);
  }, EVERY);
}
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-look]");
  const live = link?.closest("[data-follow]");
  if (!live || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  follow(true);
});
if (location.search.includes("live=yes")) follow(false);

// A form whose answer is for parts of the page, in a drawer or not.
async function within(event) {
  event.preventDefault();
  const form = event.target;
  if (form.ariaBusy === "true") return;
  form.ariaBusy = "true";
  form.querySelector("[data-busy]").hidden = false;
  try {
    const fresh = await page(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    const ids = form.dataset.within.split(" ");
    // An answer that saw nothing of the pod says nothing of its other parts.
    const seen = fresh.querySelector("#live [data-seen]");
    if (fresh.getElementById(ids[0])) put(fresh, seen ? ids : ids.slice(0, 1));
    else document.getElementById(ids[0]).textContent = (fresh.getElementById("main") ?? fresh.body).textContent;
  } catch { cut.hidden = false; }
  form.ariaBusy = "false";
  form.querySelector("[data-busy]").hidden = true;
}

// Copying needs a script, so the buttons appear with it.
function offer() {
  for (const button of document.querySelectorAll("button[data-copy]")) button.hidden = !navigator.clipboard;
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-copy]");
  if (button) navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
});
offer();
