"""What must hold of a ledger, whatever happened while it was written."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from itertools import accumulate

from penstock.core.usage import Entry
from tests.e2e.races.clients import Seen
from tests.e2e.races.upstream import Attempt

STEP_S = 0.1


def never_overspent(rows: Sequence[Entry], budget_nano: int, said: str) -> int:
    """At every prefix of the ledger what was settled is within the budget; the sum of all."""
    total = 0
    for row in sorted(rows, key=lambda row: row.settled_at):
        total += row.cost_nano
        assert total <= budget_nano, f"{total} of {budget_nano} nano-dollars are spent with {row.request_id}\n{said}"
    return total


def never_more_in_a_window(rows: Sequence[Entry], limit: int, window_s: float) -> int:
    """By the time that requests were received, no window holds more tokens than the limit, at steps of 100 ms; the
    most that one held."""
    ordered = sorted(rows, key=lambda row: row.received_at)
    at = [row.received_at for row in ordered]
    sums = [0, *accumulate(row.tokens.input + row.tokens.output for row in ordered)]
    most = 0
    begin = at[0] - window_s
    while begin <= at[-1]:
        held = sums[bisect.bisect_left(at, begin + window_s)] - sums[bisect.bisect_left(at, begin)]
        most = max(most, held)
        assert held <= limit, f"{held} tokens in {window_s:g} s, of {limit}"
        begin += STEP_S
    return most


def as_the_upstream_counted(rows: Sequence[Entry], attempts: Mapping[str, Sequence[Attempt]], seen: Seen) -> int:
    """Rows that are exact are what the upstream says, and the others are not below it. What a client got whole, and
    whatever else reached the upstream, is there. How many rows are estimated."""
    by_request: dict[str, list[Entry]] = {}
    for row in rows:
        by_request.setdefault(row.request_id, []).append(row)
    for id, tried in attempts.items():
        there = by_request.get(id, [])
        said = [(row.tokens.input, row.tokens.output, row.estimated) for row in there]
        assert len(there) >= len(tried), f"{id}: the upstream made {tried}, the ledger has {said}"
        exact = [row for row in there if not row.estimated]
        if len(exact) == len(there):
            counted = sorted((each.prompt, each.completion) for each in tried)
            assert sorted((row.tokens.input, row.tokens.output) for row in there) == counted, f"{id}: {said}, {tried}"
        else:
            assert sum(row.tokens.input for row in there) >= sum(each.prompt for each in tried), f"{id}: {said}"
            assert sum(row.tokens.output for row in there) >= sum(each.completion for each in tried), f"{id}: {said}"
    missing = seen.whole - by_request.keys()
    assert not missing, f"answered whole and not in the ledger: {sorted(missing)[:5]}"
    estimated = [row for row in rows if row.estimated]
    spoilt = seen.broken | seen.left
    strange = [row for row in estimated if row.request_id not in spoilt]
    assert not strange, f"estimated, though nobody was cut off: {strange[:3]}"
    twice = {row.request_id for row in estimated if sum(each.estimated for each in by_request[row.request_id]) > 1}
    assert not twice, f"more than one estimated row: {sorted(twice)[:5]}"
    return len(estimated)
