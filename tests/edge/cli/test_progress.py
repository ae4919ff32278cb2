"""Progress is shown to people once it is worth showing."""

from __future__ import annotations

import io

from penstock.edge.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def played(out: io.StringIO, *steps: tuple[float, int, int | None]) -> str:
    """``steps``: after so many seconds, so many of so many bytes."""
    clock = Clock()
    progress = Progress(out, clock)
    for seconds, done, total in steps:
        clock.at += seconds
        progress.step("fetching a.gguf", done, total)
    progress.line("done")
    return out.getvalue()


def test_a_short_step_is_not_shown() -> None:
    assert played(io.StringIO(), (0, 0, 10), (0.5, 5, 10), (0.4, 10, 10)) == "done\n"


def test_without_a_terminal_there_is_a_line_now_and_then() -> None:
    hundred = [(0.1, n * 1_000_000, 100_000_000) for n in range(101)]
    lines = played(io.StringIO(), *hundred).splitlines()
    assert lines[0] in ("  fetching a.gguf:  10 % of 100.0 MB", "  fetching a.gguf:  11 % of 100.0 MB")
    assert lines[-2:] == ["  fetching a.gguf: 100 % of 100.0 MB", "done"]
    assert len(lines) <= 8


def test_an_unknown_size_still_says_something() -> None:
    lines = played(io.StringIO(), *[(1.0, n * 1_000_000, None) for n in range(35)]).splitlines()
    assert lines[0] == "  fetching a.gguf: 1.0 MB"
    assert 3 <= len(lines) <= 6


def test_on_a_terminal_one_line_is_drawn_again_and_then_erased() -> None:
    said = played(Terminal(), (0, 0, 4_000_000), (2, 1_000_000, 4_000_000), (2, 2_000_000, 4_000_000))
    assert "\n" not in said.removesuffix("done\n")
    assert "[######..................]  25 % of 4.0 MB  fetching a.gguf" in said
    assert said.endswith("\r\x1b[Kdone\n")


class Full(io.StringIO):
    """A log on a full disk."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_what_cannot_be_said_harms_nobody() -> None:
    assert played(Full(), (0, 0, 100), (2, 50, 100)) == ""
