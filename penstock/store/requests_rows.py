"""A request's facts as a row: what searches look at in columns, the rest packed into one.

Of ten million rows each byte counts: lengths are whole microseconds, and a store may have numbers in place of words
that come again and again. ``Word`` is either.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import msgspec
from msgspec.structs import astuple

from penstock.core.requests import AttemptMade, ContentPolicy, Marks, RequestRecord
from penstock.core.usage import Tokens
from penstock.store.requests_query import kept, seconds
from penstock.store.words import storable

Word = int | str
Row = tuple[Any, ...]

WORD_COLUMNS = (
    "project",
    "key_id",
    "user_id",
    "team",
    "subject",
    "service",
    "release",
    "model",
    "replica",
    "ending",
    "code",
    "cache",
    "purpose",
    "content",
)
"""Columns of words, in order."""
COLUMNS = (
    "at",
    "request_id",
    *WORD_COLUMNS,
    "status",
    "stream",
    "trace",
    "cost_nano",
    "duration_us",
    "first_us",
    "rest",
)
"""All columns of facts, in order."""
_SUBJECT = WORD_COLUMNS.index("subject")
_FIRST_WORD = 2
_AFTER_WORDS = _FIRST_WORD + len(WORD_COLUMNS)
_ESTIMATED, _TRACED, _KEPT = 1, 2, 4
_HIGHEST = (1 << 63) - 1
_KNOWN = 4096
_words = operator.attrgetter(
    "project", "key_id", "team", "service", "release", "model", "replica", "ending", "code", "cache", "purpose",
    "content", "gateway", "asked", "rollout", "kind", "dialect",
)  # fmt: skip


class _Attempt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    number: int
    model: Word
    replica: Word
    began_us: int
    ended_us: int
    first_us: int | None
    code: Word
    message: str
    span: bytes


class _Rest(msgspec.Struct, frozen=True, array_like=True, gc=False):
    gateway: Word
    worker: int
    asked: Word | None
    rollout: Word
    kind: Word
    dialect: Word
    flags: int
    message: str
    tokens: tuple[int, ...] | None
    queued_us: int | None
    overhead_us: int
    between_us: int | None
    marks_us: tuple[int | None, int | None, int | None, int | None, int | None, int | None]
    closed_us: int
    attempts: tuple[_Attempt, ...]
    span: bytes
    parent: bytes


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Rest).decode
_COUNTS = Tokens.__struct_fields__
_POLICIES: Mapping[str, ContentPolicy] = {policy: policy for policy in get_args(ContentPolicy)}


class Rows:
    """Makes rows, in the order of ``COLUMNS``. ``word`` gives what stands for a word, ``subject`` for a subject; both
    always say the same."""

    def __init__(self, word: Callable[[str], Word], subject: Callable[[str], Word]) -> None:
        self._word = word
        self._subject = subject
        self._known: dict[tuple[str, ...], tuple[Word, ...]] = {}

    def of(self, record: RequestRecord) -> Row:
        """The row of a record."""
        try:
            return self._row(record)
        except (ValueError, OverflowError):
            return self._row(kept(record))

    def _row(self, record: RequestRecord) -> Row:
        # Words come again and again, and mostly together.
        words = _words(record)
        known = self._known.get(words)
        if known is None:
            known = self._learn(words)
        project, key_id, team, service, release, model, replica, ending, code, cache, purpose, content, *rest = known
        first = record.first_chunk_s
        return (
            record.at,
            storable(record.request_id),
            project,
            key_id,
            self._word(record.user),
            team,
            self._subject(record.subject),
            service,
            release,
            model,
            replica,
            ending,
            code,
            cache,
            purpose,
            content,
            record.status,
            record.stream,
            record.trace,
            _number(record.cost_nano),
            round(record.duration_s * 1e6),
            None if first is None else round(first * 1e6),
            self._rest(record, *rest),
        )

    def _learn(self, words: tuple[str, ...]) -> tuple[Word, ...]:
        if len(self._known) >= _KNOWN:
            self._known.clear()
        found = self._known[words] = tuple(map(self._word, words))
        return found

    def _rest(
        self, record: RequestRecord, gateway: Word, asked: Word, rollout: Word, kind: Word, dialect: Word
    ) -> bytes:
        queued, between, marks, tokens = record.queued_s, record.between_s, record.marks, record.tokens
        # As ``_Rest``.
        return _encode(
            (
                gateway,
                record.worker,
                None if record.asked == record.service else asked,
                rollout,
                kind,
                dialect,
                record.estimated * _ESTIMATED + record.traced * _TRACED + record.kept * _KEPT,
                storable(record.message),
                None if tokens is None else _counts(tokens),
                None if queued is None else round(queued * 1e6),
                round(record.overhead_s * 1e6),
                None if between is None else round(between * 1e6),
                (
                    None if marks.admitted is None else round(marks.admitted * 1e6),
                    None if marks.assigned is None else round(marks.assigned * 1e6),
                    None if marks.prepared is None else round(marks.prepared * 1e6),
                    None if marks.reserved is None else round(marks.reserved * 1e6),
                    None if marks.placed is None else round(marks.placed * 1e6),
                    None if marks.first is None else round(marks.first * 1e6),
                ),
                round(marks.closed * 1e6),
                [self._attempt(made) for made in record.attempts],
                record.span,
                record.parent,
            )
        )

    def _attempt(self, made: AttemptMade) -> tuple[object, ...]:
        # As ``_Attempt``.
        word, first = self._word, made.first_s
        return (
            made.number,
            word(made.model),
            word(made.replica),
            round(made.began_s * 1e6),
            round(made.ended_s * 1e6),
            None if first is None else round(first * 1e6),
            word(made.code),
            storable(made.message),
            made.span,
        )


def _counts(tokens: Tokens) -> tuple[int, ...]:
    _number(tokens.input), _number(tokens.output)
    return astuple(tokens)


def _number(value: int) -> int:
    if -_HIGHEST <= value <= _HIGHEST:
        return value
    raise OverflowError


def words_of(row: Row) -> tuple[list[Word], Word]:
    """The words that a row needs, and its subject, in whatever they are kept as."""
    rest = _decode(row[-1])
    words = [*row[_FIRST_WORD:_AFTER_WORDS], rest.gateway, rest.rollout, rest.kind, rest.dialect]
    subject = words.pop(_SUBJECT)
    if rest.asked is not None:
        words.append(rest.asked)
    for made in rest.attempts:
        words += (made.model, made.replica, made.code)
    return words, subject


def record_of(row: Sequence[Any], word: Callable[[Word], str], subject: Callable[[Word], str]) -> RequestRecord:
    """The record of a row. ``word`` and ``subject`` undo those of ``Rows``."""
    rest = _decode(row[-1])
    words = row[_FIRST_WORD:_AFTER_WORDS]
    project, key_id, user, team, person, service, release, model, replica, ending, code, cache, purpose, content = (
        words
    )
    status, stream, trace, cost_nano, duration_us, first_us = row[_AFTER_WORDS:-1]
    service = word(service)
    return RequestRecord(
        request_id=row[1],
        at=row[0],
        gateway=word(rest.gateway),
        worker=rest.worker,
        project=word(project),
        key_id=word(key_id),
        user=word(user),
        team=word(team),
        subject=subject(person),
        asked=service if rest.asked is None else word(rest.asked),
        service=service,
        release=word(release),
        rollout=word(rest.rollout),
        model=word(model),
        replica=word(replica),
        kind=word(rest.kind),
        dialect=word(rest.dialect),
        stream=bool(stream),
        purpose="internal" if word(purpose) == "internal" else "client",
        ending=word(ending),
        status=status,
        code=word(code),
        message=rest.message,
        tokens=None if rest.tokens is None else Tokens(**dict(zip(_COUNTS, rest.tokens, strict=False))),
        estimated=bool(rest.flags & _ESTIMATED),
        cost_nano=cost_nano,
        duration_s=duration_us / 1e6,
        first_chunk_s=seconds(first_us),
        queued_s=seconds(rest.queued_us),
        overhead_s=rest.overhead_us / 1e6,
        between_s=seconds(rest.between_us),
        marks=_marks(rest),
        attempts=tuple(_attempt(made, word) for made in rest.attempts),
        cache=word(cache),
        trace=bytes(trace),
        span=rest.span,
        parent=rest.parent,
        traced=bool(rest.flags & _TRACED),
        content=_POLICIES.get(word(content), "none"),
        kept=bool(rest.flags & _KEPT),
    )


def _attempt(made: _Attempt, word: Callable[[Word], str]) -> AttemptMade:
    return AttemptMade(
        made.number,
        word(made.model),
        word(made.replica),
        made.began_us / 1e6,
        made.ended_us / 1e6,
        seconds(made.first_us),
        word(made.code),
        made.message,
        made.span,
    )


def _marks(rest: _Rest) -> Marks:
    admitted, assigned, prepared, reserved, placed, first = map(seconds, rest.marks_us)
    return Marks(admitted, assigned, prepared, reserved, placed, first, rest.closed_us / 1e6)
