// How numbers and times are written, as penstock.edge.console.showing writes them.
const thin = "\u202f";

function group(text) { return text.replace(/\B(?=(\d{3})+(?!\d))/g, thin); }

function count(value) {
  for (const [bound, word] of [[1e12, "T"], [1e9, "G"], [1e6, "M"]]) {
    if (Math.abs(value) >= bound) return `${(value / bound).toFixed(2)} ${word}`;
  }
  return Number.isInteger(value) || value >= 100 ? group(value.toFixed(0)) : value.toFixed(value >= 10 ? 1 : 2);
}

function ms(value) {
  if (value < 1) return `${(value * 1000).toFixed(0)} µs`;
  if (value < 1000) return `${value.toFixed(value >= 10 ? 0 : 1)} ms`;
  const s = value / 1000;
  if (s < 60) return `${s.toFixed(s < 10 ? 2 : 1)} s`;
  return s < 3600 ? `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s` : `${(s / 3600).toFixed(1)} h`;
}

function money(value) {
  const size = Math.abs(value);
  if (size === 0 || size >= 1) return `$${group(size.toFixed(2)).replace(/\u202f/g, ",")}`;
  return `$${size.toFixed(Math.min(9, Math.max(2, 1 - Math.floor(Math.log10(size)))))}`;
}

export const units = {
  count,
  tokens: count,
  ms,
  money,
  rate: (value) => `${value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2)}/s`,
  share: (value) => `${(100 * value).toFixed(value > 0 && value < 0.01 ? 2 : 1)} %`,
};

/** What nobody knows is never a number. */
export function written(value, unit) {
  return value === null || value === undefined ? "unknown" : (units[unit] || count)(value);
}

/** On an axis: no more digits than tell the ticks apart. */
export function tick(value, unit) {
  return value === 0 ? "0" : written(value, unit).replace(/\/s$/, "").replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");
}

const pad = (number) => String(number).padStart(2, "0");

export function clock(at) {
  const d = new Date(at * 1000);
  return `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`;
}

export function moment(at) {
  const d = new Date(at * 1000);
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${clock(at)}`;
}

export function ago(at, now = Date.now() / 1000) {
  const s = now - at;
  const far = Math.abs(s);
  const words = far < 60 ? `${Math.floor(far)} s` : far < 3600 ? `${Math.floor(far / 60)} min`
    : far < 86400 ? `${Math.floor(far / 3600)} h` : `${Math.floor(far / 86400)} d`;
  if (far < 2) return "now";
  return s < 0 ? `in ${words}` : `${words} ago`;
}

/** Writes every <time data-at> below a node in the reader's zone. */
export function times(root = document) {
  const now = Date.now() / 1000;
  for (const node of root.querySelectorAll("time[data-at]")) {
    const at = Number(node.dataset.at);
    const style = node.dataset.style;
    const text = style === "clock" ? clock(at) : style === "full" ? moment(at) : ago(at, now);
    if (node.textContent !== text) node.textContent = text;
    if (!node.title) node.title = moment(at);
  }
}
