"""The contract against moto's server, which speaks the real protocol, and what is its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.caches import Tier, TierFailed
from penstock.caches.config import S3Settings
from penstock.caches.tier_s3 import S3Tier
from tests.caches.buckets import BUCKET, S3Server
from tests.contracts.cache_tier import TierContract, all_of, kept

PLACE = f"s3://{BUCKET}/a/prefix"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture(autouse=True)
def _environment(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.empty()


class TestS3Tier(TierContract):
    expires = False

    async def make(self) -> Tier:
        return S3Tier(S3Settings(place=PLACE))


async def test_a_prefix_is_its_own_and_strangers_are_left_alone(server: S3Server) -> None:
    tier, other = S3Tier(S3Settings(place=PLACE)), S3Tier(S3Settings(place=f"s3://{BUCKET}"))
    await tier.put([kept(b"\xab\xcd\xef", b"ours")])
    await other.put([kept(b"\xab\xcd\xef", b"theirs")])
    server.put("a/prefix/readme.txt", b"x")
    assert await all_of(tier) == {b"\xab\xcd\xef": b"ours"}
    assert list(await other.get([b"\xab\xcd\xef"])) == [b"theirs"]


async def test_a_bucket_that_is_not_there() -> None:
    tier = S3Tier(S3Settings(place="s3://no-such-bucket/x"))
    for call in (tier.get([b"a"]), tier.put([kept(b"a", b"1")]), all_of(tier)):
        with pytest.raises(TierFailed, match="bucket"):
            await call


async def test_a_server_that_is_away(server: S3Server) -> None:
    tier = S3Tier(S3Settings(place=PLACE))
    server.kill()
    try:
        for call in (tier.get([b"a"]), tier.put([kept(b"a", b"1")]), tier.delete([b"a"]), all_of(tier)):
            with pytest.raises(TierFailed):
                await call
    finally:
        server.start()
    await tier.put([kept(b"a", b"1")])
    assert list(await tier.get([b"a"])) == [b"1"]
