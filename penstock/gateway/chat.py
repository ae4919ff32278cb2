"""The way of one request, on one screen: every dialect goes through ``Gateway.chat``.

| room | what leaves it |
| --- | --- |
| ``admit`` | ``Admission``: who calls, and the snapshot the request holds to the end |
| ``assign`` | ``Service``: what the name the client sent stands for |
| ``plan`` | ``Plan``: the attempts to make, in order |
| ``dispatch`` | ``Won``: the first attempt whose first chunk may be released |
| ``reply`` | ``Reply``: owns the upstream and the trail, closes each exactly once |
| ``settle`` | when the reply closes, however it closes: trail -> metrics, log |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from penstock.core.chat import Call
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.policy import Terms
from penstock.core.serving import Service
from penstock.core.trail import Arrived, Ending, Trail
from penstock.gateway import directory
from penstock.gateway.admit import admit
from penstock.gateway.assign import assign
from penstock.gateway.dispatch import dispatch
from penstock.gateway.plan import Planner, plan
from penstock.gateway.reply import Reply
from penstock.gateway.settle import Settle
from penstock.gateway.snapshot import Admission, Snapshot
from penstock.gateway.watch import watchers


class Gateway:
    """What an edge calls. One object per worker, used by all its tasks at once.

    ``snapshots`` gives the snapshot of this moment; ``planner`` orders attempts; ``settle`` hears every trail once.
    """

    __slots__ = ("_clock", "_planner", "_settle", "_snapshots")

    def __init__(self, *, snapshots: Callable[[], Snapshot], planner: Planner, settle: Settle, clock: Clock) -> None:
        self._snapshots = snapshots
        self._planner = planner
        self._settle = settle
        self._clock = clock

    def admit(self, presented: str | None) -> Admission:
        """Lets a caller in by its key, before its body is read. Raises ``PenstockError(INVALID_API_KEY)``."""
        return admit(presented, self._snapshots())

    async def chat(self, call: Call, admission: Admission, terms: Terms = Terms()) -> Reply:  # noqa: B008 - frozen
        """Answers one call on the client's ``terms``; returns once the first chunk may be released.

        Raises ``PenstockError`` when no attempt got that far; nothing is open then, nor when cancelled.
        """
        clock, trail = self._clock, Trail()
        trail.add(Arrived(clock.now(), clock.wall(), call.request_id, call.kind, call.service, call.stream))
        try:
            service = assign(call, admission, trail, clock)
            attempts = plan(service, admission.snapshot.deployment, self._planner)
            watch = watchers(call, service, trail)
            won = await dispatch(attempts, call, admission.snapshot.engines, watch, trail, clock)
        except PenstockError as error:
            self._settle(trail, Ending.FAILED, error)
            raise
        except BaseException:
            self._settle(trail, Ending.CLIENT_GONE, None)
            raise
        return Reply(won, watch, trail, self._settle)

    def service(self, name: str, admission: Admission) -> Service:
        """What ``name`` stands for. Raises ``PenstockError`` (MODEL_NOT_FOUND, MODEL_FORBIDDEN)."""
        return directory.resolve(name, admission)

    def services(self, admission: Admission) -> Sequence[Service]:
        """The services that this caller may use, in the order of the deployment; ``"*"`` is not among them."""
        return directory.listed(admission)

    def readiness(self) -> directory.Readiness:
        """Whether this gateway should be sent requests, and how each service stands."""
        return directory.readiness(self._snapshots().deployment)
