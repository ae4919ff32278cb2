"""llama.cpp's server on the wire, as build 11549 was heard to speak it, saying the contract's text."""

from __future__ import annotations

import json

from tests.contracts.engine import TEXT

MODEL = "/models/small.gguf"
_TAIL = f'"created":1795229353,"id":"chatcmpl-KKG31Mu","model":"{MODEL}","system_fingerprint":"b0-unknown"'
_CHUNK = '"object":"chat.completion.chunk"'
_TIMINGS = '"timings":{"cache_n":0,"prompt_n":31,"prompt_ms":208.523,"predicted_n":10,"predicted_ms":13.805}'
_USAGE = '"usage":{"completion_tokens":10,"prompt_tokens":31,"total_tokens":41,"prompt_tokens_details":{"cached_tokens":7}}'
WORDS = [word if not place else " " + word for place, word in enumerate(TEXT.split(" "))]


def _event(text: str) -> bytes:
    return f"data: {text}\n\n".encode()


def _delta(delta: str, finish: str = "null", more: str = "") -> bytes:
    return _event(f'{{"choices":[{{"finish_reason":{finish},"index":0,"delta":{delta}}}],{_TAIL},{_CHUNK}{more}}}')


def progress(done: int) -> bytes:
    return _delta(
        '{"role":"assistant","content":null}',
        more=f',"prompt_progress":{{"total":31,"cache":0,"processed":{done},"time_ms":{done * 7}}}',
    )


def chat(words: list[str] | None = None, finish: str = "stop") -> list[bytes]:
    """The events of a streamed chat answer, progress reports first."""
    said = [_delta(json.dumps({"content": word})) for word in (WORDS if words is None else words)]
    role = _delta('{"role":"assistant","content":null}')
    usage = _event(f'{{"choices":[],{_TAIL},{_CHUNK},{_USAGE},{_TIMINGS}}}')
    return [progress(0), progress(31), role, *said, _delta("{}", f'"{finish}"'), usage, _event("[DONE]")]


def completion(scored: bool = False) -> list[bytes]:
    """The events of a streamed completion; ``scored`` with log probabilities, which come in the shape of chat."""
    events = []
    for word in WORDS:
        token = {
            "id": 1,
            "token": word,
            "bytes": [],
            "logprob": -0.5,
            "top_logprobs": [{"token": "x", "logprob": -1}],
        }
        logprobs = json.dumps({"content": [token]}) if scored else "null"
        choice = f'{{"text":{json.dumps(word)},"index":0,"logprobs":{logprobs},"finish_reason":null}}'
        events.append(_event(f'{{"choices":[{choice}],{_TAIL},"object":"text_completion"}}'))
    last = '{"text":"","index":0,"logprobs":null,"finish_reason":"stop"}'
    events.append(_event(f'{{"choices":[{last}],{_TAIL},"object":"text_completion",{_USAGE},{_TIMINGS}}}'))
    return [*events, _event("[DONE]")]


EMBEDDINGS = json.dumps(
    {
        "model": MODEL,
        "object": "list",
        "usage": {"prompt_tokens": 8, "total_tokens": 8},
        "data": [{"embedding": [0.6, 0.8], "index": place, "object": "embedding"} for place in (0, 1)],
    }
).encode()


def refusal(code: int, kind: str, message: str, **more: int) -> tuple[int, bytes]:
    return code, json.dumps({"error": {"code": code, "message": message, "type": kind, **more}}).encode()


REFUSALS = {
    "image": refusal(
        500,
        "server_error",
        "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
    ),
    "audio": refusal(500, "server_error", "audio input is not supported - hint: provide the mmproj"),
    "long": refusal(
        400,
        "exceed_context_size_error",
        "request (20031 tokens) exceeds the available context size (8192 tokens), try increasing it",
        n_prompt_tokens=20031,
        n_ctx=8192,
    ),
    "schema": refusal(
        400,
        "invalid_request_error",
        "Automatic parser generation failed: JSON schema error at #: unrecognized type bogus",
    ),
    "value": refusal(400, "invalid_request_error", '"messages" must be an array'),
    "loading": refusal(503, "unavailable_error", "Loading model"),
    "key": refusal(401, "authentication_error", "Invalid API Key"),
}
