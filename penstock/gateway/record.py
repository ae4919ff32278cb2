"""The record of a request that is over: its trail, and what else is known, as the facts that the log keeps. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.core.chat import Call, Kind
from penstock.core.errors import PenstockError
from penstock.core.requests import AttemptMade, ContentPolicy, Marks, RequestRecord, subject_named
from penstock.core.trail import (
    Admitted,
    Arrived,
    Assigned,
    AttemptFailed,
    AttemptStarted,
    FirstChunk,
    Prepared,
    Queued,
    Reserved,
    Trail,
)
from penstock.gateway.lease import Lease
from penstock.gateway.quoting import unquoted
from penstock.gateway.settle import ENDINGS, Summary
from penstock.gateway.snapshot import Admission
from penstock.gateway.tracing import Tracing
from penstock.observe.masking import masked_text

LONGEST_MESSAGE = 512
_LONGEST_NAME = 256
_DIALECTS = {kind: kind.value[1:] for kind in Kind}
_text = msgspec.json.Decoder(str)


def record(
    trail: Trail,
    summary: Summary,
    call: Call,
    admission: Admission,
    *,
    gateway: str,
    worker: int,
    error: PenstockError | None,
    lease: Lease | None,
    tracing: Tracing | None,
    traced: bool,
    purpose: Literal["client", "internal"],
    content: ContentPolicy,
    kept: bool,
) -> RequestRecord:
    """What is known of a request once its trail is closed and its lease too. ``call`` is what the client sent."""
    principal, duration_s = admission.principal, summary.duration_s
    began = 0.0
    admitted = assigned = prepared = reserved = placed = None
    rollout = ""
    started: list[AttemptStarted] = []
    failed: dict[int, AttemptFailed] = {}
    chunks: dict[int, float] = {}
    for fact in trail.facts:
        # By exact type, as in ``settle.summed``.
        if type(fact) is AttemptStarted:
            started.append(fact)
        elif type(fact) is FirstChunk:
            chunks[fact.number] = fact.at - began
        elif type(fact) is AttemptFailed:
            failed[fact.number] = fact
        elif type(fact) is Arrived:
            began = fact.at
        elif type(fact) is Admitted:
            admitted = fact.at - began
        elif type(fact) is Assigned:
            assigned, rollout = fact.at - began, fact.rollout
        elif type(fact) is Prepared:
            prepared = fact.at - began
        elif type(fact) is Reserved:
            reserved = fact.at - began
        elif type(fact) is Queued:
            placed = fact.at - began
    ended = {} if len(started) < 2 or lease is None else lease.ended()
    attempts = tuple(
        [
            _made(
                each,
                call,
                began,
                duration_s,
                failed.get(each.number),
                chunks.get(each.number),
                ended.get(each.number),
            )
            for each in started
        ]
    )
    # In the order of the fields: by their names forty of them take longer than all else here.
    return RequestRecord(
        summary.request_id,
        summary.wall,
        gateway,
        worker,
        principal.project,
        principal.key_id,
        principal.user,
        principal.team,
        subject(call),
        summary.service if call.service == summary.service else _name(call.service),
        summary.service,
        summary.release,
        rollout,
        summary.model,
        summary.replica,
        summary.kind,
        call.dialect or _DIALECTS[call.kind],
        summary.stream,
        purpose,
        ENDINGS[summary.ending],
        summary.status,
        summary.code,
        "" if error is None else said(unquoted(error.message, call)),
        None if lease is None else lease.tokens,
        lease is not None and lease.estimated,
        summary.cost_nano,
        duration_s,
        summary.first_chunk_s,
        summary.queued_s,
        summary.overhead_s,
        summary.between_s,
        Marks(admitted, assigned, prepared, reserved, placed, summary.first_chunk_s, duration_s),
        attempts,
        summary.cache,
        b"" if tracing is None else tracing.id,
        b"" if tracing is None else tracing.span,
        b"" if tracing is None else tracing.parent,
        traced,
        content,
        kept,
    )


def subject(call: Call) -> str:
    """Whom the client says that it asks for: ``safety_identifier``, else ``user``; empty: nobody."""
    given = call.fields.get("safety_identifier")
    if given is not None:
        try:
            if found := _text.decode(given):
                return subject_named(found)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    return subject_named(call.user or "")


def _name(text: str) -> str:
    """Of a service that there is not: it is whatever a client has written there."""
    return masked_text(text[: 4 * _LONGEST_NAME])[:_LONGEST_NAME]


def said(message: str) -> str:
    """What of an error's message is kept: they repeat values that clients send, and words of upstreams."""
    # Cut last: half of a key has no form to be found by.
    return masked_text(message[: 4 * LONGEST_MESSAGE])[:LONGEST_MESSAGE]


def _made(
    of: AttemptStarted,
    call: Call,
    began: float,
    duration_s: float,
    failed: AttemptFailed | None,
    first_s: float | None,
    left: float | None,
) -> AttemptMade:
    """``left``: when it was broken off for another that was quicker."""
    begun = of.at - began
    if failed is not None:
        at = failed.at - began
        message = said(unquoted(failed.message, call))
        return AttemptMade(of.number, of.model, of.replica, begun, at, first_s, failed.code, message, of.span)
    at = duration_s if left is None else left - began
    return AttemptMade(of.number, of.model, of.replica, begun, at, first_s, "", "", of.span)
