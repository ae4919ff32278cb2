"""Lines are written whole, in order, by a thread, or counted as lost."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading

import pytest

from penstock.observe.lines import JsonFormatter, LineWriter, timestamp
from tests.e2e.running import wait_until


class Said(list[str]):
    """What is said, and a wait for it."""

    def __call__(self, line: str) -> None:
        self.append(line)

    def wait(self, count: int) -> None:
        wait_until(lambda: len(self) >= count, 5, lambda: str(self))


def read(fd: int) -> list[int]:
    with os.fdopen(fd) as written:
        return [json.loads(line)["n"] for line in written]


@pytest.mark.parametrize("count", [1, 1200])
def test_each_value_is_one_line_in_order(count: int) -> None:
    reader, writer = os.pipe()
    lines = LineWriter(writer)
    got: list[int] = []
    reading = threading.Thread(target=lambda: got.extend(read(reader)))
    reading.start()
    for number in range(count):
        lines.write({"n": number})
    lines.close()
    reading.join(5)
    assert got == list(range(count))
    assert lines.dropped == 0


def test_a_line_is_written_without_the_next_one() -> None:
    reader, writer = os.pipe()
    lines = LineWriter(writer)
    with os.fdopen(reader) as written:
        for number in range(5):
            lines.write({"n": number})
            assert json.loads(written.readline()) == {"n": number}
        lines.close()


def test_threads_may_write_together() -> None:
    reader, writer = os.pipe()
    lines = LineWriter(writer, bound=100_000)
    got: list[int] = []
    reading = threading.Thread(target=lambda: got.extend(read(reader)))
    reading.start()
    numbers = [range(begin, begin + 3000) for begin in (0, 3000, 6000)]
    threads = [threading.Thread(target=lambda n=n: [lines.write({"n": i}) for i in n]) for n in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines.close(10)
    reading.join(5)
    assert sorted(got) == list(range(9000))


def test_processes_share_a_pipe_without_mixing_their_lines() -> None:
    reader, writer = os.pipe()
    both = [LineWriter(os.dup(writer)), LineWriter(writer)]
    got: list[int] = []
    reading = threading.Thread(target=lambda: got.extend(read(reader)))
    reading.start()
    for number in range(3000):
        both[number % 2].write({"n": number, "text": "x" * (number % 700)})
    for lines in both:
        lines.close(10)
    reading.join(5)
    assert sorted(got) == list(range(3000))


def test_a_reader_that_stalls_costs_lines_and_not_time() -> None:
    reader, writer = os.pipe()
    said = Said()
    lines = LineWriter(writer, bound=10, say=said)
    for _ in range(100):
        lines.write({"x": "y" * 100_000})
    assert lines.dropped > 0
    os.close(reader)
    lines.close()
    assert any("Broken pipe" in line or "faster than" in line for line in said)


def test_a_pipe_that_does_not_block_is_waited_for_all_the_same() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    lines = LineWriter(writer)
    for number in range(3000):
        lines.write({"n": number, "text": "x" * 100})
    got: list[int] = []
    reading = threading.Thread(target=lambda: got.extend(read(reader)))
    reading.start()
    lines.close(10)
    reading.join(5)
    assert (got, lines.dropped) == (list(range(3000)), 0)


def test_a_full_disk_is_said_once_a_minute_with_the_count_and_the_mend() -> None:
    said, now = Said(), [0.0]
    lines = LineWriter(os.open("/dev/full", os.O_WRONLY), say=said, now=lambda: now[0])
    lines.write({"n": 1})
    said.wait(1)
    lines.write({"n": 2})
    lines.write({"n": 3})
    wait_until(lambda: lines.dropped >= 3, 5)
    assert len(said) == 1
    now[0] = 60.0
    lines.write({"n": 4})
    said.wait(2)
    lines.write({"n": 5})
    lines.close()
    assert lines.dropped == 5
    counts = [int(line.partition(" lines")[0]) for line in said]
    # Whether the fourth is in the second line or the third is for the two threads to settle.
    assert counts in ([1, 3, 1], [1, 2, 2])
    assert "No space left on device" in said[0]
    assert "server: access_log:" in said[0]


def test_what_is_no_json_is_lost_alone() -> None:
    reader, writer = os.pipe()
    said = Said()
    lines = LineWriter(writer, say=said)
    for value in ({"n": 1}, {"n": object()}, {"n": "\ud800"}, {"n": 2}):
        lines.write(value)
    lines.close()
    assert read(reader) == [1, 2]
    assert lines.dropped == 2


def test_a_record_is_one_line_of_json_with_its_traceback_inside() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        record = logging.LogRecord("penstock", logging.ERROR, __file__, 1, "it %s", ("failed",), sys.exc_info())
    line = JsonFormatter(worker=3).format(record)
    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["worker"], told["message"]) == ("error", 3, "it failed")
    assert "ValueError: broken" in told["exception"]


@pytest.mark.parametrize(("wall", "text"), [(0.0, "1970-01-01T00:00:00.000Z"), (1.5, "1970-01-01T00:00:01.500Z")])
def test_times_are_iso_8601_in_utc(wall: float, text: str) -> None:
    assert timestamp(wall) == text
