"""Prices as people write and read them: in US dollars a million tokens, exact to the last digit.

One form for the API, the command line and the files. The inside of the house has ``core.money.Price``.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Annotated

import msgspec

from penstock.core.errors import INVALID_VALUE, PenstockError
from penstock.core.money import Price, Rates, Tier

Count = Annotated[int, msgspec.Meta(ge=1, le=1 << 40)]

_MOST = Decimal(1_000_000)
"""Dollars in one rate; a dollar a token is a slip of the pen."""
_PER_TOKEN = 6
"""Decimals of a dollar a million tokens: the last is one pico-dollar a token."""
_PER_IMAGE = 12
_PER_HOUR = 9
_LONGEST = 60
"""Decimals after which nothing is converted: a text of ten characters can mean a number of a million digits."""


class RatesForm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Dollars for a million tokens, as decimal texts or numbers; ``image`` for one. Left out: ``cached_read``,
    ``cached_write`` and ``audio_input`` cost as ``input``, ``reasoning`` and ``audio_output`` as ``output``."""

    input: Decimal = Decimal(0)
    output: Decimal = Decimal(0)
    cached_read: Decimal | None = None
    cached_write: Decimal | None = None
    reasoning: Decimal | None = None
    audio_input: Decimal | None = None
    audio_output: Decimal | None = None
    image: Decimal = Decimal(0)


class TierForm(RatesForm, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The rates of a request whose input is more than ``above`` tokens."""

    above: Count


class PriceForm(RatesForm, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The price of ``model`` from ``since`` on: a date, or a time with its offset (``2026-11-21T14:00:00Z``); left
    out, from now on. ``per_hour`` is in dollars, for one copy of a machine of one's own. A batch costs
    ``batch_percent`` of the rates. ``max_input`` and ``max_output`` are the model's own bounds in tokens."""

    model: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    since: str = ""
    tiers: tuple[TierForm, ...] = ()
    batch_percent: Annotated[int, msgspec.Meta(ge=0, le=100)] = 100
    per_hour: Decimal = Decimal(0)
    max_input: Count | None = None
    max_output: Count | None = None
    source: Annotated[str, msgspec.Meta(max_length=512)] = ""


def price_of(form: PriceForm, now: float) -> Price:
    """The price that the form means; ``now`` is in seconds since the epoch. Raises ``PenstockError`` (INVALID_VALUE)
    whose ``param`` is the field: a negative amount, one that is not finite, above a million dollars or finer than can
    be charged, tiers out of order, a time that is none."""
    return Price(
        model=form.model,
        since=_moment(form.since) if form.since else now,
        rates=rates_of(form),
        tiers=tiers_of(form.tiers),
        batch_percent=form.batch_percent,
        per_hour_nano=_whole(form.per_hour, _PER_HOUR, "per_hour", "an hour"),
        max_input=form.max_input,
        max_output=form.max_output,
        source=form.source,
    )


def form_of(price: Price) -> PriceForm:
    """The price for people. ``price_of`` gives the same price back."""
    return PriceForm(
        model=price.model,
        since=_date(price.since),
        tiers=tuple(TierForm(above=tier.above, **_amounts(tier.rates)) for tier in price.tiers),
        batch_percent=price.batch_percent,
        per_hour=_decimal(price.per_hour_nano, _PER_HOUR),
        max_input=price.max_input,
        max_output=price.max_output,
        source=price.source,
        **_amounts(price.rates),
    )


def rates_of(form: RatesForm, where: str = "") -> Rates:
    """The rates that the form means; ``where`` is put before the names of its fields in errors. Raises as
    ``price_of`` does."""

    def token(amount: Decimal | None, name: str) -> int | None:
        return None if amount is None else _whole(amount, _PER_TOKEN, where + name, "a million tokens")

    return Rates(
        input=_whole(form.input, _PER_TOKEN, where + "input", "a million tokens"),
        output=_whole(form.output, _PER_TOKEN, where + "output", "a million tokens"),
        cached_read=token(form.cached_read, "cached_read"),
        cached_write=token(form.cached_write, "cached_write"),
        reasoning=token(form.reasoning, "reasoning"),
        audio_input=token(form.audio_input, "audio_input"),
        audio_output=token(form.audio_output, "audio_output"),
        image=_whole(form.image, _PER_IMAGE, where + "image", "an image"),
    )


def tiers_of(forms: Sequence[TierForm]) -> tuple[Tier, ...]:
    """The tiers that the forms mean. Raises as ``price_of`` does."""
    for at in range(1, len(forms)):
        if forms[at].above <= forms[at - 1].above:
            raise PenstockError(
                INVALID_VALUE,
                f"tiers[{at}].above is {forms[at].above} and follows {forms[at - 1].above}; list tiers from the "
                "lowest to the highest, each once",
                param=f"tiers[{at}].above",
            )
    return tuple(Tier(form.above, rates_of(form, f"tiers[{at}].")) for at, form in enumerate(forms))


def _whole(amount: Decimal, decimals: int, name: str, unit: str) -> int:
    """The amount in units of its last decimal."""
    if not amount.is_finite():
        said = "is not a number"
    elif not amount:
        return 0
    elif amount < 0:
        said = "is negative"
    elif amount > _MOST:
        said = f"is more than {_MOST:,} dollars {unit}"
    elif amount.adjusted() < -_LONGEST or (units := Fraction(amount) * 10**decimals).denominator > 1:
        said = f"has more than {decimals} decimals, finer than can be charged"
    else:
        return int(units)
    raise PenstockError(INVALID_VALUE, f"{name} {said}; give dollars {unit}, such as 2.50", param=name)


def _decimal(units: int, decimals: int) -> Decimal:
    whole, rest = divmod(units, 10**decimals)
    fraction = f"{rest:0{decimals}d}".rstrip("0")
    return Decimal(f"{whole}.{fraction}" if fraction else str(whole))


def _amounts(rates: Rates) -> dict[str, Decimal]:
    amounts = {"image": _decimal(rates.image, _PER_IMAGE)}
    for name in ("input", "output", "cached_read", "cached_write", "reasoning", "audio_input", "audio_output"):
        rate: int | None = getattr(rates, name)
        if rate is not None:
            amounts[name] = _decimal(rate, _PER_TOKEN)
    return amounts


def _moment(text: str) -> float:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        moment = None
    # A date alone is midnight in UTC; a time without its offset would be another one on each machine.
    if moment is not None and moment.tzinfo is None and len(text) <= len("2026-11-21"):
        moment = moment.replace(tzinfo=datetime.UTC)
    if moment is None or moment.tzinfo is None:
        raise PenstockError(
            INVALID_VALUE,
            "since is not a date such as 2026-11-21, nor a time with its offset such as 2026-11-21T14:00:00Z",
            param="since",
        )
    return moment.timestamp()


def _date(at: float) -> str:
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    midnight = moment.time() == datetime.time()
    return moment.date().isoformat() if midnight else moment.isoformat().replace("+00:00", "Z")
