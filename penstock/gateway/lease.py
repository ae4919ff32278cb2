"""Lease: what one request may use of limits and budgets, from before it goes out until it is known what it did use.

It is opened for the first attempt and topped up when a further one, or a dearer model, may need more. Before an
attempt goes out the journal has what it may cost at most; when the request is over it has what it did cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from penstock.access.limits import LATE_S, Amounts, Applying, needs, used
from penstock.core.chat import Call, Kind
from penstock.core.errors import BUDGET_EXCEEDED, COUNTERS_UNAVAILABLE, NO_PRICE, RATE_LIMITED, PenstockError
from penstock.core.leases import Granted, Hold, Level, Need, Refused
from penstock.core.serving import Replica, Service
from penstock.core.usage import Audited, Entry, Held, Opened, Settled, Tokens
from penstock.gateway import capture as capturing
from penstock.gateway.means import Means
from penstock.gateway.most import Most, most, surcharged
from penstock.gateway.refused import capital, limit_headers, refusal, warnings
from penstock.gateway.snapshot import Admission
from penstock.gateway.tries import Charge, Try, at_most

# An enum member's name is looked up by Python code.
_KINDS = {kind: kind.name.lower() for kind in Kind}


class Given(msgspec.Struct, frozen=True):
    """An answer that was there already and is given instead of one that an attempt makes: the ``verdict`` of the
    cache, the ``model`` and ``price`` (by name) that it was made with, what it used then, what it is charged at and
    what that saves, in nano-dollars."""

    verdict: str
    model: str
    price: str
    tokens: Tokens
    cost_nano: int
    saved_nano: int


class Lease:
    """What one request holds. Its methods are called from the tasks of its request; ``close`` exactly once, which
    tells ``over`` its id. Then ``tokens`` are those of all its attempts, None: there were none to count;
    ``estimated``: of some attempt the upstream did not say. ``prepared`` is the request that the audit tells of,
    which may be more than what is asked for."""

    __slots__ = (
        "_admission",
        "_applying",
        "_at",
        "_bounds",
        "_call",
        "_exact",
        "_fresh",
        "_given",
        "_held",
        "_levels",
        "_means",
        "_over",
        "_reserved",
        "_service",
        "_total_s",
        "_tries",
        "_turn",
        "counted",
        "estimated",
        "id",
        "prepared",
        "tokens",
        "transcript",
    )

    def __init__(
        self,
        means: Means,
        id: str,
        call: Call,
        admission: Admission,
        service: Service,
        total_s: float,
        over: Callable[[str], None],
    ) -> None:
        self.id = id
        self.prepared = call
        self.counted = self.estimated = False
        self.tokens: Tokens | None = None
        internal = admission.principal.purpose == "internal"
        # What the gateway asks for itself repeats what the audit has.
        self.transcript = None if internal else capturing.transcript(admission, means.capture)
        self._means = means
        self._call = call
        self._admission = admission
        self._service = service
        self._total_s = total_s
        self._over = over
        self._at = means.clock.wall()
        rules = admission.snapshot.rules
        self._applying = Applying() if internal else rules.applying(admission.principal, service.name)
        self._given: Given | None = None
        self._tries: list[Try] = []
        self._bounds: dict[str, Most] = {}
        self._reserved = Amounts(0, 0, 0, 0)
        self._held: list[Held] = []
        self._fresh: tuple[Held, ...] = ()
        self._levels: tuple[Level, ...] = ()
        self._exact: int | None = None
        self._turn: asyncio.Lock | None = None

    # -- reserving ---------------------------------------------------------------------------------------------------

    async def open(self, given: Given | None = None) -> None:
        """Raises as ``Reserving.open`` does."""
        self._given = given
        if not self._applying.limits and not self._applying.budgets:
            return
        if given is not None:
            await self._reserve(Amounts(1, 0, 0, given.cost_nano))
            return
        try:
            await self._reserve(self._amounts(self._service.models[0]))
        except PenstockError as error:
            if error.fault not in (RATE_LIMITED, BUDGET_EXCEEDED) or not self._might_fit():
                raise
            self._exact = await self._means.count(self._call, self._service)
            if self._exact is None or self._late():
                raise
            self._bounds.clear()
            await self._reserve(self._amounts(self._service.models[0]))

    async def attempt(self, number: int, model: str, replica: Replica) -> Try:
        """Holds what this attempt may need beside those before, and has it in the journal. Raises as ``open`` does,
        and ``PenstockError(JOURNAL_FULL)``; the attempt may not go out then."""
        known = self._most(model)
        call = self._call
        tried = Try(
            number, model, known.price, known.bound, stream=call.stream, choices=call.choices,
            slots=replica.slots or 1, began=self._means.clock.now(),
        )  # fmt: skip
        if self.counted and (self._tries or model != self._service.models[0]):
            if self._turn is None:
                self._turn = asyncio.Lock()
            async with self._turn:
                await self._reserve(self._amounts(model))
        fresh, self._fresh = self._fresh, ()
        entry = self._entry(number, model, tried.priced, known.charge, "worker_lost", 500, self._at)
        self._means.write(Opened(self.id, entry, fresh))
        self._tries.append(tried)
        return tried

    def give(self, given: Given | None) -> None:
        """After attempts that failed, this is what the client gets."""
        self._given = given

    def _amounts(self, model: str) -> Amounts:
        """All that the request may use with one more attempt at ``model``."""
        known = self._most(model)
        if known.price is None and self._applying.budgets:
            raise PenstockError(
                NO_PRICE,
                f"{capital(self._applying.budgets[0].said())} holds for this request, and the model '{model}' has no "
                f"price. Set one: penstock prices set {model}.",
            )
        if self._applying.budgets and (field := surcharged(self._call)):
            raise PenstockError(
                NO_PRICE,
                f"{capital(self._applying.budgets[0].said())} holds for this request, and what '{field}' adds to the "
                "price is not known here. Leave it out.",
            )
        charges = [known.charge]
        now = self._means.clock.now()
        for before in self._tries:
            if before.ended is None:
                charges.append(self._most(before.model).charge)
            elif (charge := before.charge(False, now)) is not None:
                charges.append(charge)
        return _summed(charges)

    def _most(self, model: str) -> Most:
        found = self._bounds.get(model)
        if found is None:
            snapshot, cap = self._admission.snapshot, self._means.cap
            found = most(self._call, model, snapshot, self._at, cap=cap, exact=self._exact, total_s=self._total_s)
            self._bounds[model] = found
        return found

    async def _reserve(self, wanted: Amounts) -> None:
        before = self._reserved
        more = Amounts(*(max(0, new - old) for new, old in zip(wanted, before, strict=True)))
        if self.counted and not any(more):
            return
        asked = needs(self._applying, more, self._at)
        try:
            answer = await self._means.counting.reserve(self.id, asked)
            if isinstance(answer, Granted) and not self.counted and self._late():
                raise PenstockError(
                    COUNTERS_UNAVAILABLE, "The counters took too long to be asked. Try again.", retry_after=1.0
                )
        except PenstockError as error:
            if error.fault is not COUNTERS_UNAVAILABLE:
                raise
            self._undo(asked)
            if self._means.must(self._applying):
                raise
            return
        except BaseException:
            self._undo(asked)
            raise
        if isinstance(answer, Refused):
            self._levels = answer.levels
            raise refusal(answer, self._applying, asked, wanted)
        self.counted = True
        held = tuple(
            Held(n.counter, n.hold, n.amount, n.window_s, n.until, answer.at)
            for n in asked
            if n.amount or n.hold is not Hold.HELD
        )
        self._held += held
        self._fresh += held
        self._levels = answer.levels
        self._reserved = Amounts(*map(max, wanted, before))

    def _might_fit(self) -> bool:
        """After a refusal: whether it would have been granted with a prompt of nothing, so that counting may help."""
        if not self._applying.counts_tokens:
            return False
        known = self._most(self._service.models[0])
        none = msgspec.structs.replace(known.bound, input=0)
        least = needs(self._applying, _summed([at_most(known.price, none, held_s=0.0, slots=1)]), self._at)
        return all(need.amount <= level.remaining for need, level in zip(least, self._levels, strict=True))

    def _late(self) -> bool:
        return self._means.clock.wall() - self._at > LATE_S

    def _undo(self, asked: Sequence[Need]) -> None:
        """Gives back what may have been reserved by a call that nobody heard the answer of."""
        if not self.counted:
            self._means.counting.settle(self.id, dict.fromkeys((need.counter for need in asked), 0))

    # -- what is known of it -------------------------------------------------------------------------------------

    def headers(self) -> dict[str, str]:
        """``x-ratelimit-*``, for the tightest limits on requests and on tokens; and how near its end a budget is."""
        found = limit_headers(self._applying, self._levels)
        for once, said in warnings(self._applying, self._levels):
            found["x-penstock-budget-warning"] = said
            self._means.warn(once, said)
        return found

    def held(self) -> tuple[Held, ...]:
        """What it holds of the counters."""
        return tuple(self._held)

    def ended(self) -> Mapping[int, float]:
        """When attempts ended that did not run to the end, by number, in ``Clock.now`` seconds."""
        return {tried.number: tried.ended for tried in self._tries if tried.ended is not None}

    def cap(self, model: str) -> int | None:
        """Tokens of output, over all choices, that the request is held to at this model for want of another bound;
        None where nothing counts them, or it has one."""
        if not self._applying.counts_tokens:
            return None
        return self._most(model).bound.capped

    def held_to(self, call: Call) -> Call:
        """The call with the bound on its output that it lacks, where something counts its tokens."""
        if not self._applying.counts_tokens or call.kind is Kind.EMBEDDING:
            return call
        if bytes(call.fields.get("n_predict", b"")).startswith(b"-"):
            # llama.cpp's own word for no bound at all wins there over the one that is counted on.
            fields = {name: value for name, value in call.fields.items() if name != "n_predict"}
            call = msgspec.structs.replace(call, fields=fields)
        if all(self._most(model).bound.capped is None for model in self._service.models):
            return call
        cap = self._means.cap
        fields = {**call.fields, "max_tokens": msgspec.Raw(str(cap).encode())}
        return msgspec.structs.replace(call, max_tokens=cap, fields=fields)

    def cost(self, tried: Try) -> int:
        """What the request comes to, in nano-dollars, when ``tried`` has answered it to the end."""
        now = self._means.clock.now()
        charges = (each.charge(each is tried, now) for each in self._tries)
        return sum(charge.cost_nano for charge in charges if charge is not None)

    # -- settling ------------------------------------------------------------------------------------------------

    def close(self, won: Try | None, ending: str, status: int, code: str = "") -> int:
        """Has in the journal what the request used, and gives the rest back; what it cost in nano-dollars. ``won``
        was answered to the end, None: no attempt was. ``code`` is that of the error which ended it."""
        now, wall = self._means.clock.now(), self._means.clock.wall()
        charged = [(each, charge) for each in self._tries if (charge := each.charge(each is won, now)) is not None]
        self._over(self.id)
        amounts = _summed([charge for _, charge in charged])
        given = self._given
        if given is not None:
            amounts = Amounts(1, amounts.input, amounts.output, amounts.cost_nano + given.cost_nano)
        if charged:
            self.tokens = charged[0][1].tokens if len(charged) == 1 else _together(charged)
            self.estimated = any(charge.estimated for _, charge in charged)
        spent = used(self._applying, amounts, self._at) if self.counted else {}
        try:
            if self._tries or given is not None:
                entries = tuple(
                    self._entry(tried.number, tried.model, tried.priced, charge, ending, status, wall)
                    for tried, charge in charged
                )
                if given is not None:
                    charge = Charge(given.tokens, False, given.cost_nano)
                    cached = self._entry(
                        0, given.model, given.price, charge, ending, status, wall, given.verdict, given.saved_nano
                    )
                    entries = (*entries, cached)
                self._means.write_settled(Settled(self.id, entries, spent))
                if (said := self.transcript) is not None:
                    call, admission, name = self.prepared, self._admission, self._service.name
                    act = capturing.act(said, call, admission, name, at=wall, ending=ending, code=code)
                    self._means.write_settled(Audited(self.id, act))
        finally:
            if self.counted:
                self._means.counting.settle(self.id, spent)
        return amounts.cost_nano

    def _entry(
        self,
        number: int,
        model: str,
        price: str,
        charge: Charge,
        ending: str,
        status: int,
        settled_at: float,
        cache: str = "",
        saved_nano: int = 0,
    ) -> Entry:
        principal, call = self._admission.principal, self._call
        return Entry(
            request_id=call.request_id,
            attempt=number,
            gateway=self._means.gateway,
            received_at=self._at,
            settled_at=settled_at,
            project=principal.project,
            key_id=principal.key_id,
            user=principal.user,
            team=principal.team,
            service=self._service.name,
            model=model,
            kind=_KINDS[call.kind],
            purpose=principal.purpose,
            ending=ending,
            status=status,
            tokens=charge.tokens,
            estimated=charge.estimated,
            cost_nano=charge.cost_nano,
            price=price,
            release=self._service.release,
            cache=cache,
            saved_nano=saved_nano,
        )


def _together(charged: Sequence[tuple[Try, Charge]]) -> Tokens:
    parts = [msgspec.structs.astuple(charge.tokens) for _, charge in charged]
    return Tokens(**dict(zip(Tokens.__struct_fields__, map(sum, zip(*parts, strict=True)), strict=True)))


def _summed(charges: Sequence[Charge]) -> Amounts:
    if len(charges) == 1:
        # As with nearly every request.
        only = charges[0]
        return Amounts(1, only.tokens.input, only.tokens.output, only.cost_nano)
    return Amounts(
        1,
        sum(charge.tokens.input for charge in charges),
        sum(charge.tokens.output for charge in charges),
        sum(charge.cost_nano for charge in charges),
    )
