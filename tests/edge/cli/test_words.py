"""Times, amounts and money as people write them."""

from __future__ import annotations

import json
import time
from decimal import Decimal

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.edge.cli.showing import Column, json_line, json_of, line_of, table
from penstock.edge.cli.words import ago, ahead, dollars, duration, rate, subject


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90.0), ("15m", 900.0), ("12h", 43200.0), ("30d", 2592e3), ("2w", 1209600.0), ("0", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


def test_times_are_utc_unless_they_say_otherwise() -> None:
    assert ago("2026-11-21") == ago("2026-11-21T00:00:00Z") == 1795219200.0
    assert ahead("2026-11-21T02:00:00+02:00") == 1795219200.0
    assert ahead("1d") > time.time() + 86000
    assert ago("1d") < time.time() - 86000


@pytest.mark.parametrize("text", ["", "soon", "1y", "-1d", "2026-13-01", "9999999999-01-01", "1d2h"])
def test_what_is_no_time_is_said(text: str) -> None:
    for read in (ahead, ago, duration):
        with pytest.raises(click.BadParameter, match="write"):
            read(text)


def test_amounts_and_subjects() -> None:
    assert rate("1.5M/day") == (1_500_000, "day")
    assert rate("2,000") == (2000, None)
    assert subject("service:a:b") == ("service", "a:b")
    assert subject("user") == ("user", "*")


@given(st.decimals(min_value=0, max_value=10**9, places=9))
def test_dollars_are_what_was_written(amount: Decimal) -> None:
    assert dollars(f"{amount:f}") == amount


@given(st.lists(st.lists(st.text(max_size=20), min_size=2, max_size=2), max_size=5))
def test_a_table_has_a_line_for_each_row_and_drives_no_terminal(rows: list[list[str]]) -> None:
    lines = list(table((Column("ONE"), Column("TWO", right=True)), rows))
    assert len(lines) == (len(rows) + 1 if rows else 0)
    assert all(line == line_of(line) or "  " in line for line in lines)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for line in lines for char in line)


def test_json_drives_no_terminal_and_says_the_same() -> None:
    # CSI as one character, which JSON lets stand: "clear the screen".
    raw = '{"user":"\x9b2J\x7f \\u001b[2J ü"}'.encode()
    for shown in (json_line(raw), json_of(raw)):
        assert shown.replace("\n", "").isprintable()
        assert json.loads(shown) == json.loads(raw)
