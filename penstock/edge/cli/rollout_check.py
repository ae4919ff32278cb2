"""``penstock rollout check``: a golden set's word on a release, before anybody gets it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

import click
import msgspec

from penstock.control.accounts.release_shown import ReleaseView
from penstock.control.accounts.rollout_request import GateForm, measure_of
from penstock.control.accounts.rollout_shown import SplitView
from penstock.control.accounts.splits import KeepWarm
from penstock.control.accounts.traffic import Recent
from penstock.core.errors import INVALID_VALUE, MODEL_NOT_FOUND, NO_REPLICA, PenstockError
from penstock.core.releases import Gate, Measure
from penstock.edge.cli.asking import Asking
from penstock.edge.cli.chat import reach
from penstock.edge.cli.golden_set import UNCHECKED, Checking, Golden, read
from penstock.edge.cli.rollout_words import gate, gates
from penstock.edge.cli.showing import json_of, note
from penstock.edge.cli.words import duration
from penstock.quality.golden import check as compare
from penstock.quality.golden import report

_POLL_S = 1.0


@click.command()
@click.argument("service")
@click.argument("release")
@click.option("--golden", type=read, required=True, metavar="FILE", help="Requests, one JSON object a line.")
@click.option("--against", metavar="RELEASE", help="What it is compared with. [default: what most get now]")
@click.option("--gate", "gate_", multiple=True, type=gate, metavar="METRIC[:MARGIN]", help="[default: success]")
@click.option("--gates", "gates_", type=gates, metavar="FILE", help="Gates in their long form, YAML or JSON.")
@click.option("--alpha", type=click.FloatRange(0.0001, 0.5), default=0.05, show_default=True, help="Of being wrong.")
@click.option("--at-once", type=click.IntRange(1, 64), default=4, show_default=True, help="Requests at once.")
@click.option("--load-within", type=duration, default="15m", show_default=True, metavar="TIME", help="Or give up.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--url", help="The gateway. [default: the one whose credentials are in $PENSTOCK_HOME]")
def check(
    service: str,
    release: str,
    golden: Sequence[Golden],
    against: str | None,
    gate_: Sequence[GateForm],
    gates_: tuple[GateForm, ...] | None,
    alpha: float,
    at_once: int,
    load_within: float,
    as_json: bool,
    url: str | None,
) -> int:
    """Compare two releases on a golden set, pair by pair.

    Each request of the set is asked of both. A line has the members of a request, `messages` or `prompt_variables`
    at least, and may have an `id` and a `reference`, a good reply that `similarity` goes by. A release that is not
    loaded is loaded for an hour. The exit code is 0 when in no metric RELEASE is worse by the margin, 1 when it is or
    there are too few rows to know, 2 for input that makes no sense.

    \b
    penstock rollout check chat rel_c01f3a6ef0f8d5b2 --golden golden.jsonl --gate success --gate format:0.1,json=true
    """
    forms = (*gate_, *(gates_ or ())) or (GateForm(metric="success"),)
    whole = all(each.reference for each in golden)
    measures = [_measure(_near_references(each) if whole else each) for each in forms]
    gateway = reach(url, os.environ)
    ask = Asking(gateway)
    try:
        split = ask.one("splits.get", SplitView, service).value
        champion = against or max(split.shares, key=lambda each: split.shares[each])
        if champion == release:
            raise click.UsageError(f"{release} is what most get at {service} now; name another with --against")
        for each in (champion, release):
            _load(ask, split, each, load_within)
    except PenstockError as error:
        if error.fault is not MODEL_NOT_FOUND:
            raise
        # A name that is wrong is no word on the release: a CI job has to tell the two apart.
        raise click.UsageError(error.message) from None
    found = compare(
        Checking(gateway, service, release, champion, measures).rows(golden, at_once),
        [Gate(metric=each.metric, margin=each.margin) for each in forms],
        alpha=alpha,
    )
    click.echo(
        json_of(msgspec.json.encode(found)) if as_json else report(found, candidate=release, champion=champion),
        nl=as_json,
    )
    return 0 if found.passed else 1


def _near_references(form: GateForm) -> GateForm:
    """With every row's own reference to be close to, none for all of them is needed."""
    scorer = form.scorer or form.metric
    if scorer != "similarity" or "to" in form.settings or "text" in form.settings:
        return form
    return msgspec.structs.replace(form, settings={**form.settings, "text": "the reference of each row"})


def _measure(form: GateForm) -> Measure:
    try:
        made = measure_of(form, Recent(), "gate")
    except PenstockError as error:
        if error.fault is not INVALID_VALUE:
            raise
        raise click.UsageError(error.message) from None
    if made is None:
        raise click.UsageError(f"{form.metric} needs a bound: write {form.metric},bound=2.5")
    if made.scorer in UNCHECKED:
        raise click.UsageError(f"a golden set has nothing for {made.scorer}; take the gate on {form.metric} out")
    return made


def _load(ask: Asking, split: SplitView, release: str, within_s: float) -> None:
    """Waits until some gateway has the release ready."""
    kept = {*split.shares, *split.segment_shares, *(each.release for each in split.warm)}
    if release not in kept or split.changed_at is None:
        ask.one("splits.warm", SplitView, split.id, body=KeepWarm(release=release))
    deadline, told = time.monotonic() + within_s, False
    while not ask.one("releases.get", ReleaseView, release).value.ready:
        if time.monotonic() > deadline:
            raise PenstockError(
                NO_REPLICA, f"{release} was not loaded within {within_s:g} s; the gateway's log says why"
            )
        if not told:
            note(f"{release} is being loaded.")
            told = True
        time.sleep(_POLL_S)
