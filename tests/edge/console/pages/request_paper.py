"""A log of requests on paper: requests of every kind, one that fell back, what was said in it."""

from __future__ import annotations

import msgspec

from penstock.control.accounts.usage import EntryView
from penstock.control.observed.views import ContentView, RequestDetail, RequestView, SpanView
from penstock.core.administration import Ask
from penstock.core.errors import NOT_FOUND, PenstockError
from penstock.core.usage import Tokens
from tests.edge.console import canned
from tests.edge.console.canned import NOW, Told

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
replace = msgspec.structs.replace


def detail(**more: object) -> RequestDetail:
    """It fell back: the first upstream failed, the second answered."""
    values: dict[str, object] = {
        "id": "req_01jd9f3kq8m4", "at": NOW - 62.482117, "project": "red", "key_id": "mobile-app", "user": "ann",
        "team": "search", "subject": "cust-4711", "asked": "chat-default", "service": "chat",
        "release": "rel_c01f3a6ef0f8d5b2", "rollout": "roll_1", "model": "gpt-5-mini", "replica": "gpt-5-mini",
        "tokens": Tokens(input=1_204, cached_read=512, output=310, reasoning=64), "cost": "0.001873",
        "duration_ms": 4_812.0, "first_chunk_ms": 1_460.0, "queued_ms": 38.0, "overhead_ms": 0.83,
        "between_ms": 10.8, "attempts": 2, "content": "masked", "trace": TRACE, "spans": SPANS, "why": WHY,
        "usage": (entry(),), "scores": {"feedback": 1.0, "format": 0.5, "judge.helpful": 0.8125},
        **more,
    }  # fmt: skip
    return canned.detail(**values)


WHY = (
    "The client asked for 'chat-default', which is the service 'chat'.",
    "The release rel_c01f3a6ef0f8d5b2 was drawn for it in the rollout roll_1.",
    "It waited 38 ms for a place at a replica.",
    "Attempt 1 at 'small' (small-0) failed after 1.1 s with upstream_error: the engine closed the connection.",
    "The fallback 'gpt-5-mini' (gpt-5-mini) answered, as attempt 2.",
    "It was complete after 4.8 s, 1.5 s to the first chunk; 830 µs of it was the gateway's own.",
    "1,204 tokens in (512 of them cached) and 310 out cost $0.001873 by the price gpt-5-mini@2025-08-07.",
    "What was said is kept, with personal data masked.",
)

SPANS = tuple(
    SpanView(name=name, begin_ms=begin, ms=ms, depth=depth, about=about, error=error, message=message)
    for name, begin, ms, depth, about, error, message in (
        ("chat", 0.0, 4_812.0, 0, "complete 200", "", ""),
        ("admit", 0.0, 0.2, 1, "", "", ""),
        ("assign", 0.2, 0.1, 1, "", "", ""),
        ("prepare", 0.3, 0.4, 1, "", "", ""),
        ("reserve", 0.7, 0.1, 1, "", "", ""),
        ("place", 0.8, 38.0, 1, "", "", ""),
        ("dispatch", 38.8, 1_421.2, 1, "", "", ""),
        ("small", 39.0, 1_083.0, 2, "small-0", "upstream_error", "the engine closed the connection"),
        ("gpt-5-mini", 1_122.0, 3_690.0, 2, "gpt-5-mini", "", ""),
        ("reply", 1_460.0, 3_352.0, 1, "", "", ""),
    )
)


def entry(**more: object) -> EntryView:
    values: dict[str, object] = {
        "request_id": "req_01jd9f3kq8m4", "attempt": 1, "gateway": "gw-a", "received_at": NOW - 62.482,
        "settled_at": NOW - 57.6, "project": "red", "key_id": "mobile-app", "user": "ann", "team": "search",
        "service": "chat", "model": "gpt-5-mini", "kind": "chat", "purpose": "client", "ending": "complete",
        "status": 200, "tokens": Tokens(input=1_204, cached_read=512, output=310), "estimated": False,
        "cost": "0.001873", "price": "gpt-5-mini@2025-08-07", "release": "rel_c01f3a6ef0f8d5b2", **more,
    }  # fmt: skip
    return EntryView(**values)  # type: ignore[arg-type]


def row(**more: object) -> RequestView:
    """As the list has it."""
    view = detail(**more)
    return RequestView(**{name: getattr(view, name) for name in RequestView.__struct_fields__ if name != "object"})


def rows() -> list[RequestView]:
    """Of every kind, the newest first."""
    kinds: tuple[dict[str, object], ...] = (
        {"user": "ann"},
        {"attempts": 1, "model": "small", "replica": "small-0", "duration_ms": 843.0, "first_chunk_ms": 212.0,
         "cost": "0.00031", "subject": "", "content": "none"},
        {"status": 429, "ending": "failed", "code": "rate_limit_exceeded", "attempts": 0, "tokens": None, "cost": "0",
         "duration_ms": 0.9, "first_chunk_ms": None, "model": "", "replica": "", "user": "", "subject": "",
         "key_id": "batch-jobs", "content": "none"},
        {"service": "support-summaries", "release": "rel_0d2eb39448d0ad7e", "stream": False, "cache": "hit",
         "duration_ms": 3.1, "first_chunk_ms": 2.9, "cost": "0", "attempts": 0, "user": "support-bot",
         "model": "", "replica": ""},
        {"status": 502, "ending": "failed", "code": "upstream_error", "duration_ms": 9_720.0, "first_chunk_ms": None,
         "attempts": 3, "tokens": None, "cost": "0", "content": "none"},
        {"ending": "client_gone", "duration_ms": 2_110.0, "estimated": True, "attempts": 1, "user": "bert"},
        {"purpose": "internal", "user": "", "key_id": "", "subject": "", "asked": "judge", "service": "judge",
         "release": "", "attempts": 1, "duration_ms": 1_204.0, "content": "none"},
    )  # fmt: skip
    found = []
    for place in range(28):
        more = kinds[(place * 5) % 7] if place else kinds[0]
        found.append(row(**{"id": f"req_01jd9f{place:03d}kq8m4", "at": NOW - 12.25 - place * 41.371, **more}))
    return found


def content(**more: object) -> ContentView:
    request = {
        "model": "chat-default",
        "messages": [
            {"role": "system", "content": "You help customers of the shop. Be brief and kind."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Where is my parcel? Write to [EMAIL] or call [PHONE]."},
                    {"type": "image_url", "image_url": {"url": "https://shop.example/label.png"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "find_parcel", "arguments": '{"customer":"cust-4711"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": '{"state":"in transit","days":2}'},
        ],
        "temperature": 0.3,
        "stream": True,
        "tools": [{"type": "function", "function": {"name": "find_parcel", "parameters": {"type": "object"}}}],
        "user": "cust-4711",
    }
    said = "Your parcel is on its way and arrives in two days.\n\nI'll write to [EMAIL] as soon as it is there."
    reply = [
        {
            "index": 0,
            "content": {"bytes": 95, "text": said},
            "reasoning": {"bytes": 40, "text": "The tool says in transit, two days."},
            "finish_reason": "stop",
        }
    ]
    values: dict[str, object] = {
        "id": "req_01jd9f3kq8m4",
        "at": NOW - 62.482117,
        "masked": True,
        "request": msgspec.Raw(msgspec.json.encode(request)),
        "reply": msgspec.Raw(msgspec.json.encode(reply)),
        **more,
    }
    return ContentView(**values)  # type: ignore[arg-type]


def of_trace(ask: Ask) -> list[RequestView]:
    """The list: all of it, or what an agent asked within one trace."""
    if not ask.query.get("trace"):
        return rows()
    steps: tuple[tuple[float, dict[str, object]], ...] = (
        (0.0, {"duration_ms": 4_812.0}),
        (5.1, {"service": "vectors", "release": "", "duration_ms": 84.0, "model": "embed", "replica": "embed-0"}),
        (5.4, {"duration_ms": 2_210.0}),
    )
    found = [row(id=f"req_step{place}", at=NOW - 62.5 + after, **more) for place, (after, more) in enumerate(steps)]
    return found[::-1]


def one(ask: Ask) -> RequestDetail:
    """Any id but that of ``req_gone``."""
    if ask.target.startswith("req_gone"):
        raise PenstockError(NOT_FOUND, f"There is no request '{ask.target}' in the log that this key may see.")
    if ask.target.startswith("req_step"):
        row = next(each for each in of_trace(replace(ask, query={"trace": TRACE})) if each.id == ask.target)
        scale = row.duration_ms / 4_812.0
        spans = tuple(
            replace(
                each,
                begin_ms=each.begin_ms * scale,
                ms=each.ms * scale,
                name=row.service if not each.depth else each.name,
            )
            for each in SPANS
        )
        facts = {name: getattr(row, name) for name in RequestView.__struct_fields__ if name != "object"}
        return detail(**facts, spans=spans)
    return detail(id=ask.target)


def told() -> dict[str, Told]:
    return {
        **canned.told(),
        "requests.list": of_trace,
        "requests.get": one,
        "requests.content": content(),
    }
