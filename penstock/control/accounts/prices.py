"""Prices of models, as the operator has set them. They are the same for every project."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from penstock.access.price_form import PriceForm, form_of, price_of
from penstock.control.accounts.sight import not_found
from penstock.control.accounts.turn import Gone, Outcome, Page, Turn, page
from penstock.core.accounts import Directory
from penstock.core.money import Price


class PriceView(PriceForm, frozen=True, kw_only=True, omit_defaults=False):
    """A price in US dollars: for a million tokens, an image, or an hour of a machine. `id` is the model and since
    when, as in rows of the ledger."""

    id: str
    object: Literal["price"] = "price"


def price_id(price: Price) -> str:
    """``gpt-5@1754524800``: the model, and seconds since the epoch."""
    return f"{price.model}@{price.since:.0f}"


def shown(price: Price) -> PriceView:
    return PriceView(id=price_id(price), **msgspec.structs.asdict(form_of(price)))


def listed(directory: Directory, turn: Turn, _: None) -> Page:
    model = turn.query.get("model")
    rows = (each for each in directory.prices if model in (None, each.model))
    # Padded, so that the order of the texts is that of the times.
    return page(turn, ((f"{each.model}@{each.since:015.0f}", each) for each in rows), shown)


def one(directory: Directory, turn: Turn, _: None) -> PriceView:
    return shown(_found(directory, turn.target))


def put(directory: Directory, turn: Turn, asked: PriceForm) -> Outcome:
    price = price_of(asked, turn.now)
    # Its id has whole seconds.
    price = msgspec.structs.replace(price, since=float(math.floor(price.since)))
    id = price_id(price)
    before = next((each for each in directory.prices if price_id(each) == id), None)
    return Outcome(
        answer=shown(price),
        put=(price,) if price != before else (),
        target=id,
        before=shown(before) if before else None,
        after=shown(price),
    )


def delete(directory: Directory, turn: Turn, _: None) -> Outcome:
    price = _found(directory, turn.target)
    gone = Gone(object="price", id=price_id(price))
    return Outcome(answer=gone, remove=(("price", gone.id),), target=gone.id, before=shown(price))


def _found(directory: Directory, id: str) -> Price:
    for price in directory.prices:
        if price_id(price) == id:
            return price
    raise not_found("price", id)
