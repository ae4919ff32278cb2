// What is live on a page comes over one stream, and only while the page is looked at: browsers allow few streams.
import { times } from "./format.js";

const pulse = document.querySelector("[data-pulse]");
let source = null;
let paused = false;
let retry = 0;
let timer = 0;

function say(state, text) {
  if (!pulse) return;
  pulse.hidden = false;
  pulse.dataset.state = state;
  pulse.lastElementChild.textContent = text;
}

const wanted = () => document.querySelector("[data-live]") !== null;

/** Writes a region anew. Who types in it is left alone; what was open or in focus stays so. */
function write(id, html) {
  const region = document.getElementById(`live-${id}`);
  if (!region) return;
  const active = region.contains(document.activeElement) ? document.activeElement : null;
  if (active && active.matches("input, select, textarea")) return;
  if (region.contains(window.getSelection()?.anchorNode ?? null) && String(window.getSelection())) return;
  const open = [...region.querySelectorAll("details[open][id]")].map((each) => each.id);
  const scrolled = [...region.querySelectorAll(".table")].map((each) => each.scrollLeft);
  const way = active && (active.id ? `#${CSS.escape(active.id)}` : active.getAttribute("href") ? `a[href="${CSS.escape(active.getAttribute("href"))}"]` : null);
  const chosen = region.querySelector("tr.at")?.dataset.href;
  region.innerHTML = html;
  for (const each of open) document.getElementById(each)?.setAttribute("open", "");
  region.querySelectorAll(".table").forEach((each, index) => { each.scrollLeft = scrolled[index] || 0; });
  if (way) region.querySelector(way)?.focus({ preventScroll: true });
  if (chosen) region.querySelector(`tr[data-href="${CSS.escape(chosen)}"]`)?.classList.add("at");
  times(region);
  if (window.htmx) window.htmx.process(region);
  document.dispatchEvent(new CustomEvent("penstock:written", { detail: region }));
}

function open() {
  close();
  // Not every way to look at a page is live: an older page of a list stands still.
  if (pulse && !wanted()) pulse.hidden = true;
  if (paused || document.hidden || !wanted()) return;
  const path = document.body.dataset.path || "/";
  source = new EventSource(`/console/live${path}${location.search}`);
  source.addEventListener("open", () => { retry = 0; say("live", "live"); });
  source.addEventListener("regions", (event) => {
    for (const [id, html] of Object.entries(JSON.parse(event.data))) write(id, html);
    say("live", "live");
  });
  source.addEventListener("stale", () => say("lost", "not fresh"));
  source.addEventListener("bye", () => { close(); location.reload(); });
  source.addEventListener("error", () => {
    close();
    say("lost", "reconnecting");
    retry = Math.min(retry + 1, 6);
    timer = setTimeout(open, 500 * 2 ** retry);
  });
}

function close() {
  clearTimeout(timer);
  source?.close();
  source = null;
}

export function pause() {
  paused = !paused;
  if (paused) { close(); say("paused", "paused"); } else open();
  document.dispatchEvent(new CustomEvent("penstock:paused", { detail: paused }));
}

export function start() {
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", (event) => { if (event.persisted) open(); });
  document.addEventListener("penstock:moved", open);
  open();
}
