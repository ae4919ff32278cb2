// Charts: every .chart[data-series] on the page, drawn by uPlot, with what was changed as marks below.
import { clock, moment, tick, written } from "./format.js";
import { hatch, marks } from "./marks.js";

const made = new Map(); // element -> its chart
const last = new Map(); // address -> what was answered last
let timer = 0;
let paused = false;

/** "p50=duration.p50,requests/s" as [label, expression] pairs. */
function draws(text) {
  return text.split(",").filter(Boolean).map((each) => {
    const [label, expression] = each.includes("=") ? each.split("=") : ["", each];
    return { label, expression };
  });
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
// What goes wrong has its own colours wherever it is drawn.
const WRONG = { failed: "--bad", refused: "--warn" };
const colour = (index, label) => css(WRONG[label] || `--series-${(index % 8) + 1}`);

function lines(chart, data) {
  const asked = draws(chart.dataset.draw);
  const found = [];
  for (const { label, expression } of asked) {
    for (const line of data.lines.filter((each) => each.draw === expression)) {
      const name = Object.entries(line.group).map(([by, each]) => each || (by === "release" ? "the only one" : "none")).join(" · ");
      const shown = [name, asked.length > 1 || !name ? label : ""].filter(Boolean).join(" ") || expression.replace(/\/s$/, "");
      found.push({ label: shown, values: line.values, group: line.group });
    }
  }
  return found;
}

function describe(chart, shown, unit) {
  return shown.map(({ label, values }) => {
    const known = values.filter((each) => each !== null);
    if (!known.length) return `${label}: unknown`;
    return `${label}: last ${written(known.at(-1), unit)}, least ${written(Math.min(...known), unit)}, most ${written(Math.max(...known), unit)}`;
  }).join(". ");
}

function legend(box, shown, unit, more) {
  const node = document.createElement("div");
  node.className = "legend";
  shown.forEach(({ label }, index) => {
    const item = document.createElement("span");
    const line = document.createElement("i");
    line.style.background = colour(index, label);
    const value = document.createElement("b");
    item.append(line, document.createTextNode(label), value);
    node.append(item);
  });
  if (more) node.append(`and ${more} more`);
  const at = document.createElement("span");
  at.className = "legend-at";
  node.append(at);
  const tell = (index, time) => {
    [...node.querySelectorAll("b")].forEach((each, series) => {
      const value = index === null ? undefined : shown[series].values[index];
      each.textContent = value === undefined ? "" : written(value, unit);
    });
    at.textContent = time === null ? "" : clock(time);
  };
  box.append(node);
  return tell;
}

function behind(chart, from, to, group) {
  if (!chart.dataset.requests) return;
  const url = new URL(chart.dataset.requests, location.href);
  url.searchParams.set("since", String(Math.floor(from)));
  url.searchParams.set("until", String(Math.ceil(to)));
  for (const [name, value] of Object.entries(group || {})) if (value) url.searchParams.set(name, value);
  location.assign(url);
}

function nearest(plot, shown, index) {
  let best = null;
  shown.forEach((line, series) => {
    const value = line.values[index];
    if (value === null || value === undefined) return;
    const far = Math.abs(plot.valToPos(value, "y") - plot.cursor.top);
    if (best === null || far < best.far) best = { far, group: line.group };
  });
  return best && best.far < 24 ? best.group : {};
}

function draw(chart, data) {
  const unit = chart.dataset.unit || "count";
  const bars = chart.dataset.bars !== undefined;
  const shown = lines(chart, data);
  const before = made.get(chart);
  before?.plot?.destroy();
  chart.replaceChildren();
  const known = shown.some((line) => line.values.some((value) => value !== null));
  const frame = document.createElement("div");
  frame.setAttribute("role", "img");
  frame.setAttribute("aria-label", `${chart.dataset.heading || "Chart"}, ${moment(data.since)} to ${moment(data.until)}. ${describe(chart, shown, unit)}`);
  const tell = legend(chart, shown, unit, data.left_out);
  chart.append(frame);
  const grid = css("--grid");
  const ink = css("--muted");
  const axis = { stroke: ink, font: "11px " + css("--sans"), grid: { stroke: grid, width: 1 }, ticks: { show: false } };
  const options = {
    width: Math.max(120, chart.clientWidth),
    height: Number(chart.dataset.height || 150),
    padding: [8, 16, 0, 0],
    legend: { show: false },
    cursor: { points: { size: 6 }, drag: { x: true, y: false, setScale: false }, sync: { key: "penstock", setSeries: false } },
    select: { show: true },
    scales: {
      x: { time: true, range: () => [data.since, data.until] },
      y: { range: (_, least, most) => [0, most > 0 ? most * 1.08 : unit === "share" ? 0.01 : 1] },
    },
    axes: [
      { ...axis, space: 70, size: 24, values: (plot, ticks) => ticks.map((each) => day(each, data)) },
      { ...axis, space: 32, size: 52, values: (_, ticks) => ticks.map((each) => tick(each, unit)) },
    ],
    series: [
      {},
      ...shown.map((line, index) => ({
        label: line.label,
        stroke: colour(index, line.label),
        width: bars ? 0 : 1.5,
        fill: bars ? colour(index, line.label) + (line.label in WRONG ? "" : "99") : shown.length === 1 ? css("--accent-soft") : undefined,
        paths: bars ? window.uPlot.paths.bars({ size: [0.82, 28], align: 1 }) : undefined,
        points: bars ? { show: false } : { show: (plot, series, from, to) => lone(plot.data[series], from, to), size: 4 },
        spanGaps: false,
      })),
    ],
    hooks: {
      drawClear: [(plot) => hatch(plot, data.unknown, css("--hatch"))],
      ready: [(plot) => marks(chart, plot, data.changes)],
      setCursor: [(plot) => tell(plot.cursor.idx ?? null, plot.cursor.idx == null ? null : data.at[plot.cursor.idx])],
      setSelect: [(plot) => {
        if (plot.select.width < 4) return;
        behind(chart, plot.posToVal(plot.select.left, "x"), plot.posToVal(plot.select.left + plot.select.width, "x"), {});
      }],
    },
  };
  const plot = new window.uPlot(options, [data.at, ...shown.map((line) => line.values)], frame);
  plot.over.addEventListener("click", () => {
    const index = plot.cursor.idx;
    if (plot.select.width >= 4 || index == null) return;
    behind(chart, data.at[index], data.at[index] + data.step_s, nearest(plot, shown, index));
  });
  if (!known) {
    const none = document.createElement("p");
    none.className = "chart-none";
    none.textContent = dark(data) ? "Unknown for all of this time" : "Nothing was measured in this time";
    frame.append(none);
  }
  made.set(chart, { plot, data });
}

const day = (at, data) => {
  const date = new Date(at * 1000);
  const long = data.until - data.since > 2 * 86400;
  return long ? date.toLocaleDateString(undefined, { month: "short", day: "numeric" }) : clock(at).slice(0, data.until - data.since <= 900 ? 8 : 5);
};

/** Whether nothing is known of any of the time. */
const dark = (data) => data.unknown.reduce((sum, [from, to]) => sum + to - from, 0) >= data.until - data.since;

/** A value between two gaps has no line; show it as a point. */
function lone(values) {
  const found = [];
  values.forEach((value, index) => {
    if (value !== null && (values[index - 1] ?? null) === null && (values[index + 1] ?? null) === null) found.push(index);
  });
  return found.length > 0 && found.length < 40;
}

export function sparks(root = document) {
  for (const node of root.querySelectorAll("[data-spark]")) {
    const data = last.get(node.dataset.series);
    const line = data?.lines.find((each) => each.draw === node.dataset.spark);
    if (!line) continue;
    const most = Math.max(...line.values.map((each) => each ?? 0)) || 1;
    const width = line.values.length - 1;
    let path = "";
    let pen = false;
    line.values.forEach((value, index) => {
      if (value === null) { pen = false; return; }
      path += `${pen ? "L" : "M"}${((100 * index) / width).toFixed(2)} ${(27 - (25 * value) / most).toFixed(2)}`;
      pen = true;
    });
    node.innerHTML = `<svg class="spark" viewBox="0 0 100 28" preserveAspectRatio="none"><path d="${path}"/></svg>`;
  }
}

async function fetched(address, wanted) {
  const url = new URL(address, location.href);
  url.searchParams.set("draw", [...wanted].join(","));
  const answer = await fetch(url, { headers: { accept: "application/json" } });
  if (answer.redirected || answer.status === 401) throw new Error("Signed out");
  if (!answer.ok) throw new Error(answer.status === 403 ? "Your role may not see this" : "Unknown: the numbers cannot be had now");
  return answer.json();
}

async function refresh() {
  const wanted = new Map();
  const add = (address, expression) => wanted.set(address, (wanted.get(address) || new Set()).add(expression));
  const here = [...document.querySelectorAll(".chart[data-series]")];
  for (const chart of here) for (const { expression } of draws(chart.dataset.draw)) add(chart.dataset.series, expression);
  for (const node of document.querySelectorAll("[data-spark]")) if (node.dataset.spark) add(node.dataset.series, node.dataset.spark);
  for (const [chart, { plot }] of made) if (!chart.isConnected) { plot?.destroy(); made.delete(chart); }
  await Promise.all([...wanted].map(async ([address, expressions]) => {
    const charts = here.filter((each) => each.dataset.series === address);
    try {
      const data = await fetched(address, expressions);
      last.set(address, data);
      for (const chart of charts) if (chart.isConnected && !chart.matches(":hover")) draw(chart, data);
      if (!charts.every((chart) => made.has(chart))) charts.forEach((chart) => made.has(chart) || draw(chart, data));
    } catch (error) {
      for (const chart of charts) if (!made.has(chart)) failed(chart, error);
    }
  }));
  sparks();
}

function failed(chart, error) {
  const none = document.createElement("p");
  none.className = "chart-none unknown-time";
  none.textContent = error.message || "Unknown";
  chart.replaceChildren(none);
}

function again() {
  clearTimeout(timer);
  if (!document.querySelector(".chart[data-series], [data-spark]")) return;
  timer = setTimeout(async () => {
    if (!document.hidden && !paused) await refresh();
    again();
  }, 10_000);
}

export async function start() {
  again();
  await refresh();
}

document.addEventListener("penstock:theme", () => { for (const [chart, { data }] of made) draw(chart, data); sparks(); });
document.addEventListener("penstock:paused", (event) => { paused = event.detail; });
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
let sizing = 0;
addEventListener("resize", () => {
  cancelAnimationFrame(sizing);
  sizing = requestAnimationFrame(() => { for (const [chart, { data }] of made) draw(chart, data); });
});
