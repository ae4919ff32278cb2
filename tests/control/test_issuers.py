"""Signing keys are fetched, kept while their issuer is away, and fetched at once when one is missing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from penstock.access.config import Issuer
from penstock.control.issuers import Answer, Issuers, Unfetched
from penstock.core.accounts import SigningKeys
from tests.control.timing import ManualTime, turns

ID = "https://id.example"
JWKS = b'{"keys": []}'
WELL_KNOWN = f"{ID}/.well-known/openid-configuration"


class Web:
    """Documents by URL; ``away`` instead of them. ``held``: nobody is answered before it is set."""

    def __init__(self) -> None:
        self.documents: dict[str, Answer] = {
            WELL_KNOWN: Answer(b'{"issuer": "https://id.example", "jwks_uri": "https://keys.example/jwks"}'),
            "https://keys.example/jwks": Answer(JWKS),
        }
        self.away = False
        self.held = asyncio.Event()
        self.held.set()
        self.asked: list[str] = []

    async def __call__(self, url: str) -> Answer:
        self.asked.append(url)
        await self.held.wait()
        if self.away or url not in self.documents:
            raise Unfetched(f"{url} is away")
        return self.documents[url]

    def list(self, jwks: bytes, cache_control: str = "") -> None:
        self.documents["https://keys.example/jwks"] = Answer(jwks, cache_control)


class Scene:
    """Issuers at work on a clock that stands still."""

    def __init__(self, *issuers: Issuer) -> None:
        self.time = ManualTime()
        self.web = Web()
        self.told: list[Mapping[str, SigningKeys]] = []
        self.issuers = Issuers(
            issuers or (Issuer(issuer=ID, audience="penstock"),),
            fetch=self.web,
            clock=self.time,
            changed=self.told.append,
            sleep=self.time.sleep,
        )

    @property
    def keys(self) -> SigningKeys:
        return self.told[-1][ID]


@asynccontextmanager
async def working(scene: Scene) -> AsyncIterator[Scene]:
    loop = asyncio.create_task(scene.issuers.run())
    try:
        await turns()
        yield scene
    finally:
        loop.cancel()
        await asyncio.wait([loop])
        assert loop.cancelled()


async def test_the_keys_are_where_the_discovery_document_says() -> None:
    scene = Scene()
    async with working(scene):
        assert scene.web.asked == [WELL_KNOWN, "https://keys.example/jwks"]
        assert scene.told == [
            {ID: SigningKeys(ID)},
            {ID: SigningKeys(ID, JWKS, scene.time.wall())},
        ]


async def test_a_configured_place_needs_no_discovery() -> None:
    scene = Scene(Issuer(issuer=ID, audience="penstock", jwks_url="https://keys.example/jwks"))
    async with working(scene):
        assert scene.web.asked == ["https://keys.example/jwks"]
        assert scene.keys.jwks == JWKS


@pytest.mark.parametrize(
    ("cache_control", "kept_s"),
    [
        ("", 300),
        ("public, max-age=900", 900),
        ("max-age=7, must-revalidate", 60),
        ("MAX-AGE=86400", 3600),
        ("s-maxage=600", 300),
        ("no-store", 60),
        ("max-age=soon", 300),
        ('max-age="600"', 600),
    ],
)
async def test_they_are_fetched_again_when_they_may_have_changed(cache_control: str, kept_s: float) -> None:
    scene = Scene()
    scene.web.list(JWKS, cache_control)
    async with working(scene):
        scene.web.list(b'{"keys": [{}]}')
        await scene.time.advance(kept_s - 0.1)
        assert scene.keys.jwks == JWKS
        await scene.time.advance(0.1)
        assert scene.keys == SigningKeys(ID, b'{"keys": [{}]}', scene.time.wall())


async def test_an_issuer_that_is_away_keeps_its_keys_and_is_asked_ever_less(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    scene = Scene()
    async with working(scene):
        before = scene.keys
        scene.web.away = True
        await scene.time.advance(300)
        for pause in (1, 2, 5, 10, 30, 60, 60):
            await scene.time.advance(pause)
        assert scene.time.slept == [300, 1, 2, 5, 10, 30, 60, 60, 60]
        assert scene.keys is before
        scene.web.away = False
        await scene.time.advance(60)
        assert scene.keys.fetched_at == scene.time.wall()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "is away; those of before are used" in caplog.text


@pytest.mark.parametrize(
    ("url", "body", "why"),
    [
        ("https://keys.example/jwks", b"<html>", "no JWKS document"),
        ("https://keys.example/jwks", b'{"keys": {}}', "no JWKS document"),
        (WELL_KNOWN, b"<html>", "no discovery document"),
        (WELL_KNOWN, b'{"issuer": "https://id.example/", "jwks_uri": "https://x"}', "of another issuer"),
        (WELL_KNOWN, b'{"issuer": "https://id.example", "jwks_uri": "http://keys.example/jwks"}', "which is not"),
        (WELL_KNOWN, b'{"issuer": "https://id.example", "jwks_uri": "file:///etc/passwd"}', "which is not"),
    ],
)
async def test_what_is_no_such_document_changes_nothing(
    url: str, body: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene()
    async with working(scene):
        before = scene.keys
        scene.web.documents[url] = Answer(body)
        await scene.time.advance(300)
        assert scene.keys is before
    assert why in caplog.text


async def test_a_key_that_is_wanted_is_looked_for_at_once_and_only_so_often() -> None:
    scene = Scene()
    async with working(scene):
        # However fresh the keys are that it has.
        scene.web.list(b'{"keys": [{}]}')
        assert await scene.issuers.wanted(ID)
        assert scene.keys.jwks == b'{"keys": [{}]}'
        scene.web.list(b'{"keys": [{}, {}]}')
        await scene.time.advance(9.9)
        assert not await scene.issuers.wanted(ID)
        assert not await scene.issuers.wanted("https://nobody.example")
        assert len(scene.web.asked) == 4
        await scene.time.advance(0.1)
        assert await scene.issuers.wanted(ID)
        assert scene.keys.jwks == b'{"keys": [{}, {}]}'
        assert len(scene.web.asked) == 6


@pytest.mark.parametrize(("trusted_s", "kept_s"), [(200.0, 100.0), (3.0, 1.5), (0.1, 0.5)])
async def test_they_are_fetched_again_before_they_are_too_old_to_be_trusted(trusted_s: float, kept_s: float) -> None:
    first, second = (Issuer(issuer=ID, audience=each, stale_after_s=trusted_s + i) for i, each in enumerate("ab"))
    scene = Scene(second, first)
    async with working(scene):
        before = scene.keys
        await scene.time.advance(kept_s - 0.01)
        assert scene.keys is before
        await scene.time.advance(0.01)
        assert scene.keys.fetched_at == scene.time.wall()


async def test_all_who_want_wait_for_one_answer() -> None:
    scene = Scene()
    async with working(scene):
        await scene.time.advance(10)
        scene.web.held.clear()
        crowd = [asyncio.create_task(scene.issuers.wanted(ID)) for _ in range(50)]
        await turns()
        crowd[0].cancel()
        assert len(scene.web.asked) == 3
        scene.web.held.set()
        assert await asyncio.gather(*crowd[1:]) == [True] * 49
        assert len(scene.web.asked) == 4


async def test_who_wants_of_an_issuer_that_is_away_is_told_so() -> None:
    scene = Scene()
    async with working(scene):
        scene.web.away = True
        await scene.time.advance(10)
        assert not await scene.issuers.wanted(ID)


async def test_one_issuer_for_two_audiences_is_asked_once_and_each_issuer_is_told() -> None:
    other = Issuer(issuer="https://other.example", audience="penstock")
    scene = Scene(Issuer(issuer=ID, audience="a"), Issuer(issuer=ID, audience="b"), other)
    async with working(scene):
        assert scene.web.asked.count(WELL_KNOWN) == 1
        assert set(scene.told[-1]) == {ID, other.issuer}
        assert scene.told[-1][other.issuer].jwks == b""
