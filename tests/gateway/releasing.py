"""A service that releases share, and a gateway that serves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from penstock.caches.answers import Answers
from penstock.caches.chain import Chain
from penstock.caches.embeddings import Embeddings
from penstock.core.chat import Call, Kind
from penstock.core.clock import Clock
from penstock.core.identity import Principal
from penstock.core.money import Price
from penstock.core.policy import Policy, Retry, Terms
from penstock.core.releases import WHOLE, Measure, Mirror, Range, Score, Scored
from penstock.core.serving import Assignment, Service, Watched
from penstock.core.splice import members
from penstock.core.usage import Entry, Settled
from penstock.gateway.chat import Gateway
from penstock.gateway.lot import unit_of
from penstock.gateway.prepare import Preparing
from penstock.gateway.recall import Recall
from penstock.gateway.recollection import Recollection
from penstock.gateway.reply import Reply
from penstock.gateway.settle import Settling, Summary
from penstock.gateway.snapshot import Admission, Prices
from penstock.gateway.trial import Trials
from penstock.gateway.vectors import Inside
from penstock.quality.config import FormatSettings, JudgeSettings, ScorerSettings, SimilaritySettings, measure
from penstock.routing.assignment import chosen, hashed, placed, sampled
from tests.caches.doubles import Sums
from tests.gateway.doubles import (
    OWNER,
    NoPrices,
    OpenPlaces,
    OpenRoad,
    Records,
    Samples,
    ScriptedEngine,
    Step,
    piece,
    reserving,
    snapshot,
    unlearned,
)
from tests.gateway.leasing import Turned

CHAMPION, CANDIDATE = "rel_a", "rel_b"
HALF: tuple[Range, ...] = (Range(WHOLE // 2, CHAMPION), Range(WHOLE, CANDIDATE))
ALL: tuple[Range, ...] = (Range(WHOLE, CHAMPION),)
SUCCESS = measure("success", "success")
ONCE = Policy(retry=Retry(attempts=1))

USAGE_WHOLE = b'{"prompt_tokens":7,"completion_tokens":10,"total_tokens":17}'


def assignment(**more: object) -> Assignment:
    """Between two releases, each with a model of its own: half of the units each, unless ``more`` says otherwise."""
    said = {
        "ranges": HALF,
        "salt": "salt",
        "sticky": "user",
        "variants": {
            CHAMPION: Service("chat", ("main",), policy=ONCE, release=CHAMPION),
            CANDIDATE: Service("chat", ("next",), policy=ONCE, release=CANDIDATE),
        },
        **more,
    }
    return Assignment(**said)  # type: ignore[arg-type]


def shared(**more: object) -> Service:
    """The service ``chat`` that they share."""
    return Service("chat", ("main",), policy=ONCE, assignment=assignment(**more))


def watched(*measures: Measure, share: int = WHOLE) -> Watched:
    return Watched(
        rollout="ro_1", candidate=CANDIDATE, champion=CHAMPION, share=share, measures=measures or (SUCCESS,)
    )


def format_measure(**settings: object) -> Measure:
    return measure("form", "format", FormatSettings(**settings))  # type: ignore[arg-type]


def made(metric: str, settings: ScorerSettings) -> Measure:
    scorer = "judge" if isinstance(settings, JudgeSettings) else "similarity"
    assert isinstance(settings, JudgeSettings | SimilaritySettings)
    return measure(metric, scorer, settings)


def mirrored(share: int = WHOLE, budget_nano: int | None = None) -> Mirror:
    return Mirror(release=CANDIDATE, share=share, budget_nano=budget_nano)


def asked(user: str | None = None, id: str = "req-1", stream: bool = True, more: bytes = b"{}") -> Call:
    fields = members(b'{"model":"chat","messages":[{"role":"user","content":"hi"}]}') | members(more)
    return Call(id, Kind.CHAT, "chat", fields, stream=stream, user=user)


def said(text: str = "ok") -> Sequence[Step]:
    """An answer as a stream, with its usage."""
    return [[piece(text, "stop")], [b'{"choices":[],"usage":' + USAGE_WHOLE + b"}"]]


class Street:
    """A gateway on one snapshot, with a clock that is turned."""

    def __init__(
        self,
        services: Sequence[Service],
        engines: dict[str, ScriptedEngine],
        *,
        prices: Prices | None = None,
        workers: int = 1,
        who: Principal = OWNER,
        recall: Callable[[Clock, Preparing], Recall] | None = None,
    ) -> None:
        self.clock = Turned()
        self.journal = Records()
        self.meter = Samples()
        self.places = OpenPlaces()
        self.snapshot = msgspec.structs.replace(snapshot(services, engines), prices=prices or NoPrices())
        self.engines = engines
        self.admission = Admission(self.snapshot, who)
        self.inside = inside(self)
        self.trials = Trials(self.journal, self.clock, self.meter, self.inside, workers=workers)
        prepare = Preparing()
        self.recall = None if recall is None else recall(self.clock, prepare)
        self.door = Gateway(
            snapshots=lambda: self.snapshot,
            traffic=OpenRoad(),
            places=self.places,
            reserving=reserving(self.clock, self.journal),
            settle=Settling(self.clock, self.meter),
            doors=lambda: None,
            learn=unlearned,
            clock=self.clock,
            prepare=prepare,
            trials=self.trials,
            recall=self.recall,
            draw=lambda: 0.5,
        )

    async def ask(self, call: Call | None = None, terms: Terms | None = None) -> Summary:
        """One request to its end, and all that is done for its rollout."""
        reply = await self.door.chat(call or asked(), self.admission, terms or Terms())
        try:
            while await reply.read():
                pass
        finally:
            await reply.aclose()
        await self.trials.idle()
        assert reply.summary is not None
        return reply.summary

    def scores(self) -> list[Score]:
        return [score for record in self.journal if isinstance(record, Scored) for score in record.scores]

    def rows(self) -> list[Entry]:
        return [entry for record in self.journal if isinstance(record, Settled) for entry in record.entries]


_PLAIN = Terms()


def inside(of: Street) -> Inside:
    """Keeps nothing."""
    chain = Chain(None, clock=of.clock, meter=Sums())
    embeddings, answers = Embeddings(chain, clock=of.clock, ttl_s=60), Answers(chain, clock=of.clock)

    async def ask(
        call: Call,
        principal: Principal,
        terms: Terms = _PLAIN,
        over: Callable[[Summary], None] | None = None,
        keeping: Recollection | None = None,
    ) -> Reply:
        return await of.door.ask(call, principal, terms, over, keeping)

    return Inside(embeddings, answers, ask, lambda: of.snapshot)


class OnePrice:
    """That of every model in ``of``, or of all."""

    def __init__(self, price: Price, of: frozenset[str] | None = None) -> None:
        self._price = price
        self._of = of

    def find(self, names: Sequence[str], at: float) -> Price | None:
        return self._price if self._of is None or self._of & set(names) else None


def user_of(release: str, of: Assignment | None = None, share: int | None = None) -> str:
    """A user who draws this release; with ``share``, one who is within that share of the second draw."""
    assigned = of or assignment()
    for number in range(100_000):
        unit = hashed(assigned.salt, unit_of(assigned, asked(f"u{number}"), OWNER, {}))
        if chosen(assigned.ranges, placed(unit)) == release and (share is None or sampled(unit) < share):
            return f"u{number}"
    raise LookupError(release)
