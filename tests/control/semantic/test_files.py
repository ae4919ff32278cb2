"""What desks leave on disk: a gateway that is killed knows what it served, and damage costs no more than it must."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.caches.invalidations import Invalidations
from penstock.caches.semantic.control import Limits
from penstock.caches.semantic.desk import Desk
from penstock.caches.semantic.ledger import Audit, Ledger
from penstock.control.semantic import entry_log, hit_log
from penstock.control.semantic.desks import Desks
from penstock.control.semantic.files import Files, prune
from penstock.control.semantic.hit_log import HitLog
from penstock.control.semantic.shelf import Item
from penstock.core.caching import DeskFigures, DeskScope, Invalidation, Learnt
from tests.control.semantic.house import LOOSE, SCOPE, Walls, ask, entry, graph, taught, texts

CLEAN = "How do I clean a kite?"


async def stood(desks: Desks) -> DeskFigures:
    await desks.tick()
    (figures,) = desks.figures()
    return figures


async def hits(desks: Desks, clock: Walls, *, learnt: bool) -> tuple[int, int]:
    """How many hits there were, and audits among them; ``learnt``: those have come to their end."""
    found = audits = 0
    for number, asked, answered in texts(same=True, many=40):
        rest = str(number).encode()
        await desks.keep(taught(answered, clock.at, rest=rest))
        told = await desks.seek("w", ask(asked, rest=rest))
        found, audits = found + told.hit, audits + told.audited
        if learnt and told.audited:
            await desks.learn(Learnt(told.ticket, True))
    return found, audits


@pytest.mark.parametrize("learnt", [True, False])
@pytest.mark.parametrize("saved", [True, False])
async def test_a_gateway_that_is_killed_knows_what_it_served(
    trained: Path, tmp_path: Path, saved: bool, learnt: bool
) -> None:
    clock = Walls()
    shutil.copytree(trained, tmp_path / "living")
    living = Desks(tmp_path / "living", clock, graph)
    try:
        await living.seek("w", ask(CLEAN))
        before = await stood(living)
        if saved:
            await living.tick(save=True)
        served, audits = await hits(living, clock, learnt=learnt)
        assert served > 20
        assert audits
        # As the disk is when the process is killed at this moment.
        shutil.copytree(tmp_path / "living", tmp_path / "killed")
        now = await stood(living)
    finally:
        await living.aclose()
    again = Desks(tmp_path / "killed", clock, graph)
    try:
        await again.seek("w", ask(CLEAN))
        after = await stood(again)
    finally:
        await again.aclose()
    assert after.hits == now.hits == before.hits + served
    assert after.wrong_at_most == now.wrong_at_most
    assert after.wrong_seen == before.wrong_seen + (0 if learnt else audits)
    assert before.requests < after.requests <= now.requests + 1


async def test_what_was_kept_comes_back(tmp_path: Path) -> None:
    clock = Walls()
    first = Desks(tmp_path / "semantic", clock, graph)
    await first.seek("w", ask(CLEAN))
    for number in range(40):
        await first.keep(taught(CLEAN, clock.at + number, rest=str(number % 20).encode()))
    await first.tick()
    await first.keep(taught(CLEAN, clock.at, rest=b"late"))
    await first.aclose()
    with next((tmp_path / "semantic").glob("*.entries")).open("ab") as file:
        file.write(b"half a fra")
    second = Desks(tmp_path / "semantic", clock, graph)
    try:
        await second.seek("w", ask(CLEAN))
        await second._open._places[SCOPE].filling  # type: ignore[misc]
        assert (await stood(second)).entries == 21
        told = await second.seek("w", ask(CLEAN, rest=b"3"))
        assert told.entry == taught(CLEAN, clock.at + 23, rest=b"3").entry
        await second.keep(taught(CLEAN, clock.at + 50, rest=b"3"))
        told = await second.seek("w", ask(CLEAN, rest=b"3"))
        assert told.entry == taught(CLEAN, clock.at + 50, rest=b"3").entry
    finally:
        await second.aclose()


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "other"])
async def test_a_damaged_state_begins_anew_and_says_so(
    trained: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(trained, tmp_path / "semantic")
    (path,) = (tmp_path / "semantic").glob("*.desk")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes({"cut": data[:1000], "bit": data, "empty": b"", "other": b"x" * 5000}[damage])
    clock = Walls()
    desks = Desks(tmp_path / "semantic", clock, graph)
    try:
        assert (await desks.seek("w", ask(CLEAN))).reason == "alone"
        assert (await stood(desks)).requests == 1
        # Killed before it is saved, it knows what it served since.
        log = HitLog(desks._open._places[SCOPE].files.hits(1))
        log.enter(7, 9, Audit(0.5, 0.1), True)
        log.close()
        shutil.copytree(tmp_path / "semantic", tmp_path / "killed")
    finally:
        await desks.aclose()
    again = Desks(tmp_path / "killed", clock, graph)
    try:
        await again.seek("w", ask(CLEAN))
        figures = await stood(again)
    finally:
        await again.aclose()
    assert (figures.requests, figures.hits, figures.wrong_seen) == (10, 1, 1)
    assert caplog.text.count("p1/chat begins anew") == 1


async def test_what_cannot_be_written_down_is_not_given(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Walls()
    shutil.copytree(trained, tmp_path / "semantic")
    desks = Desks(tmp_path / "semantic", clock, graph)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    try:
        await desks.seek("w", ask(CLEAN))
        before = await stood(desks)
        with monkeypatch.context() as away:
            away.setattr(HitLog, "enter", full)
            assert await hits(desks, clock, learnt=True) == (0, 0)
        assert (await stood(desks)).hits == before.hits + 1
        await desks.tick(save=True)
        found, _ = await hits(desks, clock, learnt=True)
        assert found > 20
    finally:
        await desks.aclose()


OUTCOMES = st.lists(
    st.tuples(st.sampled_from([1.0, 0.5, 0.25, 0.05]), st.floats(0, 1), st.booleans(), st.sampled_from(list("rwo"))),
    max_size=30,
)


@settings(max_examples=40, deadline=None)
@given(OUTCOMES, st.integers(0, 60))
def test_a_log_of_hits_makes_the_ledger_that_there_was(
    tmp_path_factory: pytest.TempPathFactory, outcomes: list[tuple[float, float, bool, str]], lost: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "x.1.hits"
    log, ledger = HitLog(path), Ledger(0.05)
    for ticket, (probability, risk, coin, outcome) in enumerate(outcomes):
        audit, audited = Audit(probability, risk), coin or probability == 1.0
        ledger.enter(audit, audited)
        log.enter(ticket, 10 * ticket, audit, audited)
        if audited and outcome != "o":
            ledger.close(audit, outcome == "w")
            log.close_audit(ticket, outcome == "w")
        elif audited:
            # Nobody ever knows: it counts as wrong.
            ledger.close(audit, wrong=True)
    log.close()
    desk = Desk(Limits(0.01), 4)
    hit_log.replay(desk, hit_log.read(path))
    assert desk.ledger.hits == ledger.hits
    assert desk.ledger.wrong_seen == ledger.wrong_seen
    assert desk.ledger.upper() == ledger.upper()
    assert np.allclose(desk.ledger.state().spent, ledger.state().spent)
    # What is cut off is read up to there, and bounds no less than is left.
    data = path.read_bytes()
    path.write_bytes(data[: max(0, len(data) - lost)])
    assert len(hit_log.read(path)) * 37 <= max(0, len(data) - lost)


def item(number: int, text: str = CLEAN, **more: object) -> tuple[Item, np.ndarray]:
    made = entry(text, 1000.0, **more)
    packed = taught(text, 1000.0, made=made).entry
    return Item(number, "v1", b"", text, packed, made, 9000.0), np.full(4, 0.5, np.float32)


def test_a_log_of_entries_is_read_as_far_as_it_is_whole_and_can_be_cleared(tmp_path: Path) -> None:
    path = tmp_path / "x.entries"
    assert entry_log.standing(path).following == 0
    for number in range(5):
        entry_log.append(path, entry_log.kept(*item(number, f"text {number}"), "embed"))
    entry_log.append(path, entry_log.dropped(1) + entry_log.kept(*item(5), "other"))
    whole = path.read_bytes()
    standing = entry_log.standing(path)
    assert (standing.frames, standing.numbers, standing.following) == (7, {0, 2, 3, 4, 5}, 6)
    assert [each.number for each, _ in entry_log.items(path, standing, "embed", 4)] == [0, 2, 3, 4]
    assert [each.text for each, _ in entry_log.items(path, standing, "other", 4)] == [CLEAN]
    assert not list(entry_log.items(path, standing, "embed", 5))
    for cut in range(0, len(whole), 37):
        path.write_bytes(whole[:cut])
        found = entry_log.standing(path)
        assert path.read_bytes() == whole[: found.size]
        assert found.numbers <= {0, 1, 2, 3, 4}
    path.write_bytes(whole)
    assert entry_log.rewrite(path, frozenset((2, 5, 7))) == 2
    assert entry_log.standing(path).numbers == {2, 5}
    assert b"text 3" not in path.read_bytes()
    record = Invalidation(scope="key", value=entry("text 2", 0).key.hex(), at=1000.0)
    entry_log.erase(path, Invalidations([record]), 1000.0)
    assert entry_log.standing(path).numbers == {5}
    entry_log.erase(path, Invalidations(), 9000.0)
    assert path.read_bytes() == b""


async def test_scopes_of_long_ago_lose_their_files(tmp_path: Path) -> None:
    clock = Walls()
    folder = tmp_path / "semantic"
    scopes = [DeskScope("p", "chat", str(number)) for number in range(4)]
    desks = Desks(folder, clock, graph)
    for scope in scopes:
        await desks.seek("w", ask(CLEAN, scope=scope, semantic=LOOSE))
        await desks.keep(taught(CLEAN, clock.at, scope=scope))
    await desks.aclose()
    prune(folder, (Files(folder, scopes[0]).entries,), most=2)
    left = {path.name.partition(".")[0] for path in folder.iterdir()}
    assert 2 <= len(left) <= 3
    assert Files(folder, scopes[0]).state() is not None
