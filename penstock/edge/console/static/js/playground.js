// The playground: one request to one service or two, as the API answers it.
import { units, written } from "./format.js";
import { answered } from "./stream.js";

const ground = document.getElementById("playground");
const token = document.body.dataset.token;
const $ = (id) => document.getElementById(id);
const KNOBS = { temperature: Number, top_p: Number, max_tokens: Number, seed: Number };
// What has a place of its own in the form; the rest of a request that is replayed is sent as it was.
const KNOWN = new Set(["model", "messages", "stream", "stream_options", "max_completion_tokens", "user", ...Object.keys(KNOBS)]);
let extra = {};
let running = null;

function turn(role = "user", content = "") {
  const node = document.createElement("div");
  node.className = "turn";
  const number = document.querySelectorAll(".turn").length + 1;
  node.innerHTML = '<div class="turn-head"><select></select><button type="button" class="quiet">Remove</button></div><textarea rows="4"></textarea>';
  const select = node.querySelector("select");
  for (const each of ["user", "assistant", "system", "tool"]) select.add(new Option(each, each, false, each === role));
  select.setAttribute("aria-label", `Who says turn ${number}`);
  const text = node.querySelector("textarea");
  text.setAttribute("aria-label", `Turn ${number}`);
  text.placeholder = "What is said";
  if (typeof content === "string") text.value = content;
  else { text.value = JSON.stringify(content, null, 1); text.dataset.json = "yes"; }
  node.querySelector("button").addEventListener("click", () => { node.remove(); told(); });
  $("turns").append(node);
  return text;
}

function content(text) {
  if (!text.dataset.json) return text.value;
  try { return JSON.parse(text.value); } catch { return text.value; }
}

function request(model) {
  const messages = [];
  if ($("system").value.trim()) messages.push({ role: "system", content: $("system").value });
  for (const node of document.querySelectorAll(".turn")) {
    messages.push({ role: node.querySelector("select").value, content: content(node.querySelector("textarea")) });
  }
  const body = { model, messages, ...extra };
  for (const [name, read] of Object.entries(KNOBS)) if ($(name).value !== "") body[name] = read($(name).value);
  if ($("stream").checked) { body.stream = true; body.stream_options = { include_usage: true }; }
  return body;
}

// -- the same in a program ---------------------------------------------------------------------------------------

function python(value, depth = 0) {
  const pad = "    ".repeat(depth + 1);
  const end = "    ".repeat(depth);
  if (Array.isArray(value)) return value.length ? `[\n${value.map((each) => `${pad}${python(each, depth + 1)},`).join("\n")}\n${end}]` : "[]";
  if (value && typeof value === "object") {
    const rows = Object.entries(value).map(([name, each]) => `${pad}${JSON.stringify(name)}: ${python(each, depth + 1)},`);
    return rows.length ? `{\n${rows.join("\n")}\n${end}}` : "{}";
  }
  if (value === true) return "True";
  if (value === false) return "False";
  return value === null ? "None" : JSON.stringify(value);
}

function told() {
  const body = request($("service-a").value || "SERVICE");
  const json = JSON.stringify(body, null, 2).replaceAll("'", "'\\''");
  $("as-curl").textContent = `curl ${location.origin}/v1/chat/completions \\\n  -H "authorization: Bearer $PENSTOCK_API_KEY" \\\n  -H "content-type: application/json" \\\n  -d '${json}'`;
  const known = new Set(["model", "messages", "stream", "stream_options", "temperature", "top_p", "max_tokens", "seed"]);
  const rest = Object.fromEntries(Object.entries(body).filter(([name]) => !known.has(name)));
  const given = Object.entries(body).filter(([name]) => known.has(name) && name !== "stream_options").map(([name, value]) => `    ${name}=${python(value, 1)},`);
  if (Object.keys(rest).length) given.push(`    extra_body=${python(rest, 1)},`);
  const reading = body.stream
    ? 'for chunk in answer:\n    if chunk.choices:\n        print(chunk.choices[0].delta.content or "", end="", flush=True)'
    : "print(answer.choices[0].message.content)";
  $("as-python").textContent = `import os\n\nfrom openai import OpenAI\n\nclient = OpenAI(\n    base_url="${location.origin}/v1",\n    api_key=os.environ["PENSTOCK_API_KEY"],\n)\nanswer = client.chat.completions.create(\n${given.join("\n")}\n)\n${reading}\n`;
  for (const button of document.querySelectorAll("[data-copy-from]")) button.dataset.copy = $(button.dataset.copyFrom).textContent;
}

// -- answers -----------------------------------------------------------------------------------------------------

function figure(box, name, text) { box.querySelector(`[data-figure="${name}"]`).textContent = text; }

function begin(box, service) {
  box.hidden = false;
  box.querySelector("[data-who]").textContent = service;
  box.querySelector("[data-said]").replaceChildren();
  box.querySelector("[data-said]").classList.add("running");
  box.querySelector("[data-state]").textContent = "";
  box.querySelector("[data-figures]").hidden = true;
  box.querySelector("[data-acts]").hidden = true;
}

function show(box, said, thought) {
  const place = box.querySelector("[data-said]");
  if (thought) {
    let node = place.querySelector(".thought");
    if (!node) { node = document.createElement("div"); node.className = "thought"; place.prepend(node); }
    node.textContent = thought;
  }
  let node = place.querySelector(".words");
  if (!node) { node = document.createElement("span"); node.className = "words"; place.append(node); }
  node.textContent = said;
}

function end(box, result) {
  box.querySelector("[data-said]").classList.remove("running");
  const state = document.createElement("span");
  state.className = `badge ${result.error ? "bad" : "good"}`;
  state.textContent = result.error ? result.code || "failed" : result.stopped ? "stopped" : !result.finish || result.finish === "stop" ? "complete" : result.finish;
  box.querySelector("[data-state]").replaceChildren(state);
  if (result.error) {
    const fault = document.createElement("div");
    fault.className = "note bad";
    fault.textContent = result.error;
    box.querySelector("[data-said]").append(fault);
  }
  box.querySelector("[data-figures]").hidden = false;
  figure(box, "first", written(result.first, "ms"));
  figure(box, "all", written(result.all, "ms"));
  figure(box, "in", written(result.usage?.prompt_tokens, "tokens"));
  figure(box, "out", written(result.usage?.completion_tokens, "tokens"));
  const streamed = result.usage && result.all - result.first > 50 && result.streamed;
  figure(box, "speed", streamed ? units.rate((1000 * result.usage.completion_tokens) / (result.all - result.first)) : "–");
  figure(box, "cost", result.cost === null ? "…" : units.money(Number(result.cost)));
  const acts = box.querySelector("[data-acts]");
  acts.hidden = !result.id;
  acts.querySelector("[data-request-link]").href = `/console/requests/${encodeURIComponent(result.id)}`;
  acts.querySelector("[data-go-on]").hidden = !result.said;
  acts.querySelector("[data-go-on]").onclick = () => { turn("assistant", result.said); turn().focus(); told(); };
}

/** What it cost is known once the request is in the log. */
async function priced(box, id) {
  for (const wait of [400, 800, 1500, 3000]) {
    await new Promise((done) => setTimeout(done, wait));
    if (box.dataset.id !== id) return;
    const answer = await fetch(`/console/data/requests/${encodeURIComponent(id)}`).catch(() => null);
    const found = answer?.ok ? await answer.json() : null;
    if (found) {
      if (box.dataset.id === id) figure(box, "cost", units.money(Number(found.cost)));
      return;
    }
    if (answer?.status === 403) break;
  }
  if (box.dataset.id === id) figure(box, "cost", "unknown");
}

async function one(side, service, signal) {
  const box = $(`answer-${side}`);
  begin(box, service);
  const result = await answered(request(service), token, signal, (said, thought) => show(box, said, thought));
  box.dataset.id = result.id;
  end(box, result);
  if (result.id && result.cost === null) priced(box, result.id);
}

async function send(event) {
  event?.preventDefault();
  if (running || !$("service-a").value) return;
  running = new AbortController();
  $("send").disabled = true;
  $("stop").hidden = false;
  const other = $("service-b").value;
  $("answer-b").hidden = !other;
  try {
    await Promise.all([one("a", $("service-a").value, running.signal), other ? one("b", other, running.signal) : null]);
  } finally {
    running = null;
    $("send").disabled = false;
    $("stop").hidden = true;
  }
}

// -- the beginning -----------------------------------------------------------------------------------------------

async function services() {
  const answer = await fetch("/console/api/models", { headers: { "x-penstock-token": token } });
  const found = answer.ok ? (await answer.json()).data.map((each) => each.id) : [];
  for (const wanted of [ground.dataset.service, ground.dataset.other]) if (wanted && !found.includes(wanted)) found.push(wanted);
  for (const name of found) {
    if (name === "*") continue;
    $("service-a").add(new Option(name, name, false, name === ground.dataset.service));
    $("service-b").add(new Option(name, name, false, name === ground.dataset.other));
  }
  told();
}

function fill() {
  let asked = {};
  try { asked = JSON.parse(ground.dataset.request || "{}"); } catch { /* Not one of ours. */ }
  for (const [name, value] of Object.entries(asked)) if (!KNOWN.has(name)) extra[name] = value;
  for (const name of Object.keys(KNOBS)) if (asked[name] !== undefined && asked[name] !== null) $(name).value = asked[name];
  if (asked.max_completion_tokens) $("max_tokens").value = asked.max_completion_tokens;
  if (ground.dataset.request) $("stream").checked = Boolean(asked.stream);
  const messages = [...(asked.messages || [])];
  if (messages[0]?.role === "system" && typeof messages[0].content === "string") $("system").value = messages.shift().content;
  for (const each of messages) turn(each.role, each.content ?? "");
  if (!messages.length) turn();
}

$("ask").addEventListener("submit", send);
$("ask").addEventListener("input", told);
$("ask").addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send(event); });
$("add-turn").addEventListener("click", () => { const last = [...document.querySelectorAll(".turn select")].at(-1)?.value; turn(last === "user" ? "assistant" : "user").focus(); told(); });
$("stop").addEventListener("click", () => running?.abort());
fill();
services();
