"""``penstock prices``: what models cost."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from decimal import Decimal

import click
import msgspec

from penstock.access.price_form import PriceForm, TierForm, form_of
from penstock.access.prices import PriceList
from penstock.control.accounts.prices import PriceView
from penstock.control.accounts.turn import Gone
from penstock.core.errors import NOT_FOUND, PenstockError
from penstock.edge.cli.asking import Told
from penstock.edge.cli.desk import Desk, at_gateway, sure, yes
from penstock.edge.cli.showing import Column, note
from penstock.edge.cli.words import dollars

_COLUMNS = (
    Column("ID"),
    Column("SINCE"),
    Column("INPUT", right=True),
    Column("CACHED", right=True),
    Column("OUTPUT", right=True),
    Column("AN HOUR", right=True),
    Column("SOURCE"),
)
_ID = re.compile(r".+@\d+\Z", re.DOTALL)
_RATES = {
    "cached-read": "Of input that comes from the upstream's cache. [default: as input]",
    "cached-write": "Of input that is put into that cache. [default: as input]",
    "reasoning": "Of output that is reasoning. [default: as output]",
    "audio-input": "Of input that is audio. [default: as input]",
    "audio-output": "Of output that is audio. [default: as output]",
}


def tier(text: str) -> TierForm:
    """``200000:input=5,output=22.50``."""
    above, colon, rest = text.partition(":")
    rates: dict[str, Decimal] = {}
    for pair in rest.split(",") if rest else ():
        name, _, amount = pair.partition("=")
        rates[name.strip().replace("-", "_")] = dollars(amount.strip())
    if not (above.isascii() and above.isdigit() and colon and rates):
        raise click.BadParameter(f"{text!r} is no tier; write 200000:input=5,output=22.50")
    try:
        return msgspec.convert({"above": int(above), **rates}, TierForm)
    except msgspec.ValidationError as error:
        raise click.BadParameter(f"{text!r} is no tier: {error}; write 200000:input=5,output=22.50") from None


@click.group()
def prices() -> None:
    """Set, see and remove what models cost, in US dollars for a million tokens.

    Prices of common hosted models come with Penstock; one that is set here holds before them. A model without a
    price is refused where a budget applies.

    \b
    penstock prices set my-model --input 0.50 --output 1.50
    penstock prices set local-70b --per-hour 2.40
    penstock prices show gpt-4.1-mini
    """


@prices.command("set")
@click.argument("model")
@click.option("--input", "input_", type=dollars, default="0", help="For a million tokens of input.")
@click.option("--output", type=dollars, default="0", help="For a million tokens of output.")
@click.option("--cached-read", type=dollars, help=_RATES["cached-read"])
@click.option("--cached-write", type=dollars, help=_RATES["cached-write"])
@click.option("--reasoning", type=dollars, help=_RATES["reasoning"])
@click.option("--audio-input", type=dollars, help=_RATES["audio-input"])
@click.option("--audio-output", type=dollars, help=_RATES["audio-output"])
@click.option("--image", type=dollars, default="0", help="For one image of a prompt.")
@click.option("--per-hour", type=dollars, default="0", help="For an hour of one copy on a machine of your own.")
@click.option("--batch-percent", type=click.IntRange(0, 100), default=100, help="What a batch costs of it.")
@click.option("--tier", "tiers", multiple=True, type=tier, metavar="ABOVE:RATES", help="200000:input=5,output=22.50")
@click.option("--since", default="", metavar="TIME", help="2026-11-21, or 2026-11-21T14:00:00Z. [default: now]")
@click.option("--max-input", type=click.IntRange(1), help="The most tokens that the model reads.")
@click.option("--max-output", type=click.IntRange(1), help="The most tokens that the model writes.")
@click.option("--source", default="", help="Where the price is from.")
@at_gateway
def set_(
    desk: Desk,
    /,
    model: str,
    input_: Decimal,
    tiers: Sequence[TierForm],
    since: str,
    source: str,
    batch_percent: int,
    max_input: int | None,
    max_output: int | None,
    image: Decimal,
    output: Decimal,
    per_hour: Decimal,
    **rates: Decimal | None,
) -> None:
    """Set the price of a model from a time on, in dollars for a million tokens.

    What was used before then keeps the price it had. `--tier` sets other rates for requests with more input.

    \b
    penstock prices set gemini-pro --input 1.25 --output 10 --tier 200000:input=2.50,output=15
    """
    form = PriceForm(
        model=model,
        since=since,
        input=input_,
        output=output,
        image=image,
        per_hour=per_hour,
        tiers=tuple(sorted(tiers, key=lambda each: each.above)),
        batch_percent=batch_percent,
        max_input=max_input,
        max_output=max_output,
        source=source,
        **rates,
    )
    told = desk.ask.one("prices.create", PriceView, body=form)
    desk.tell(told, f"Price {told.value.id} is set.")


@prices.command("list")
@click.option("--model", help="Only of this model.")
@click.option("--shipped", is_flag=True, help="Those that came with this Penstock instead.")
@at_gateway
def list_(desk: Desk, model: str | None, shipped: bool) -> None:
    """List the prices that were set here."""
    if shipped:
        forms = [form_of(price) for price in PriceList().shipped() if model in (None, price.model)]
        desk.rows((_told(form) for form in forms), _COLUMNS[1:], lambda each: _row(each, each.model), "None came.")
        return
    found = desk.ask.pages("prices.list", PriceView, {"model": model})
    none = "No price was set here; `--shipped` lists those that came with Penstock."
    desk.rows(found, _COLUMNS, lambda each: (each.id, *_row(each, each.since)), none)


@prices.command()
@click.argument("model")
@at_gateway
def show(desk: Desk, model: str) -> None:
    """Show the price of MODEL that holds now; or that of an id, MODEL@SINCE."""
    if _ID.match(model):
        desk.show(desk.ask.one("prices.get", PriceView, model))
        return
    now = time.time()
    own = list(desk.ask.pages("prices.list", PriceView, {"model": model}))
    holding = [told for told in own if float(told.value.id.rpartition("@")[2]) <= now]
    if holding:
        desk.show(holding[-1])
        return
    shipped = PriceList().find((model,), now)
    if shipped is None:
        raise PenstockError(
            NOT_FOUND, f"{model!r} has no price; set one with `penstock prices set {model} --input ... --output ...`"
        )
    note("It is not set here; this is what came with Penstock.")
    desk.show(_told(form_of(shipped)))


@prices.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@yes
@at_gateway
def remove(desk: Desk, ids: Sequence[str], yes: bool) -> None:
    """Remove prices that were set here, by their ids, MODEL@SINCE."""
    sure(f"Remove {', '.join(ids)}?", yes)
    for id_ in ids:
        desk.tell(desk.ask.one("prices.delete", Gone, id_), f"Price {id_} is removed.")


def _told(form: PriceForm) -> Told[PriceForm]:
    return Told(msgspec.Raw(msgspec.json.encode(form)), form)


def _row(form: PriceForm, first: str) -> Sequence[str]:
    cached = "" if form.cached_read is None else str(form.cached_read)
    per_hour = str(form.per_hour) if form.per_hour else ""
    return first, str(form.input), cached, str(form.output), per_hour, form.source
