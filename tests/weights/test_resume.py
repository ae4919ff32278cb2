"""The law of a resumed download: however the line breaks, what arrives is what is served, or nothing."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.weights.resume import Body, Broken, download
from tests.weights.doubles import Heard

VERSIONS = (b"first version, " * 20, b"the second one: " * 15)


class Line:
    """A source whose attempts each go as the script says: which version, how many bytes, whether it can resume."""

    def __init__(self, script: list[tuple[int, int, bool]]) -> None:
        self.script = script
        self.version = 0

    @contextlib.contextmanager
    def open(self, offset: int, validator: str | None) -> Iterator[Body]:
        self.version, enough, named = self.script.pop(0) if self.script else (self.version, 10_000, True)
        data, name = VERSIONS[self.version], f"v{self.version}" if named else None
        start = offset if validator == f"v{self.version}" else 0
        yield Body(start, len(data), name, self._chunks(data[start:], enough))

    def _chunks(self, data: bytes, enough: int) -> Iterator[bytes]:
        for place in range(0, min(len(data), enough), 16):
            yield data[place : min(place + 16, enough)]
        if enough < len(data):
            raise Broken("cut")


ATTEMPT = st.tuples(st.integers(0, 1), st.integers(0, 330), st.booleans())


@given(st.lists(ATTEMPT, max_size=5))
@settings(deadline=None)
def test_what_arrives_is_one_version_whole(script: list[tuple[int, int, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        line, target = Line(list(script)), Path(folder) / "m.gguf"
        download(line, target, of="m", progress=Heard(), pause=lambda _: None)
        assert target.read_bytes() == VERSIONS[line.version]
        assert [path.name for path in target.parent.iterdir()] == ["m.gguf"]


def test_it_gives_up_after_six_attempts_that_bring_nothing(tmp_path: Path) -> None:
    pauses: list[float] = []
    line = Line([(0, 40, True)] + [(0, 0, True)] * 50)
    with pytest.raises(Broken):
        download(line, tmp_path / "m", of="m", progress=Heard(), pause=pauses.append)
    assert len(pauses) == 5
    for number, pause in enumerate(pauses):
        assert 0.25 * 2**number <= pause <= 0.5 * 2**number


def test_it_goes_on_while_each_attempt_brings_something(tmp_path: Path) -> None:
    line = Line([(0, 16, True)] * 50)
    download(line, tmp_path / "m", of="m", progress=Heard(), pause=lambda _: None)
    assert (tmp_path / "m").read_bytes() == VERSIONS[0]


def test_a_server_that_never_resumes_is_given_up(tmp_path: Path) -> None:
    line = Line([(0, 100, False)] * 1000)
    with pytest.raises(Broken):
        download(line, tmp_path / "m", of="m", progress=Heard(), pause=lambda _: None)
    assert len(line.script) == 1000 - 6


def test_the_other_side_may_ask_for_a_longer_pause(tmp_path: Path) -> None:
    class Busy(Line):
        @contextlib.contextmanager
        def open(self, offset: int, validator: str | None) -> Iterator[Body]:
            if self.script:
                raise Broken("busy", float(self.script.pop(0)[1]))
            with super().open(offset, validator) as body:
                yield body

    pauses: list[float] = []
    line = Busy([(0, 7, True), (0, 3600, True)])
    download(line, tmp_path / "m", of="m", progress=Heard(), pause=pauses.append)
    assert pauses == [7.0, 60.0]


def test_more_bytes_than_were_announced_are_not_taken(tmp_path: Path) -> None:
    class Long(Line):
        @contextlib.contextmanager
        def open(self, offset: int, validator: str | None) -> Iterator[Body]:
            yield Body(0, 10, "v", iter([b"x" * 11]))

    with pytest.raises(Broken, match="11 bytes came where 10"):
        download(Long([]), tmp_path / "m", of="m", progress=Heard(), pause=lambda _: None)
    assert not (tmp_path / "m").exists()
