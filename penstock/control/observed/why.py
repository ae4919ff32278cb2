"""Why a request went as it did, in sentences for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from penstock.core.money import dollars
from penstock.core.requests import AttemptMade, RequestRecord
from penstock.core.usage import Entry

WAITED_S = 0.001
"""Less than that is no wait, but the way through the queue."""


def why(record: RequestRecord, rows: Sequence[Entry] = ()) -> tuple[str, ...]:
    """In the order in which it happened. ``rows`` are those of the ledger."""
    return tuple(_told(record, rows))


def _told(record: RequestRecord, rows: Sequence[Entry]) -> Iterator[str]:
    yield from _drawn(record)
    yield from _cache(record)
    yield from _waited(record)
    yield from _attempts(record)
    yield _ended(record)
    yield from _cost(record, rows)
    yield _kept(record)


def _drawn(record: RequestRecord) -> Iterator[str]:
    if not record.service:
        if record.asked:
            yield f"No service was reached: the client asked for '{record.asked}'."
        return
    if record.asked and record.asked != record.service:
        yield f"The client asked for '{record.asked}', which is the service '{record.service}'."
    if record.purpose == "internal":
        yield "The gateway asked this itself; no client waited for it."
    if not record.release:
        return
    if record.rollout:
        yield f"The release {record.release} was drawn for it in the rollout {record.rollout}."
    else:
        yield f"The split of '{record.service}' gave it the release {record.release}."


def _cache(record: RequestRecord) -> Iterator[str]:
    if record.cache:
        yield f"The cache said: {record.cache}."


def _waited(record: RequestRecord) -> Iterator[str]:
    if record.queued_s is not None and record.queued_s >= WAITED_S:
        got = "for a place at a replica" if record.attempts else "for a place at a replica, and got none"
        yield f"It waited {duration(record.queued_s)} {got}."


def _attempts(record: RequestRecord) -> Iterator[str]:
    for attempt in record.attempts:
        if attempt.code:
            after = duration(attempt.ended_s - attempt.began_s)
            failed = f"Attempt {attempt.number} at {_where(attempt)} failed after {after} with {attempt.code}"
            yield f"{failed}{_because(attempt.message)}"
    won = _won(record)
    if won is None:
        return
    first = record.attempts[0]
    if won.model != first.model:
        yield f"The fallback {_where(won)} answered, as attempt {won.number}."
    elif won.number > first.number:
        yield f"Attempt {won.number}, at {_where(won)}, answered."
    else:
        yield f"{_where(won)} answered at the first attempt."


def _ended(record: RequestRecord) -> str:
    took = duration(record.duration_s)
    match record.ending:
        case "complete":
            first = "" if record.first_chunk_s is None else f", {duration(record.first_chunk_s)} to the first chunk"
            return f"It was complete after {took}{first}; {duration(record.overhead_s)} of it was the gateway's own."
        case "client_gone":
            return f"The client went away after {took}, and the work was stopped."
    blame = "was refused" if 400 <= record.status < 500 else "failed"
    code = f" ({record.code})" if record.code else ""
    return f"It {blame} after {took} with {record.status}{code}{_because(record.message)}"


def _cost(record: RequestRecord, rows: Sequence[Entry]) -> Iterator[str]:
    tokens = record.tokens
    if tokens is None:
        if not rows:
            yield "No tokens were counted, and it cost nothing."
        return
    cached = f" ({tokens.cached_read:,} of them cached)" if tokens.cached_read else ""
    prices = sorted({row.price for row in rows if row.price})
    if prices:
        price = f" by the price {' and '.join(prices)}"
    else:
        price = ", as the model has no price" if rows and not record.cost_nano else ""
    upper = "; at most that, as the upstream did not say how much it was" if record.estimated else ""
    amount = f"{tokens.input:,} tokens in{cached} and {tokens.output:,} out"
    yield f"{amount} cost ${dollars(record.cost_nano)}{price}{upper}."
    if len(rows) > 1:
        yield f"That is the sum of {len(rows)} attempts that an upstream worked on."


def _kept(record: RequestRecord) -> str:
    match record.content:
        case "masked":
            return "What was said is kept, with personal data masked."
        case "sampled":
            return "What was said is kept: it is one of the sampled."
        case "all":
            return "What was said is kept."
    return "Nothing of what was said is kept."


def _won(record: RequestRecord) -> AttemptMade | None:
    for attempt in reversed(record.attempts):
        if not attempt.code and attempt.first_s is not None:
            return attempt
    whole = [attempt for attempt in record.attempts if not attempt.code]
    return whole[-1] if whole and record.ending == "complete" else None


def _where(attempt: AttemptMade) -> str:
    return f"'{attempt.model}' ({attempt.replica})" if attempt.replica else f"'{attempt.model}'"


def _because(message: str) -> str:
    """The end of a sentence."""
    said = " ".join(message.split()).rstrip(".")
    return f": {said}." if said else "."


def duration(seconds: float) -> str:
    """With two digits or three, in the unit that fits."""
    for unit, of in (("µs", 1e-6), ("ms", 1e-3), ("s", 1.0)):
        amount = seconds / of
        if amount < 999.5 and unit != "s":
            break
    if unit == "s" and amount >= 119.5:
        return f"{seconds / 60.0:.1f} min"
    return f"{amount:.1f} {unit}" if amount < 9.95 and unit != "µs" else f"{amount:.0f} {unit}"
