"""Carries administrative requests out: a pure operation over the directory as it is, and the store takes the change
whole or, when somebody else was faster, not at all; then it is done again."""

from __future__ import annotations

import asyncio
import random
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from penstock.access.peppers import Pepper
from penstock.control.accounts import usage
from penstock.control.accounts.asked import check_permission, check_query, read_body
from penstock.control.accounts.keys import KeySecret
from penstock.control.accounts.minting import minted, once_key, request_digest, told_again
from penstock.control.accounts.operation import Operation, Sources
from penstock.control.accounts.operations import BY_NAME
from penstock.control.accounts.traffic import recent
from penstock.control.accounts.turn import Outcome, Turn, conflict
from penstock.core.accounts import Change, Once
from penstock.core.administration import Answer, Ask
from penstock.core.errors import (
    IDEMPOTENCY_CONFLICT,
    OUT_OF_RESOURCES,
    STORE_CONFLICT,
    UNKNOWN_URL,
    PenstockError,
)
from penstock.core.releases import Served
from penstock.core.usage import Act
from penstock.store import StateStore

WITHIN_S = 60.0
"""How long an operation may take: checking a long audit takes the longest."""

REPLAYED = "idempotent-replayed"
NEXT = "x-penstock-next"
"""In the answer of an export: the ``after`` of its next part."""

_AT_ONCE = 4
_MOST_WAITING = 64
_TRIES = 20


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The content of an administrative act: what was there before, and is there after."""

    before: msgspec.Struct | None
    after: msgspec.Struct | None


class Administration:
    """``peppers`` the current one first, ``clock`` seconds since the epoch; ``changed`` is called, on the loop,
    after each change of the directory. ``served`` and ``standing`` give those of a ``Turn``; they are called in a
    thread. May be asked by many at once, from one loop."""

    def __init__(
        self,
        *,
        state: StateStore,
        sources: Sources,
        peppers: Sequence[Pepper],
        clock: Callable[[], float] = time.time,
        changed: Callable[[], None] = lambda: None,
        new_id: Callable[[str], str] | None = None,
        served: Callable[[], Served] = Served,
        standing: Callable[[], Mapping[str, frozenset[str]]] = dict,
    ) -> None:
        self._state = state
        self._sources = sources
        self._ledger = sources.ledger
        self._peppers = peppers
        self._clock = clock
        self._changed = changed
        self._new_id = new_id or fresh_id
        self._served = served
        self._standing = standing
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="penstock-administration")
        # Those who write here stand in line, so that only another gateway can be faster.
        self._writing = threading.Lock()
        self._waiting = 0

    async def carry_out(self, ask: Ask) -> Answer:
        """Raises ``PenstockError``: the operation's refusals, STORE_CONFLICT when others were faster time and again,
        OUT_OF_RESOURCES when too much is asked at once or it takes more than a minute. Whether something was changed
        is then not known; with an idempotency key it is safe to ask again."""
        if self._waiting >= _MOST_WAITING:
            raise PenstockError(
                OUT_OF_RESOURCES, "Too many administrative requests are in progress. Try again.", retry_after=1.0
            )
        self._waiting += 1
        try:
            async with asyncio.timeout(WITHIN_S):
                loop = asyncio.get_running_loop()
                answer, changed = await loop.run_in_executor(self._threads, self._carried_out, ask)
        except TimeoutError:
            raise PenstockError(
                OUT_OF_RESOURCES,
                f"The store has not answered within {WITHIN_S:.0f} s. Try again, with the same 'idempotency-key'; "
                "when this stays, look for what keeps the store busy.",
                retry_after=5.0,
            ) from None
        finally:
            self._waiting -= 1
        if changed:
            self._changed()
        return answer

    async def aclose(self) -> None:
        """Lets what is in progress end. Idempotent."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    # -- in a thread -------------------------------------------------------------------------------------------------

    def _carried_out(self, ask: Ask) -> tuple[Answer, bool]:
        """The answer, and whether the directory was changed."""
        operation = BY_NAME.get(ask.operation)
        if operation is None:
            raise PenstockError(
                UNKNOWN_URL, f"There is no operation '{ask.operation[:80]}'. GET /openapi.json has all."
            )
        check_permission(operation, ask.actor)
        check_query(operation, ask.query)
        asked = read_body(operation, ask.body)
        turn = Turn(
            actor=ask.actor,
            now=self._clock(),
            new_id=self._new_id,
            mint=lambda public_id: minted(public_id, ask, self._peppers[0]),
            target=ask.target,
            query=ask.query,
            served=self._served(),
            standing=self._standing(),
            recent=lambda service: recent(self._ledger, service, self._clock()),
        )
        changed = False
        if operation.writes is not None:
            with self._writing:
                written, changed = self._written(operation, turn, asked, ask)
            if operation.reads is None:
                return written, changed
        if operation.reads is not None:
            answer = operation.reads(self._sources, turn, asked, ask)
            return Answer(status=operation.status, body=msgspec.json.encode(answer)), changed
        return self._exported(turn), False

    def _written(self, operation: Operation, turn: Turn, asked: object, ask: Ask) -> tuple[Answer, bool]:
        assert operation.writes is not None
        once = once_key(ask) if operation.reads is None else ""
        for tried in range(_TRIES):
            if once and (known := self._state.once(once)) is not None:
                return self._again(known, ask), False
            directory = self._state.directory()
            try:
                outcome = operation.writes(directory, turn, asked)
            except PenstockError:
                # What is in the way may be this very request, carried out elsewhere since it was looked for.
                if once and (known := self._state.once(once)) is not None:
                    return self._again(known, ask), False
                raise
            body = msgspec.json.encode(outcome.answer)
            changes = bool(outcome.put or outcome.remove or outcome.decisions)
            if changes:
                change = Change(
                    version=directory.version,
                    put=outcome.put,
                    remove=outcome.remove,
                    decisions=outcome.decisions,
                    act=_act(operation, outcome, turn, ask),
                    once=Once(
                        key=once, request=request_digest(ask), status=operation.status, answer=body, at=turn.now
                    )
                    if once
                    else None,
                )
                try:
                    self._state.change(change)
                except PenstockError as error:
                    if error.fault is not STORE_CONFLICT or tried == _TRIES - 1:
                        raise
                    # Those who collide do not meet again at the same moment.
                    time.sleep(random.uniform(0.0, 0.002 * 2 ** min(tried, 6)))
                    continue
            return Answer(status=operation.status, body=_with_secret(body, outcome.secret)), changes
        raise AssertionError("every way out of the loop returns or raises")

    def _again(self, known: Once, ask: Ask) -> Answer:
        if known.request != request_digest(ask):
            raise PenstockError(
                IDEMPOTENCY_CONFLICT,
                "This 'idempotency-key' was sent with another request before. Use a new one for each request.",
                param="idempotency-key",
            )
        body = known.answer
        if BY_NAME[ask.operation].answer is KeySecret:
            id = msgspec.json.decode(body, type=KeySecret).key.id
            key = next((each for each in self._state.directory().keys if each.id == id), None)
            secret = told_again(key, ask, self._peppers)
            if secret is None:
                raise conflict(
                    f"This was carried out before, and the key '{id}' has another secret by now. Rotate it to get a "
                    "new one."
                )
            body = _with_secret(body, secret)
        return Answer(status=known.status, body=body, headers={REPLAYED: "true"})

    def _exported(self, turn: Turn) -> Answer:
        rows, following = usage.rows_of(self._ledger, turn, usage.EXPORTED_AT_ONCE)
        headers = {"content-type": "application/msgpack"}
        if following is not None:
            headers[NEXT] = following
        return Answer(status=200, body=msgspec.msgpack.encode(rows), headers=headers)


def fresh_id(prefix: str) -> str:
    """A word and 12 random hexadecimal digits."""
    return f"{prefix}_{secrets.token_hex(6)}" if prefix else secrets.token_hex(6)


def _with_secret(body: bytes, secret: str) -> bytes:
    if not secret:
        return body
    answer = msgspec.json.decode(body, type=KeySecret)
    return msgspec.json.encode(msgspec.structs.replace(answer, secret=secret))


def _act(operation: Operation, outcome: Outcome, turn: Turn, ask: Ask) -> Act:
    return Act(
        at=turn.now,
        actor=ask.actor.key_id,
        project=outcome.project,
        action=outcome.action or operation.name,
        target=outcome.target,
        address=ask.address,
        request_id=ask.request_id,
        content=msgspec.json.encode(Difference(before=outcome.before, after=outcome.after)),
    )
