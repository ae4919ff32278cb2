"""Rules and boards name rows that there are, in PromQL that parses, and are as fresh as the code."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import promql_parser
import pytest
import yaml

from penstock.assembly.metrics import ROWS
from penstock.core.metrics import Counter, Gauge, Histogram
from penstock.observe.boards import boards
from penstock.observe.config import Objective
from penstock.observe.rules import rules_file
from penstock.observe.windows import lengths

ROOT = Path(__file__).parents[2]
DEPLOYED = runpy.run_path(str(ROOT / "docs/generate.py"))["deployed"]()
PROMISES = {
    "assistant": [
        Objective(kind="availability", target=0.999),
        Objective(kind="latency", target=0.95, within_s=2.0),
        Objective(kind="first_chunk", target=0.9, within_s=1000.0, window_days=7),
        Objective(kind="cost", dollars=0.01),
    ],
    'odd "name" {$x} /y': [Objective(kind="availability", window_days=90)],
}


def declared() -> dict[str, tuple[str, ...]]:
    """Labels by the name that Prometheus has."""
    found: dict[str, tuple[str, ...]] = {}
    for row in ROWS:
        match row:
            case Counter():
                found[f"{row.name}_total"] = row.labels
            case Gauge():
                found[row.name] = row.labels
            case Histogram():
                found |= {f"{row.name}_{end}": row.labels for end in ("count", "sum")}
                found[f"{row.name}_bucket"] = (*row.labels, "le")
    return found


def selectors(expr: promql_parser.Expr) -> Iterator[promql_parser.VectorSelector]:
    """Every selector below."""
    if isinstance(expr, promql_parser.VectorSelector):
        yield expr
    elif isinstance(expr, promql_parser.MatrixSelector):
        yield expr.vector_selector
    elif isinstance(expr, promql_parser.BinaryExpr):
        yield from selectors(expr.lhs)
        yield from selectors(expr.rhs)
    elif isinstance(expr, promql_parser.Call):
        for each in expr.args:
            yield from selectors(each)
    elif isinstance(expr, promql_parser.NumberLiteral):
        return
    else:
        yield from selectors(expr.expr)


def checked(text: str, recorded: frozenset[str] = frozenset()) -> set[str]:
    """The names in it, each of which is declared, with the labels that it is asked by."""
    plain = text.replace("$__rate_interval", "5m").replace("$__range", "6h")
    found = set()
    for each in selectors(promql_parser.parse(plain)):
        found.add(each.name)
        labels = {matcher.name for matcher in each.matchers.matchers}
        if each.name in recorded:
            assert labels <= {"service", "objective"}
        else:
            assert labels <= {*declared()[each.name], "instance"}, each.name
    return found


@pytest.mark.parametrize("promises", [{}, PROMISES], ids=["likely", "own"])
def test_rules(promises: dict[str, list[Objective]]) -> None:
    read = yaml.safe_load(rules_file(promises, ROWS, "A note.\n\nOf two lines."))
    rules = [rule for group in read["groups"] for rule in group["rules"]]
    recorded = frozenset(rule["record"] for rule in rules if "record" in rule)
    assert len({group["name"] for group in read["groups"]}) == len(read["groups"])
    used = set()
    for rule in rules:
        used |= checked(rule["expr"], recorded)
        assert set(rule) <= {"record", "alert", "expr", "for", "labels", "annotations"}
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert rule["annotations"]["summary"].count("{{") == rule["annotations"]["summary"].count("}}")
    assert recorded <= used | {f"penstock:slo_bad:ratio_rate{window}" for window in ("3d", "9d")}


def test_every_promise_has_its_rules() -> None:
    read = yaml.safe_load(rules_file(PROMISES, ROWS))
    groups = {group["name"]: group for group in read["groups"]}
    assert list(groups) == [
        "penstock-assistant-availability",
        "penstock-assistant-latency-2s",
        "penstock-assistant-first_chunk-1000s",
        "penstock-odd-name-x-y-availability",
        "penstock-gateway",
    ]
    latency = groups["penstock-assistant-latency-2s"]["rules"]
    # There is no bucket of two seconds.
    assert 'le="2.5"' in latency[1]["expr"]
    assert 'le="+Inf"' in groups["penstock-assistant-first_chunk-1000s"]["rules"][1]["expr"]
    assert len([rule for rule in latency if "record" in rule]) == 2 + len(lengths(PROMISES["assistant"][1]))
    (page, ticket) = [rule for rule in latency if "alert" in rule]
    assert (page["labels"]["severity"], ticket["labels"]["severity"]) == ("page", "ticket")
    # Of 95 %, 14.4 times is more than there can be; so it is half way from 5 % to all.
    assert "> 0.525" in page["expr"]
    assert groups["penstock-odd-name-x-y-availability"]["rules"][0]["labels"]["service"] == 'odd "name" {$x} /y'


@pytest.mark.parametrize("name", boards(ROWS))
def test_boards(name: str) -> None:
    board = json.loads(boards(ROWS)[name])
    assert board["uid"] == name.removesuffix(".json")
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        for target in panel.get("targets", ()):
            names = checked(target["expr"])
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                assert all(label in (*declared()[each], "instance") for each in names), (panel["title"], label)
    for variable in board["templating"]["list"][1:]:
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["definition"]).groups()
        assert label in declared()[metric]


def test_a_row_that_there_is_not_cannot_be_named() -> None:
    with pytest.raises(KeyError):
        boards(ROWS[1:])


@pytest.mark.parametrize("name", DEPLOYED)
def test_the_committed_files_are_up_to_date(name: str) -> None:
    assert (ROOT / "deploy" / name).read_bytes() == DEPLOYED[name], "run `make docs`"
