// What is drawn on charts beside their lines: times that nobody knows of, and what was changed.
import { moment } from "./format.js";

/** Hatches the spans of which not everything is known. */
export function hatch(plot, spans, ink) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const [from, to] of spans) {
    const left = plot.valToPos(from, "x", true);
    const right = plot.valToPos(to, "x", true);
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, bbox.top, right - left, bbox.height);
    ctx.clip();
    ctx.strokeStyle = ink;
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    const gap = 7 * devicePixelRatio;
    for (let x = Math.floor((left - bbox.height) / gap) * gap; x < right; x += gap) {
      ctx.moveTo(x, bbox.top + bbox.height);
      ctx.lineTo(x + bbox.height, bbox.top);
    }
    ctx.stroke();
    ctx.restore();
  }
  ctx.restore();
}

let shown = null;

/** A few words beside a mark. */
export function bubble(at, text) {
  shown?.remove();
  shown = null;
  if (!at) return;
  shown = document.createElement("div");
  shown.className = "bubble";
  shown.textContent = text;
  document.body.append(shown);
  const box = at.getBoundingClientRect();
  const width = shown.offsetWidth;
  shown.style.left = `${Math.max(8, Math.min(box.left + scrollX - width / 2, scrollX + innerWidth - width - 8))}px`;
  shown.style.top = `${box.bottom + scrollY + 6}px`;
}

/** The timeline of changes below a chart; those at nearly the same place share a mark. */
export function marks(chart, plot, changes) {
  const strip = document.createElement("div");
  strip.className = "marks";
  chart.append(strip);
  const offset = plot.over.offsetLeft;
  const near = [];
  for (const change of [...changes].sort((one, other) => one.at - other.at)) {
    const left = plot.valToPos(change.at, "x");
    if (left < 0 || left > plot.over.clientWidth) continue;
    const same = near.at(-1);
    if (same && left - same.left < 12) same.changes.push(change); else near.push({ left, changes: [change] });
  }
  for (const each of near) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.kind = each.changes.at(-1).kind;
    button.style.left = `${offset + each.left}px`;
    const text = each.changes.slice(-4).map((one) => `${moment(one.at)} ${one.text}`).join("\n") + (each.changes.length > 4 ? `\nand ${each.changes.length - 4} more` : "");
    button.setAttribute("aria-label", text);
    button.addEventListener("mouseenter", () => bubble(button, text));
    button.addEventListener("focus", () => bubble(button, text));
    button.addEventListener("mouseleave", () => bubble(null));
    button.addEventListener("blur", () => bubble(null));
    button.addEventListener("click", () => location.assign(`/console/audit?since=${Math.floor(each.changes[0].at)}&until=${Math.ceil(each.changes.at(-1).at + 1)}`));
    strip.append(button);
  }
}
