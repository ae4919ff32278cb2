// The keyboard, the menu, and small comforts of every page.
import { times } from "./format.js";
import * as live from "./live.js";
import * as charts from "./charts.js";

const $ = (selector) => document.querySelector(selector);
let led = 0;

function typing(target) {
  return target instanceof HTMLElement && (target.matches("input, textarea, select") || target.isContentEditable);
}

function rows() { return [...document.querySelectorAll("tr[data-href]")]; }

function step(by) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.classList.contains("at"));
  const next = Math.max(0, Math.min(all.length - 1, at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by));
  if (at >= 0) all[at].classList.remove("at");
  all[next].classList.add("at");
  all[next].scrollIntoView({ block: "nearest" });
  all[next].querySelector("a")?.focus({ preventScroll: true });
}

function pressed(event) {
  if (event.metaKey || event.ctrlKey || event.altKey) return;
  if (event.key === "Escape" && typing(event.target)) { event.target.blur(); return; }
  if (typing(event.target) || document.querySelector("dialog[open]")) return;
  const now = performance.now();
  if (led && now - led < 1200) {
    led = 0;
    const way = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
    if (way) { event.preventDefault(); way.click(); }
    return;
  }
  const act = {
    "/": () => { if ($("#menu") && getComputedStyle($("#menu")).display === "none") menu(true); $("#find")?.focus(); $("#find")?.select(); },
    "g": () => { led = now; },
    "j": () => step(1),
    "k": () => step(-1),
    "?": () => $("#keys")?.showModal(),
    "t": () => document.dispatchEvent(new Event("penstock:toggle-theme")),
    ".": () => live.pause(),
    "Enter": () => { const row = $("tr.at"); if (row && !(event.target instanceof HTMLAnchorElement) && !(event.target instanceof HTMLButtonElement)) location.assign(row.dataset.href); else return false; },
  }[event.key];
  if (act && act() !== false) event.preventDefault();
}

function menu(open) {
  $("#menu")?.classList.toggle("open", open);
  const button = $("[data-toggle-menu]");
  button?.setAttribute("aria-expanded", String($("#menu")?.classList.contains("open")));
}

async function copy(button) {
  try { await navigator.clipboard.writeText(button.dataset.copy); } catch {
    const range = document.createRange();
    const code = button.parentElement.querySelector("code");
    if (code) { range.selectNodeContents(code); getSelection().removeAllRanges(); getSelection().addRange(range); }
    return;
  }
  button.parentElement.classList.add("done");
  setTimeout(() => button.parentElement.classList.remove("done"), 1200);
}

function clicked(event) {
  const target = event.target instanceof Element ? event.target : null;
  if (!target) return;
  const button = target.closest("[data-copy], [data-toggle-menu], [data-theme-toggle], [data-show-keys]");
  if (button?.matches("[data-copy]")) { copy(button); return; }
  if (button?.matches("[data-toggle-menu]")) { menu(); return; }
  if (button?.matches("[data-theme-toggle]")) { document.dispatchEvent(new Event("penstock:toggle-theme")); return; }
  if (button?.matches("[data-show-keys]")) { $("#keys")?.showModal(); return; }
  const row = target.closest("tr[data-href]");
  if (row && !target.closest("a, button, input, select, label, summary") && !String(getSelection())) {
    if (event.metaKey || event.ctrlKey) open(row.dataset.href); else location.assign(row.dataset.href);
  }
}

/** A form with data-sure asks once, in its own words, before it is sent. */
function submitted(event) {
  const form = event.target;
  if (!(form instanceof HTMLFormElement)) return;
  if (form.dataset.sure && !form.dataset.agreed) {
    event.preventDefault();
    event.stopImmediatePropagation();
    const dialog = $("#sure");
    dialog.querySelector("[data-sure-text]").textContent = form.dataset.sure;
    dialog.querySelector("[data-sure-yes]").textContent = form.dataset.sureYes || "Do it";
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      if (dialog.returnValue !== "yes") return;
      form.dataset.agreed = "yes";
      form.requestSubmit(event.submitter);
    }, { once: true });
    dialog.showModal();
    return;
  }
  if (form.method === "post" && !form.dataset.stays) {
    // Sent once: what comes back takes this page's place.
    setTimeout(() => form.querySelectorAll("button").forEach((each) => { each.disabled = true; }));
  }
}

document.addEventListener("keydown", pressed);
document.addEventListener("click", clicked);
document.addEventListener("submit", submitted, true);
addEventListener("pageshow", (event) => {
  if (event.persisted) document.querySelectorAll("form button:disabled").forEach((each) => { each.disabled = false; });
});
// Filters leave out of the address what they do not say.
document.addEventListener("htmx:configRequest", (event) => {
  const detail = event.detail;
  if (detail.verb !== "get" || !detail.elt.matches("[data-filters]")) return;
  for (const name of [...detail.formData.keys()]) if (!detail.formData.get(name)) detail.formData.delete(name);
});
document.addEventListener("htmx:afterSettle", () => {
  times();
  charts.start();
  document.dispatchEvent(new Event("penstock:moved"));
});
document.addEventListener("htmx:responseError", (event) => location.assign(event.detail.pathInfo.responsePath || location.href));
document.addEventListener("penstock:written", (event) => charts.sparks(event.detail));
// An address that told something once should not tell it again.
const address = new URL(location.href);
if (address.searchParams.has("said")) {
  address.searchParams.delete("said");
  history.replaceState(null, "", address);
}
times();
setInterval(times, 1000);
live.start();
charts.start();
