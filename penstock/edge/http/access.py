"""The access log: one value per request, written as a line of JSON by whoever is handed it."""

from __future__ import annotations

import datetime
import time

import msgspec

from penstock.edge.http.exchange import Exchange
from penstock.gateway.settle import ENDINGS, Summary
from penstock.gateway.snapshot import Admission


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
    cache: str = ""
    attempts: int = 0
    stream: bool = False
    first_chunk_ms: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    ending: str = ""
    code: str = ""
    release: str = ""


def line(exchange: Exchange) -> AccessLine:
    """What the log says of one exchange that is over."""
    return told(
        wall=exchange.wall,
        took_s=time.monotonic() - exchange.arrived,
        request_id=exchange.request_id,
        client=exchange.client,
        method=exchange.method,
        path=exchange.path,
        status=exchange.status,
        sent=exchange.sent,
        admission=exchange.admission,
        asked=exchange.asked,
        summary=exchange.summary,
        code=exchange.code,
    )


def told(
    *,
    wall: float,
    took_s: float,
    request_id: str,
    client: str,
    method: str,
    path: str,
    status: int,
    sent: int,
    admission: Admission | None,
    asked: str,
    summary: Summary | None,
    code: str,
) -> AccessLine:
    """What the log says of a request that began at ``wall`` and took ``took_s`` seconds."""
    usage = summary.usage if summary else None
    first = summary.first_chunk_s if summary else None
    return AccessLine(
        time=datetime.datetime.fromtimestamp(wall, datetime.UTC),
        request_id=request_id,
        client=client,
        method=method,
        path=path,
        status=status,
        ms=_ms(took_s),
        bytes=sent,
        key=admission.principal.key_id if admission else "",
        project=admission.principal.project if admission else "",
        asked=asked,
        service=summary.service if summary else "",
        model=summary.model if summary else "",
        cache=summary.cache if summary else "",
        attempts=summary.attempts if summary else 0,
        stream=summary.stream if summary else False,
        first_chunk_ms=None if first is None else _ms(first),
        prompt_tokens=usage.prompt if usage else None,
        completion_tokens=usage.completion if usage else None,
        ending=ENDINGS[summary.ending] if summary else "",
        code=code,
        release=summary.release if summary else "",
    )


def _ms(seconds: float) -> float:
    return int(seconds * 1e6) / 1000
