"""Engines live as long as somebody holds a snapshot that uses them, and no longer."""

from __future__ import annotations

import asyncio

import pytest

from penstock.access.keyring import Keyring
from penstock.access.limits import Rules
from penstock.access.peppers import Pepper
from penstock.access.prices import PriceList
from penstock.assembly.snapshots import Snapshots
from penstock.core.accounts import Directory
from penstock.core.errors import BAD_DEPLOYMENT, PenstockError
from penstock.core.serving import Deployment, Model

ACCESS = (
    Keyring(Directory(), [Pepper("now", b"p" * 32)], lambda: 0.0, lambda _: None),
    Rules(Directory()),
    PriceList(()),
)


class Engine:
    def __init__(self) -> None:
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1


class Builder:
    def __init__(self) -> None:
        self.built: dict[str, Engine] = {}

    def __call__(self, model: Model) -> Engine:
        if model.engine == "broken":
            raise PenstockError(BAD_DEPLOYMENT, "no such certificate")
        assert model.digest not in self.built, "built twice"
        self.built[model.digest] = Engine()
        return self.built[model.digest]


def deployment(version: int, **digests: str) -> Deployment:
    models = {
        name: Model(name, "broken" if digest == "!" else "fake", digest, b"") for name, digest in digests.items()
    }
    return Deployment(version, models, {}, {})


@pytest.fixture
def builder() -> Builder:
    return Builder()


@pytest.fixture
def snapshots(builder: Builder) -> Snapshots:
    return Snapshots(builder)  # type: ignore[arg-type]


async def test_engines_are_shared_by_digest(snapshots: Snapshots, builder: Builder) -> None:
    snapshots.take(deployment(1, a="x", b="y"), *ACCESS)
    first = snapshots.current()
    snapshots.take(deployment(2, a="x", b="y"), *ACCESS)
    second = snapshots.current()
    assert second.deployment.version == 2
    assert dict(first.engines) == dict(second.engines) == {"a": builder.built["x"], "b": builder.built["y"]}
    await snapshots.aclose()


async def test_an_engine_is_closed_when_the_last_snapshot_lets_go(snapshots: Snapshots, builder: Builder) -> None:
    snapshots.take(deployment(1, a="old", b="same"), *ACCESS)
    held_by_a_request = snapshots.current()
    snapshots.take(deployment(2, a="new", b="same"), *ACCESS)
    await asyncio.sleep(0)
    assert builder.built["old"].closed == 0
    del held_by_a_request
    await asyncio.sleep(0)
    assert {digest: engine.closed for digest, engine in builder.built.items()} == {"old": 1, "same": 0, "new": 0}
    await snapshots.aclose()
    assert {digest: engine.closed for digest, engine in builder.built.items()} == {"old": 1, "same": 1, "new": 1}


async def test_a_deployment_that_cannot_be_built_changes_nothing(snapshots: Snapshots, builder: Builder) -> None:
    snapshots.take(deployment(1, a="x"), *ACCESS)
    before = snapshots.current()
    with pytest.raises(PenstockError, match="no such certificate"):
        snapshots.take(deployment(2, a="x", b="y", c="!"), *ACCESS)
    assert snapshots.current() is before
    await asyncio.sleep(0)
    assert (builder.built["x"].closed, builder.built["y"].closed) == (0, 1)
    await snapshots.aclose()


async def test_before_the_first_there_is_none(snapshots: Snapshots) -> None:
    with pytest.raises(LookupError):
        snapshots.current()
    await snapshots.aclose()


async def test_a_snapshot_that_outlives_the_worker_does_no_harm(snapshots: Snapshots, builder: Builder) -> None:
    snapshots.take(deployment(1, a="x"), *ACCESS)
    late = snapshots.current()
    await snapshots.aclose()
    del late
    await asyncio.sleep(0)
    assert builder.built["x"].closed == 1


async def test_the_oldest_that_is_in_use_is_told(builder: Builder) -> None:
    heard: list[int] = []
    snapshots = Snapshots(builder, heard.append)  # type: ignore[arg-type]
    snapshots.take(deployment(3, a="x"), *ACCESS)
    snapshots.take(deployment(4, a="x"), *ACCESS)
    assert heard == [3, 4]
    held_by_a_request = [snapshots.current()]
    for version in (5, 6, 7):
        snapshots.take(deployment(version, a="x"), *ACCESS)
    assert heard == [3, 4]
    held_by_another = [snapshots.current()]
    snapshots.take(deployment(8, a="x"), *ACCESS)
    held_by_a_request.clear()
    assert heard == [3, 4, 7]
    held_by_another.clear()
    assert heard == [3, 4, 7, 8]
    await snapshots.aclose()
    assert heard == [3, 4, 7, 8]
