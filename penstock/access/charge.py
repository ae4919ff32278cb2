"""What a request costs: a price and the tokens it is for. Pure.

Amounts are in nano-dollars; see ``core.money``. Everything is added up exactly and rounded up once, so that a
charge is never less than what the price says, and less than one nano-dollar more.
"""

from __future__ import annotations

import math

from penstock.access.bounds import Bound
from penstock.core.chat import Usage
from penstock.core.money import Price, Rates
from penstock.core.usage import Tokens

_PICO = 1_000
"""In one nano."""
_PERCENT = 100
_HOUR_US = 3_600_000_000


def cost_nano(price: Price, tokens: Tokens, *, batch: bool = False, held_s: float = 0.0, slots: int = 1) -> int:
    """What ``tokens`` cost, and ``held_s`` seconds of one of the ``slots`` of a machine that has a price by the hour.

    The whole request is charged at the rates of the highest tier that its input is above. The parts of input and
    output that have a rate of their own are charged at it, and what is left at that of the whole. ``batch`` lowers
    what tokens cost, not the machine. No input raises.
    """
    return _nano(price, _pico(_tier(price, tokens.input), tokens), batch, held_s, slots)


def most_nano(price: Price, bound: Bound, *, batch: bool = False, held_s: float = 0.0, slots: int = 1) -> int:
    """What a request of at most ``bound`` costs at most, whatever parts and tier it turns out to have; ``held_s`` is
    as long as it may run. ``cost_nano`` of what it was is never more."""
    most = 0
    for rates in (price.rates, *(tier.rates for tier in price.tiers if tier.above < bound.input)):
        read = max(rates.input, rates.cached_read or 0, rates.cached_write or 0)
        made = max(rates.output, rates.reasoning or 0)
        if bound.audio:
            read = max(read, rates.audio_input or 0)
            made = max(made, rates.audio_output or 0)
        most = max(most, bound.input * read + bound.output * made + bound.images * rates.image)
    return _nano(price, most, batch, held_s, slots)


def tokens_of(usage: Usage, images: int = 0) -> Tokens:
    """What the engine counted, as the ledger has it; ``images`` are the pictures of the prompt."""
    return Tokens(
        input=usage.prompt,
        cached_read=usage.cached,
        cached_write=usage.cache_write,
        output=usage.completion,
        reasoning=usage.reasoning,
        audio_input=usage.audio_prompt,
        audio_output=usage.audio_completion,
        images=images,
    )


def _tier(price: Price, read: int) -> Rates:
    rates = price.rates
    for tier in price.tiers:
        if read <= tier.above:
            break
        rates = tier.rates
    return rates


def _pico(rates: Rates, tokens: Tokens) -> int:
    """Each token is charged once: parts that would be more than the whole take what is left of it, in this order."""
    cached, written, heard = tokens.cached_read, tokens.cached_write, tokens.audio_input
    cost = tokens.input * rates.input + tokens.output * rates.output + tokens.images * rates.image
    if cached or written or heard:
        left = tokens.input
        for part, rate in ((heard, rates.audio_input), (written, rates.cached_write), (cached, rates.cached_read)):
            if rate is not None:
                part = min(part, left)
                cost += part * (rate - rates.input)
                left -= part
    if tokens.reasoning or tokens.audio_output:
        left = tokens.output
        for part, rate in ((tokens.audio_output, rates.audio_output), (tokens.reasoning, rates.reasoning)):
            if rate is not None:
                part = min(part, left)
                cost += part * (rate - rates.output)
                left -= part
    return cost


def _nano(price: Price, pico: int, batch: bool, held_s: float, slots: int) -> int:
    percent = price.batch_percent if batch else _PERCENT
    if not price.per_hour_nano:
        return -(-pico * percent // (_PICO * _PERCENT))
    held = price.per_hour_nano * math.ceil(max(0.0, held_s) * 1e6)
    share = _HOUR_US * max(1, slots)
    return -(-(pico * percent * share + held * _PICO * _PERCENT) // (_PICO * _PERCENT * share))
