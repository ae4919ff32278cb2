"""Recording: what is kept of each request that is over, decided and handed on.

A request that is over is only laid by; whoever writes makes records of some together, which takes half the time of
making each while others wait. Shares are drawn by a hash of the request's id: contents are kept of those whose facts
are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
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
from penstock.gateway.tape import Tape, asked, untorn_reply, untorn_request
from penstock.gateway.tracing import Tracing, traced
from penstock.gateway.tries import Try
from penstock.observe.config import ObserveSettings
from penstock.observe.masking import masked_all
from penstock.observe.spool import Unmade

_log = logging.getLogger("penstock.gateway")

# From the most private to the least.
_PRIVATE: tuple[ContentPolicy, ...] = ("none", "masked", "sampled", "all")

Put = Callable[[RequestRecord | RequestContent | Unmade], None]
"""Takes what is to be kept, or what it is made of. Never blocks and never raises."""

_FACTS = 1024


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
        self._found: dict[tuple[str, str], ContentPolicy] = {}
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
        """What is kept of what is said: as the service says, or the gateway where that says nothing, or the project
        where it is more private. For ``sampled`` the lot is drawn: it is ``none`` for those that did not draw it."""
        said = (service.content or self._content, project)
        found = self._found.get(said)
        if found is None:
            # There are at most as many as two words can be put together.
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
            self._put(_Over(self, of, trail, summary, error, lease))
        except Exception:  # noqa: BLE001 - whoever is closing a reply has more to let go of than this
            _missing(summary)

    def made(self, over: _Over) -> tuple[RequestRecord, Tape | None]:
        """The record of a request, and the answer where what was said is kept. From any thread."""
        of, summary, keep = over.of, over.summary, self._keep
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
        facts = record(
            over.trail,
            summary,
            of.call,
            of.admission,
            gateway=self._gateway,
            worker=self._worker,
            error=over.error,
            lease=over.lease,
            tracing=tracing,
            traced=sampled or (self._errors and tracing is not None and summary.ending is Ending.FAILED),
            purpose="internal" if of.inside else "client",
            content="none" if tape is None else of.content,
            kept=kept,
        )
        return facts, tape


class _Over:
    """A request that is over, as it is laid by."""

    __slots__ = ("_recording", "error", "lease", "of", "size", "summary", "trail")

    def __init__(
        self,
        recording: Recording,
        of: Recorded,
        trail: Trail,
        summary: Summary,
        error: PenstockError | None,
        lease: Lease | None,
    ) -> None:
        self._recording = recording
        self.of = of
        self.trail = trail
        self.summary = summary
        self.error = error
        self.lease = lease
        tape = of.tape
        self.size = _FACTS if tape is None else _FACTS + tape.size + sum(map(len, of.call.fields.values()))

    def together(self, of: Sequence[Unmade]) -> Sequence[RequestRecord | RequestContent]:
        """As ``Unmade``."""
        made: list[RequestRecord | RequestContent] = []
        said: list[tuple[RequestRecord, bytes, bytes]] = []
        masked: list[tuple[RequestRecord, bytes, bytes]] = []
        for each in of:
            assert isinstance(each, _Over)
            try:
                facts, tape = each._recording.made(each)
                if tape is not None:
                    spoken = (facts, asked(each.of.call), tape.reply())
                    (masked if facts.content == "masked" else said).append(spoken)
            except Exception:  # noqa: BLE001 - those that come with it are not at fault
                _missing(each.summary)
                continue
            made.append(facts)
        texts = masked_all([text for _, *both in masked for text in both])
        for (facts, _, _), request, reply in zip(masked, texts[::2], texts[1::2], strict=True):
            said.append((facts, untorn_request(request), untorn_reply(reply)))
        return made + [_content(*each) for each in said]


def _content(facts: RequestRecord, request: bytes, reply: bytes) -> RequestContent:
    return RequestContent(
        request_id=facts.request_id,
        at=facts.at,
        project=facts.project,
        service=facts.service,
        subject=facts.subject,
        masked=facts.content == "masked",
        request=request,
        reply=reply,
    )


def _missing(summary: Summary) -> None:
    _log.exception("request %s is missing in the log and in the charts", summary.request_id)


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
