// A chat completion as it comes: server-sent events, or all at once.

/** Events of a body, whatever way it is cut. */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    waiting += value;
    let cut;
    while ((cut = waiting.search(/\r?\n\r?\n/)) >= 0) {
      const event = waiting.slice(0, cut);
      waiting = waiting.slice(cut).replace(/^\r?\n\r?\n/, "");
      const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data && data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

function words(part) {
  const calls = (part?.tool_calls || []).map((each) => `${each.function?.name || ""}${each.function?.arguments || ""}`).join("");
  return (part?.content || "") + (part?.refusal || "") + calls;
}

/** Asks, and tells ``hear(said, thought)`` as it comes. Times in milliseconds; what nobody said is null. */
export async function answered(body, token, signal, hear) {
  const began = performance.now();
  const result = { id: "", said: "", first: null, all: null, usage: null, cost: null, finish: "", error: "", code: "", stopped: false, streamed: Boolean(body.stream) };
  let thought = "";
  const take = (chunk) => {
    if (chunk.error) { result.error = chunk.error.message; result.code = chunk.error.code; return; }
    if (chunk.usage) result.usage = chunk.usage;
    const choice = chunk.choices?.[0];
    const part = choice?.delta || choice?.message;
    const fresh = words(part);
    thought += part?.reasoning_content || part?.reasoning || "";
    if ((fresh || thought) && result.first === null) result.first = performance.now() - began;
    result.said += fresh;
    if (choice?.finish_reason) result.finish = choice.finish_reason;
    hear(result.said, thought);
  };
  try {
    const answer = await fetch("/console/api/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json", "x-penstock-token": token },
      body: JSON.stringify(body),
      signal,
    });
    result.id = answer.headers.get("x-request-id") || "";
    result.cost = answer.headers.get("x-penstock-cost");
    if (answer.ok && (answer.headers.get("content-type") || "").startsWith("text/event-stream")) {
      for await (const chunk of events(answer.body)) take(chunk);
    } else {
      take(await answer.json());
    }
  } catch (error) {
    if (signal.aborted) result.stopped = true; else result.error = `The gateway could not be reached: ${error.message}`;
  }
  result.all = performance.now() - began;
  return result;
}
