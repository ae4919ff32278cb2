"""The access log: one value per request, written as a line of JSON by whoever is handed it."""

from __future__ import annotations

import datetime
import time

import msgspec

from penstock.edge.http.exchange import Exchange
from penstock.gateway.settle import ENDINGS


class AccessLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """``ms`` is from the request's arrival to its last byte. Holds neither key nor content nor query string.

    ``status`` 499 is a client that left before it had an answer (nginx's word). ``code`` is an error's, in
    mid-stream too, when ``status`` was sent as 200 before it.
    """

    time: datetime.datetime
    request_id: str
    client: str
    method: str
    path: str
    status: int
    ms: float
    bytes: int
    key: str = ""
    project: str = ""
    asked: str = ""
    service: str = ""
    model: str = ""
    attempts: int = 0
    stream: bool = False
    first_chunk_ms: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    ending: str = ""
    code: str = ""


def line(exchange: Exchange) -> AccessLine:
    """What the log says of one exchange that is over."""
    summary, admission = exchange.summary, exchange.admission
    usage = summary.usage if summary else None
    first = summary.first_chunk_s if summary else None
    return AccessLine(
        time=datetime.datetime.fromtimestamp(exchange.wall, datetime.UTC),
        request_id=exchange.request_id,
        client=exchange.client,
        method=exchange.method,
        path=exchange.path,
        status=exchange.status,
        ms=_ms(time.monotonic() - exchange.arrived),
        bytes=exchange.sent,
        key=admission.principal.key_id if admission else "",
        project=admission.principal.project if admission else "",
        asked=exchange.asked,
        service=summary.service if summary else "",
        model=summary.model if summary else "",
        attempts=summary.attempts if summary else 0,
        stream=summary.stream if summary else False,
        first_chunk_ms=None if first is None else _ms(first),
        prompt_tokens=usage.prompt if usage else None,
        completion_tokens=usage.completion if usage else None,
        ending=ENDINGS[summary.ending] if summary else "",
        code=exchange.code,
    )


def _ms(seconds: float) -> float:
    return int(seconds * 1e6) / 1000
