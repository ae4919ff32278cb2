"""Recording: what is kept of each request that is over, decided and handed on.

Shares are drawn by a hash of the request's id: contents are kept of those whose facts are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from zlib import crc32

from penstock.core.chat import Call, Kind
from penstock.core.clock import Clock
from penstock.core.errors import PenstockError
from penstock.core.policy import Terms, TraceParent
from penstock.core.requests import ContentPolicy, Marks, RequestContent, RequestRecord
from penstock.core.serving import Service
from penstock.core.trail import Ending, Trail
from penstock.gateway.lease import Lease
from penstock.gateway.record import record, said
from penstock.gateway.settle import ENDINGS, Settle, Summary
from penstock.gateway.snapshot import Admission
from penstock.gateway.tape import Tape, asked
from penstock.gateway.tracing import Tracing, traced
from penstock.gateway.tries import Try
from penstock.observe.config import ObserveSettings
from penstock.observe.masking import masked_both

_log = logging.getLogger("penstock.gateway")

# From the most private to the least.
_PRIVATE: tuple[ContentPolicy, ...] = ("none", "masked", "sampled", "all")

Put = Callable[[RequestRecord | RequestContent], None]
"""Takes what is to be kept. Never blocks and never raises."""


class Recording:
    """One object per worker, used by all its tasks at once. ``gateway`` and ``worker`` name whose it is."""

    __slots__ = (
        "_clock",
        "_content",
        "_content_share",
        "_errors",
        "_found",
        "_gateway",
        "_keep",
        "_put",
        "_traces",
        "_worker",
    )

    def __init__(self, put: Put, clock: Clock, *, gateway: str, worker: int, settings: ObserveSettings) -> None:
        self._put = put
        self._clock = clock
        self._gateway = gateway
        self._worker = worker
        requests = settings.requests
        self._keep = requests.keep
        self._content: ContentPolicy = requests.content
        self._content_share = requests.content_share
        self._found: dict[tuple[str, str, str], ContentPolicy] = {}
        self._traces = settings.traces if settings.otlp is not None else None
        self._errors = self._traces is not None and self._traces.errors

    def begin(self, call: Call, admission: Admission, terms: Terms) -> Recorded:
        """What follows a request from its beginning; ``call`` is what the client sent."""
        inside = call.internal or admission.principal.purpose == "internal"
        return Recorded(self, call, admission, None if inside else traced(self._traces, terms.trace), inside)

    def refused(
        self,
        request_id: str,
        admission: Admission,
        error: PenstockError,
        *,
        took_s: float,
        dialect: str = "",
        trace: TraceParent | None = None,
    ) -> None:
        """A request whose caller was let in and that could not be read; it is over now. Never raises."""
        principal, tracing = admission.principal, traced(self._traces, trace)
        duration_s = max(0.0, took_s)
        self._put(
            RequestRecord(
                request_id=request_id,
                at=self._clock.wall() - duration_s,
                gateway=self._gateway,
                worker=self._worker,
                project=principal.project,
                key_id=principal.key_id,
                user=principal.user,
                team=principal.team,
                dialect=dialect,
                ending=ENDINGS[Ending.FAILED],
                status=error.fault.status,
                code=error.fault.code,
                message=said(error.message),
                duration_s=duration_s,
                marks=Marks(admitted=0.0, closed=duration_s),
                trace=b"" if tracing is None else tracing.id,
                span=b"" if tracing is None else tracing.span,
                parent=b"" if tracing is None else tracing.parent,
                traced=tracing is not None and (self._errors or bool(tracing.span and tracing.sampled)),
                kept=_drawn(request_id, self._keep.failed),
            )
        )

    def policy(self, request_id: str, service: Service, project: ContentPolicy) -> ContentPolicy:
        """What is kept of what is said: of the gateway's word, the service's and the project's the most private. For
        ``sampled`` the lot is drawn: it is ``none`` for those that have not drawn it."""
        said = (self._content, service.content, project)
        found = self._found.get(said)
        if found is None:
            # There are at most as many as three words can be put together.
            found = self._found[said] = next((each for each in _PRIVATE if each in said), "none")
        if found == "sampled" and not _drawn(request_id, self._content_share):
            return "none"
        return found

    def over(
        self,
        of: Recorded,
        trail: Trail,
        summary: Summary,
        error: PenstockError | None,
        lease: Lease | None,
    ) -> None:
        """The request is over. Never raises."""
        try:
            self._over(of, trail, summary, error, lease)
        except Exception:  # noqa: BLE001 - whoever is closing a reply has more to let go of than this
            _log.exception("request %s is missing in the log and in the charts", summary.request_id)

    def _over(
        self,
        of: Recorded,
        trail: Trail,
        summary: Summary,
        error: PenstockError | None,
        lease: Lease | None,
    ) -> None:
        keep = self._keep
        if summary.ending is not Ending.COMPLETE:
            share = keep.failed
        elif summary.duration_s > keep.slow_s:
            share = keep.slow
        else:
            share = keep.others
        kept = _drawn(summary.request_id, share)
        tape = of.tape if kept else None
        tracing = of.tracing
        sampled = tracing is not None and bool(tracing.span) and tracing.sampled
        whole = record(
            trail,
            summary,
            of.call,
            of.admission,
            gateway=self._gateway,
            worker=self._worker,
            error=error,
            lease=lease,
            tracing=tracing,
            traced=sampled or (self._errors and tracing is not None and summary.ending is Ending.FAILED),
            purpose="internal" if of.inside else "client",
            content="none" if tape is None else of.content,
            kept=kept,
        )
        self._put(whole)
        if tape is not None:
            mask = of.content == "masked"
            request, reply = asked(of.call), tape.reply()
            if mask:
                request, reply = masked_both(request, reply)
            self._put(
                RequestContent(
                    request_id=whole.request_id,
                    at=whole.at,
                    project=whole.project,
                    service=whole.service,
                    subject=whole.subject,
                    masked=mask,
                    request=request,
                    reply=reply,
                )
            )


class Recorded:
    """One request, on its way to the record of it. ``tracing`` is its trace, None: it has none. ``inside``: the
    gateway asks it for itself. ``content`` and ``tape`` are known once its service is."""

    __slots__ = ("_recording", "admission", "call", "content", "inside", "tape", "tracing")

    def __init__(
        self, recording: Recording, call: Call, admission: Admission, tracing: Tracing | None, inside: bool
    ) -> None:
        self._recording = recording
        self.call = call
        self.admission = admission
        self.tracing = tracing
        self.inside = inside
        self.content: ContentPolicy = "none"
        self.tape: Tape | None = None

    def hearing(self, service: Service) -> tuple[Tape, ...]:
        """What takes down the answer of this service; nothing where a policy keeps none, or the gateway asks for
        itself."""
        if self.inside:
            return ()
        self.content = self._recording.policy(self.call.request_id, service, self.admission.principal.log)
        if self.content == "none":
            return ()
        self.tape = Tape()
        # Vectors are of no use to whoever reads a log.
        return () if self.call.kind is Kind.EMBEDDING else (self.tape,)

    def settling(self, settle: Settle) -> Settle:
        """``settle``, and then it is recorded."""

        def settled(
            trail: Trail, ending: Ending, error: PenstockError | None, lease: Lease | None, won: Try | None
        ) -> Summary:
            summary = settle(trail, ending, error, lease, won)
            self._recording.over(self, trail, summary, error, lease)
            return summary

        return settled


def _drawn(request_id: str, share: float) -> bool:
    return share >= 1 or crc32(request_id.encode()) < share * (1 << 32)
