// The console's own script: what it adds to pages that work without it. It decides nothing and says nothing of its own:
// all words are in the page.
"use strict";

const body = document.body;
const form = document.getElementById("settings");
const cut = document.getElementById("cut");
const drawer = document.getElementById("drawer");

// What is chosen and not sent is never replaced by what the cluster says.
const dirty = () => form && !document.getElementById("unsent").hidden;
form?.addEventListener("change", (event) => {
  if (event.target.name !== "q") document.getElementById("unsent").hidden = false;
});
window.addEventListener("beforeunload", (event) => {
  if (dirty() && !sending) event.preventDefault();
});
let sending = false;
document.addEventListener("submit", (event) => {
  if (event.target.dataset.within) within(event);
  else if (event.target.method !== "dialog") sending = true;
});

async function page(address, more) {
  const answer = await fetch(address, { headers: { accept: "text/html" }, credentials: "same-origin", ...more });
  const text = await answer.text();
  return new DOMParser().parseFromString(text, "text/html");
}

// The parts of the page that are about now are replaced by those of the page as it is now.
async function refresh() {
  const fresh = await page(location.href);
  body.dataset.state = fresh.body.dataset.state ?? body.dataset.state;
  for (const old of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(old.id);
    // The element stays, so that a screen reader says what is new in it.
    if (next && next.innerHTML !== old.innerHTML && !old.contains(document.activeElement)) {
      old.className = next.className;
      old.replaceChildren(...next.childNodes);
    }
  }
  offer();
}

if (body.dataset.events && window.EventSource) {
  const events = new EventSource(body.dataset.events);
  let seen = null;
  events.addEventListener("status", (event) => {
    cut.hidden = true;
    if (seen !== null && seen !== event.data) refresh().catch(() => { cut.hidden = false; });
    seen = event.data;
  });
  events.addEventListener("error", () => { cut.hidden = false; });
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
