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
document.addEventListener("submit", () => { sending = true; });

async function page(address) {
  const answer = await fetch(address, { headers: { accept: "text/html" }, credentials: "same-origin" });
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
    drawer.showModal();
  } catch {
    location.assign(link.href);
  }
});

// Copying needs a script, so the buttons appear with it.
function offer() {
  for (const button of document.querySelectorAll("button[data-copy]")) button.hidden = !navigator.clipboard;
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-copy]");
  if (button) navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
});
offer();
