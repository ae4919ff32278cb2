"""What models cost: the operator's prices before those that are shipped for hosted models.

The shipped table, ``prices_hosted.json``, has a date, and says where each host publishes what it asks.
"""

from __future__ import annotations

import datetime
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import NamedTuple

import msgspec

from penstock.access.price_form import RatesForm, TierForm, rates_of, tiers_of
from penstock.core.money import Price

_DATED = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8})$")
_KEPT = 4096
"""Names asked for, whose prices are remembered: a client may choose some of them."""
_NEVER = float("-inf")
_ALWAYS = float("inf")


class _Row(RatesForm, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tiers: tuple[TierForm, ...] = ()
    batch_percent: int = 100
    max_input: int | None = None
    max_output: int | None = None


class _Host(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``only_here``: nobody else serves models of these names, so a name alone says whose they are. Those of open
    weights may run anywhere."""

    page: str
    models: dict[str, _Row]
    only_here: bool = True


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    date: datetime.date
    about: str
    hosts: dict[str, _Host]


class _Shipped(NamedTuple):
    """``names``: the prices that stand under a name alone. ``by_host``: those of each host."""

    names: Mapping[str, Sequence[Price]]
    by_host: Mapping[str, Mapping[str, Sequence[Price]]]


class _Found(NamedTuple):
    """What holds from ``since`` to ``until``."""

    since: float
    until: float
    price: Price | None


class PriceList:
    """All prices, for the life of one directory. ``own`` are the operator's, in any order; ``before`` is a list
    whose shipped prices are taken, so that they need not be read again, which takes some milliseconds.

    To be asked from one thread at a time.
    """

    def __init__(self, own: Sequence[Price] = (), *, before: PriceList | None = None) -> None:
        mine: dict[str, list[Price]] = {}
        for price in sorted(own, key=lambda each: each.since):
            mine.setdefault(price.model, []).append(price)
        self._own = mine
        self._shipped: _Shipped = _shipped() if before is None else before._shipped
        self._found: dict[tuple[str, ...], _Found] = {}

    def find(self, names: Sequence[str], at: float) -> Price | None:
        """The newest price with ``since`` at or before ``at``, seconds since the epoch; None when there is none.

        ``names`` are what a model may be called, the best first: its name in the deployment, what its upstream calls
        it, and that behind the host's word (``groq/openai/gpt-oss-20b``; see ``hosts.host_of``). A price that has
        one of them exactly is better than one by an alias, an operator's better than a shipped one, and then the
        first name counts. The aliases of a name are it without its date (``gpt-4.1-mini-2025-04-14``) and without
        the word of its host (``openai/gpt-4.1``); nothing else is guessed.
        """
        key = tuple(names)
        found = self._found.get(key)
        if found is None or not found.since <= at < found.until:
            if len(self._found) >= _KEPT:
                self._found.clear()
            found = self._found[key] = _newest(self._candidates(key), at)
        return found.price

    def shipped(self) -> tuple[Price, ...]:
        """The shipped prices, by host."""
        return tuple(
            price for models in self._shipped.by_host.values() for prices in models.values() for price in prices
        )

    def _candidates(self, names: Sequence[str]) -> Iterator[Sequence[Price]]:
        """All that may be meant, the best first."""
        own, shipped = self._own, self._shipped
        yield from (own[name] for name in names if name in own)
        for name in names:
            host, _, rest = name.partition("/")
            yield shipped.names.get(name, ())
            yield shipped.by_host.get(host, {}).get(rest, ())
        aliases = [alias for name in names for alias in self._aliases(name)]
        yield from (own[name] for _, name in aliases if name in own)
        for host, name in aliases:
            yield shipped.by_host[host].get(name, ()) if host else shipped.names.get(name, ())

    def _aliases(self, name: str) -> Iterator[tuple[str, str]]:
        """What else the model is called, with the host whose word was taken off."""
        undated = _DATED.sub("", name)
        if undated != name:
            yield "", undated
        host, _, rest = name.partition("/")
        if rest and host in self._shipped.by_host:
            yield host, rest
            yield host, _DATED.sub("", rest)


def _newest(candidates: Iterable[Sequence[Price]], at: float) -> _Found:
    until = _ALWAYS
    for prices in candidates:
        place = bisect_right(prices, at, key=lambda price: price.since)
        if place < len(prices):
            until = min(until, prices[place].since)
        if place:
            return _Found(prices[place - 1].since, until, prices[place - 1])
    return _Found(_NEVER, until, None)


def _shipped() -> _Shipped:
    text = resources.files("penstock.access").joinpath("prices_hosted.json").read_bytes()
    table = msgspec.json.decode(text, type=_Table)
    since = datetime.datetime.combine(table.date, datetime.time(), datetime.UTC).timestamp()
    names: dict[str, Sequence[Price]] = {}
    by_host: dict[str, Mapping[str, Sequence[Price]]] = {}
    for word, host in table.hosts.items():
        prices = {name: (_price(name, since, row, host.page),) for name, row in host.models.items()}
        by_host[word] = prices
        if host.only_here:
            names |= prices
    return _Shipped(names, by_host)


def _price(name: str, since: float, row: _Row, page: str) -> Price:
    return Price(
        model=name,
        since=since,
        rates=rates_of(row),
        tiers=tiers_of(row.tiers),
        batch_percent=row.batch_percent,
        max_input=row.max_input,
        max_output=row.max_output,
        source=page,
    )
