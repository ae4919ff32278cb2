from __future__ import annotations

import json
import logging
import os
import sys

import pytest

from penstock.observe.lines import JsonFormatter, LineWriter, timestamp


def test_each_value_is_one_line_in_order() -> None:
    reader, writer = os.pipe()
    lines = LineWriter(writer)
    for number in range(1200):
        lines.write({"n": number})
    lines.close()
    with os.fdopen(reader) as written:
        assert [json.loads(line)["n"] for line in written] == list(range(1200))
    assert lines.dropped == 0


def test_a_reader_that_stalls_costs_lines_and_not_time() -> None:
    reader, writer = os.pipe()
    lines = LineWriter(writer, bound=10)
    for _ in range(100):
        lines.write({"x": "y" * 100_000})
    assert lines.dropped > 0
    os.close(reader)
    lines.close()


def test_a_full_disk_is_counted_and_survived() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    lines = LineWriter(full)
    lines.write({"n": 1})
    lines.close()
    assert lines.dropped == 1


def test_a_record_is_one_line_of_json_with_its_traceback_inside() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        record = logging.LogRecord("penstock", logging.ERROR, __file__, 1, "it %s", ("failed",), sys.exc_info())
    line = JsonFormatter().format(record)
    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["message"]) == ("error", "it failed")
    assert "ValueError: broken" in told["exception"]


@pytest.mark.parametrize(("wall", "text"), [(0.0, "1970-01-01T00:00:00.000Z"), (1.5, "1970-01-01T00:00:01.500Z")])
def test_times_are_iso_8601_in_utc(wall: float, text: str) -> None:
    assert timestamp(wall) == text
