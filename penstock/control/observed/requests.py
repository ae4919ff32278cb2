"""The request log, asked: who had what answered, by what, for how much, and what was said where it was kept."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.control.accounts.operation import Sources
from penstock.control.accounts.turn import Page, Turn, after_of, cursor, invalid, limit_of, storable
from penstock.control.accounts.usage import shown as shown_entry
from penstock.control.observed.asked import off, request_query, said, sees
from penstock.control.observed.views import ContentView, RequestDetail, RequestView, SpanView
from penstock.control.observed.why import why
from penstock.core.administration import Ask
from penstock.core.errors import NOT_FOUND, PenstockError
from penstock.core.money import dollars
from penstock.core.releases import belongs
from penstock.core.requests import Place, RequestRecord
from penstock.core.usage import Act, Entry
from penstock.observe.spans import waterfall
from penstock.store import RequestStore

READ_CONTENT = "requests.read_content"
"""What the audit calls it when somebody reads what was said."""

_LONGEST_ID = 128
# The ledger's time and the log's are of one clock, and written apart.
_SAME_S = 1.0


def shown(record: RequestRecord) -> RequestView:
    same = {name: getattr(record, name) for name in _SAME}
    return RequestView(
        id=record.request_id,
        cost=dollars(record.cost_nano),
        duration_ms=record.duration_s * 1000.0,
        first_chunk_ms=_ms(record.first_chunk_s),
        queued_ms=_ms(record.queued_s),
        overhead_ms=record.overhead_s * 1000.0,
        between_ms=_ms(record.between_s),
        attempts=len(record.attempts),
        trace=record.trace.hex(),
        **same,
    )


def listed(sources: Sources, turn: Turn, _: object, __: Ask) -> Page:
    """One page, newest first. Raises ``PenstockError``."""
    log, query = _log(sources), request_query(turn)
    most, after = limit_of(turn.query), after_of(turn.query, Place)
    if after is not None and not storable(after.request_id):
        raise invalid("after", "'after' must be what 'next' of the page before said.")
    found = log.find(query, after, most + 1)
    more = len(found) > most
    following = cursor(Place(found[most - 1].at, found[most - 1].request_id)) if more else None
    return Page(data=[shown(each) for each in found[:most]], has_more=more, next=following)


def one(sources: Sources, turn: Turn, _: object, __: Ask) -> RequestDetail:
    """Raises ``PenstockError(NOT_FOUND)``, too when it is another's."""
    seen = _records(sources, turn)
    record = _chosen(seen, turn)
    rows = [each for each in sources.ledger.request(record.request_id, record.at) if _of(record, each)]
    scores: dict[str, float] = {}
    if sources.scores is not None:
        for score in sources.scores.of_request(record.request_id):
            if score.copied or score.service not in ("", record.service):
                continue
            if belongs(score, [(record.at, record.project)]):
                scores[score.metric] = score.value
    view = shown(record)
    facts = {name: getattr(view, name) for name in view.__struct_fields__}
    return RequestDetail(
        **facts,
        spans=spans(record),
        why=why(record, rows),
        usage=tuple(map(shown_entry, rows)),
        scores=scores,
        rollout=record.rollout,
        others=tuple(each.at for each in seen if each is not record),
    )


def content(sources: Sources, turn: Turn, _: object, ask: Ask) -> ContentView:
    """What was said; the audit hears who has read it. Raises ``PenstockError(NOT_FOUND)``."""
    record = _chosen(_records(sources, turn), turn)
    found = _log(sources).content(record.request_id, record.at)
    if found is None:
        raise PenstockError(NOT_FOUND, _nothing_kept(record))
    act = Act(
        at=turn.now,
        actor=turn.actor.key_id,
        project=record.project,
        action=READ_CONTENT,
        target=record.request_id,
        address=ask.address,
        request_id=ask.request_id,
    )
    # Before it is told: what somebody has read must not be missing from the audit.
    sources.audit.append_acts([(turn.new_id("act"), act)])
    return ContentView(
        id=record.request_id,
        at=record.at,
        masked=found.masked,
        request=_json(found.request),
        reply=_json(found.reply),
    )


def spans(record: RequestRecord) -> tuple[SpanView, ...]:
    """Its waterfall."""
    return tuple(
        SpanView(
            name=bar.name,
            begin_ms=bar.begin * 1000.0,
            ms=(bar.end - bar.begin) * 1000.0,
            depth=bar.depth,
            about=bar.about,
            error=bar.error,
            message=bar.message,
        )
        for bar in waterfall(record)
    )


def _log(sources: Sources) -> RequestStore:
    if sources.requests is None:
        raise off()
    return sources.requests


def _records(sources: Sources, turn: Turn) -> Sequence[RequestRecord]:
    """All of the id that exist for the actor."""
    log = _log(sources)
    known = log.request(turn.target) if storable(turn.target) and len(turn.target) <= _LONGEST_ID else ()
    return [record for record in known if sees(turn.actor, record)]


def _chosen(seen: Sequence[RequestRecord], turn: Turn) -> RequestRecord:
    at = _at(turn)
    for record in seen:
        if at is None or abs(record.at - at) < 1e-6:
            return record
    name = turn.target if len(turn.target) <= _LONGEST_ID else turn.target[:_LONGEST_ID] + "..."
    raise PenstockError(
        NOT_FOUND,
        f"There is no request '{name}' in the log that this key may see. It is there a second or so after the reply "
        "has ended, and until retention has it forgotten.",
    )


def _at(turn: Turn) -> float | None:
    given = said(turn).get("at")
    if given is None:
        return None
    try:
        return float(given)
    except ValueError:
        raise invalid("at", "'at' must be the 'at' of a request in the list, in seconds since 1970.") from None


def _of(record: RequestRecord, row: Entry) -> bool:
    return row.project == record.project and abs(row.received_at - record.at) < _SAME_S


def _nothing_kept(record: RequestRecord) -> str:
    if record.content == "none":
        return (
            f"Nothing of what was said was kept of the request '{record.request_id}': the policy for its project and "
            "service is 'none', or it was not among the sampled. 'observe: requests: content' in the deployment file "
            "and 'penstock projects update ID --log' change that for those that follow."
        )
    return (
        f"What was said in the request '{record.request_id}' is no longer kept: its retention is over, or it was "
        "erased."
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000.0


def _json(raw: bytes) -> msgspec.Raw:
    try:
        msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.Raw(msgspec.json.encode(raw.decode("utf-8", "replace") or None))
    return msgspec.Raw(raw)


_OTHERWISE = frozenset({"attempts", "trace"})
_SAME = tuple(
    name
    for name in RequestView.__struct_fields__
    if name in RequestRecord.__struct_fields__ and name not in _OTHERWISE
)
