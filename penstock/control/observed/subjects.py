"""A person, by the id that clients send as ``user``: what is known of it, and how that is erased."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence

import msgspec

from penstock.control.accounts.cache_records import with_one_more
from penstock.control.accounts.caches import shown
from penstock.control.accounts.operation import Sources
from penstock.control.accounts.sight import not_found
from penstock.control.accounts.turn import Outcome, Turn, storable
from penstock.control.observed.asked import off, said
from penstock.control.observed.views import SubjectErased, SubjectView
from penstock.core.accounts import EVERYWHERE, Directory
from penstock.core.administration import Ask
from penstock.core.caching import Invalidation, subject_digest
from penstock.core.errors import INVALID_VALUE, NOT_FOUND, PenstockError
from penstock.core.requests import Place, RequestQuery, RequestRecord, subject_named
from penstock.core.usage import Act
from penstock.store import RequestStore

ERASE = "subjects.erase"
INVALIDATE = "caches.invalidate"
TOLD_WITHIN_S = 15.0
"""How long an erasure waits for what is on its way."""

_AT_ONCE = 1000
_COUNTED = 200
_LOOK_S = 0.25
_LONGEST_ID = 2048


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the act: the SHA-256 of the subject in hexadecimal, never the subject, and what there was."""

    subject_sha256: str
    requests: int
    contents: int
    feedback: int
    archived_days: int


def one(sources: Sources, turn: Turn, _: object, __: Ask) -> SubjectView:
    """Raises ``PenstockError(NOT_FOUND)`` where nothing is known of it."""
    log, project = _log(sources), _project(turn)
    subject = subject_named(_given(turn))
    requests, contents, first, last = log.about(subject, project)
    if not requests and not contents:
        raise PenstockError(
            NOT_FOUND,
            f"Nothing is known of the subject '{turn.target[:80]}' that this key may see. A subject is what clients "
            "send as 'user' or 'safety_identifier'. Caches are not looked through: to erase it ends what they serve "
            "of it.",
        )
    return SubjectView(
        id=turn.target,
        requests=requests,
        contents=contents,
        feedback=_feedback(sources, log, subject, project),
        first_at=first,
        last_at=last,
        invalidated_at=_invalidated_at(sources.directory(), subject, project),
    )


def forget(directory: Directory, turn: Turn, _: object) -> Outcome:
    """What caches keep of it is served no more: this stands before the rest is erased, which may take a while."""
    project = _project(turn) or ""
    record = Invalidation(scope="subject", value=_digest(turn), project=project, at=turn.now)
    put, remove = with_one_more(directory.invalidations, record, turn.now)
    view = shown(record)
    return Outcome(
        answer=view,
        put=put,
        remove=remove,
        target=record.id,
        project=project or EVERYWHERE,
        after=view,
        action=INVALIDATE,
    )


def erase(sources: Sources, turn: Turn, _: object, ask: Ask) -> SubjectErased:
    """Erases what has happened until it was asked for; of what is unknown there is nothing to erase, and that is no
    error. Raises ``PenstockError``; asking again goes on where it stopped."""
    log, project = _log(sources), _project(turn)
    subject = subject_named(_given(turn))
    untold = _told(sources, turn)
    # Before the log forgets whose requests they were.
    scores = _scores(sources, log, subject, project)
    erased = log.erase(subject, project)
    erasure = Erasure(
        subject_sha256=hashlib.sha256(turn.target.encode()).hexdigest(),
        requests=erased.requests,
        contents=erased.contents,
        feedback=scores,
        archived_days=erased.archived_days,
    )
    act = Act(
        at=turn.now,
        actor=turn.actor.key_id,
        project=project or EVERYWHERE,
        action=ERASE,
        address=ask.address,
        request_id=ask.request_id,
        content=msgspec.json.encode(erasure),
    )
    sources.audit.append_acts([(turn.new_id("act"), act)])
    return SubjectErased(
        id=turn.target,
        requests=erased.requests,
        contents=erased.contents,
        feedback=scores,
        archived_days=erased.archived_days,
        invalidated_at=turn.now,
        untold=untold,
    )


def _digest(turn: Turn) -> str:
    return subject_digest(subject_named(_given(turn)))


def _invalidated_at(directory: Directory, subject: str, project: str | None) -> float | None:
    """The newest that concerns all of what may be seen of it."""
    value = subject_digest(subject)
    return max(
        (
            each.at
            for each in directory.invalidations
            if each.scope == "subject" and each.value == value and each.project in ("", project)
        ),
        default=None,
    )


def _told(sources: Sources, turn: Turn) -> tuple[str, ...]:
    """Waits until every gateway that is alive has told of all that had ended when this was asked for; those that had
    not in time."""
    deadline = time.monotonic() + TOLD_WITHIN_S
    # Who is late is among those named below.
    with contextlib.suppress(TimeoutError):
        sources.flush(TOLD_WITHIN_S)
    if sources.series is None:
        return ()
    while True:
        told = {each.gateway: each.until for each in sources.series.fed()}
        late = tuple(sorted(each for each in turn.standing if told.get(each, 0.0) < turn.now))
        if not late or time.monotonic() >= deadline:
            return late
        time.sleep(_LOOK_S)


def _scores(sources: Sources, log: RequestStore, subject: str, project: str | None) -> int:
    if sources.scores is None:
        return 0
    return sum(
        sources.scores.erase_scores([(each.request_id, each.at, each.project) for each in some])
        for some in _requests(log, subject, project)
    )


def _feedback(sources: Sources, log: RequestStore, subject: str, project: str | None) -> int:
    """How many scores its requests have, counted for the newest of them."""
    if sources.scores is None:
        return 0
    newest = next(_requests(log, subject, project), ())
    return sum(len(sources.scores.of_request(each.request_id)) for each in newest[:_COUNTED])


def _requests(log: RequestStore, subject: str, project: str | None) -> Iterator[Sequence[RequestRecord]]:
    """All requests of the subject, newest first, some at a time."""
    query, after = RequestQuery(subject=subject, project=project), None
    while True:
        found = log.find(query, after, _AT_ONCE)
        if found:
            yield found
        if len(found) < _AT_ONCE:
            return
        after = Place(found[-1].at, found[-1].request_id)


def _log(sources: Sources) -> RequestStore:
    if sources.requests is None:
        raise off()
    return sources.requests


def _given(turn: Turn) -> str:
    if not turn.target or len(turn.target) > _LONGEST_ID or not storable(turn.target):
        raise PenstockError(INVALID_VALUE, f"A subject is 1 to {_LONGEST_ID} characters, as clients send it.")
    return turn.target


def _project(turn: Turn) -> str | None:
    given = said(turn).get("project")
    if turn.actor.everywhere:
        return given
    if given not in (None, turn.actor.project):
        raise not_found("project", str(given), "project")
    return turn.actor.project
