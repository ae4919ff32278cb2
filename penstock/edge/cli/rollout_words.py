"""How steps, gates, shares and segments of a rollout are written on the command line.

The functions are types of click's options and arguments; each raises ``click.BadParameter`` that says how it is
written.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
import msgspec

from penstock.control.accounts.rollout_request import GateForm, StepForm
from penstock.edge.cli.words import duration, member

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,4})?)%?\Z")
_GATE = "write success, latency:0.03, cost,bound=0.01, format,json=true or feedback.resolved"
_MOST = 1_000_000


class Share(msgspec.Struct, frozen=True):
    """``release`` has ``percent``."""

    release: str
    percent: float


def percent(text: str) -> float:
    """``10%`` or ``10``: from 0 to 100."""
    found = _PERCENT.match(text)
    if found is None or float(found[1]) > 100:
        raise click.BadParameter(f"{text!r} is no share; write 10% or 0.5%")
    return float(found[1])


def step(text: str) -> StepForm:
    """``1%:10m``, ``10%:500`` (samples), ``10%:30m:500``, ``50%``."""
    share, *until = text.split(":")
    hold_s, samples = 0.0, 0
    for each in until:
        if each.isascii() and each.isdigit():
            samples = int(each)
        else:
            hold_s = duration(each)
    if len(until) > 2 or samples > _MOST:
        raise click.BadParameter(f"{text!r} is no step; write 1%:10m, 10%:500 (samples) or 10%:30m:500")
    return StepForm(share=percent(share), hold_s=hold_s, samples=samples)


def gate(text: str) -> GateForm:
    """``METRIC[:MARGIN][,NAME=VALUE...]``: ``scorer`` and ``bound``, and the settings of the scorer."""
    head, *pairs = text.split(",")
    metric, colon, margin = head.partition(":")
    fields: dict[str, object] = {"metric": metric}
    if colon:
        fields["margin"] = margin
    settings: dict[str, object] = {}
    for pair in pairs:
        name, value = member(pair.strip())
        if name in ("scorer", "bound"):
            fields[name] = value
        else:
            settings[name] = value
    try:
        return msgspec.convert(fields | {"settings": settings}, GateForm, strict=False)
    except msgspec.ValidationError as error:
        raise click.BadParameter(f"{text!r} is no gate: {error}; {_GATE}") from None


def gates(path: str) -> tuple[GateForm, ...]:
    """The gates in a file, in YAML or JSON: a list of them as the admin API takes them."""
    try:
        return msgspec.yaml.decode(Path(path).read_bytes(), type=tuple[GateForm, ...])
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} is no list of gates: {error}; {_GATE} in its long form") from None


def share(text: str) -> Share:
    """``rel_0d2eb39448d0ad7e=90``."""
    release, equals, part = text.partition("=")
    if not (release and equals):
        raise click.BadParameter(f"{text!r} is no share; write RELEASE=90")
    return Share(release, percent(part))


def header(text: str) -> tuple[str, str]:
    """``x-beta=yes``."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"{text!r} is no header; write NAME=VALUE")
    return name, value
