"""Documents of a real identity provider, over real HTTP, however it fails; and tokens all the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest

from penstock.access.config import Issuer
from penstock.access.keyring import UnknownKid
from penstock.access.tokens import Tokens
from penstock.control.issuer_documents import Documents
from penstock.control.issuers import Issuers, Unfetched
from penstock.core.accounts import SigningKeys
from penstock.core.clock import SystemClock
from tests.access.people import directory
from tests.control.timing import until
from tests.identity_provider import AUDIENCE, IdentityProvider, Mode, ec_signer, identity_provider, jwks


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with identity_provider(ec_signer("first")) as found:
        yield found


@pytest.fixture
async def documents() -> AsyncIterator[Documents]:
    found = Documents(deadline_s=0.5)
    yield found
    await found.aclose()


async def test_a_document_comes_with_how_long_it_is_fresh(provider: IdentityProvider, documents: Documents) -> None:
    provider.max_age = 600
    answer = await documents(f"{provider.issuer}/jwks")
    assert answer.body == jwks(*provider.signers)
    assert answer.cache_control == "public, max-age=600"


@pytest.mark.parametrize(
    ("mode", "why"),
    [("error", "status 500"), ("redirect", "status 302"), ("huge", "larger"), ("hang", "within 0.5 s")],
)
async def test_a_failing_provider_is_given_up(
    provider: IdentityProvider, documents: Documents, mode: Mode, why: str
) -> None:
    provider.mode = mode
    began = time.monotonic()
    with pytest.raises(Unfetched, match=why):
        await documents(f"{provider.issuer}/jwks")
    assert time.monotonic() - began < 3
    assert "/elsewhere" not in provider.asked


async def test_nobody_there_and_no_url_are_failures_like_any(
    provider: IdentityProvider, documents: Documents
) -> None:
    provider.stop()
    for url in (f"{provider.issuer}/jwks", "http://[::1", "gopher://x/", "http://a b/", "http://nowhere.invalid/"):
        with pytest.raises(Unfetched):
            await documents(url)


async def test_tokens_go_on_over_rotations_and_while_the_provider_is_away(
    provider: IdentityProvider, documents: Documents
) -> None:
    issuer = Issuer(issuer=provider.issuer, audience=AUDIENCE)
    told: list[Mapping[str, SigningKeys]] = []
    clock = Ahead()
    issuers = Issuers([issuer], fetch=documents, clock=clock, changed=told.append)

    def verify(token: str) -> str:
        return Tokens([issuer], told[-1], directory(), time.time).verify(token).project

    loop = asyncio.create_task(issuers.run())
    try:
        await until(lambda: len(told) == 2)
        first = provider.token()
        assert verify(first) == "red"

        provider.rotate(ec_signer("second"), keep=True)
        second = provider.token()
        with pytest.raises(UnknownKid) as caught:
            verify(second)
        assert await issuers.wanted(caught.value.issuer)
        assert not await issuers.wanted(caught.value.issuer), "it was asked a moment ago"
        clock.ahead = 10.0
        assert verify(first) == verify(second) == "red"

        provider.stop()
        clock.ahead = 20.0
        assert not await issuers.wanted(provider.issuer)
        assert verify(second) == "red"

        provider.rotate(ec_signer("third"))
        provider.start()
        clock.ahead = 30.0
        assert await issuers.wanted(provider.issuer)
        with pytest.raises(UnknownKid):
            verify(second)
        assert verify(provider.token()) == "red"
    finally:
        loop.cancel()
        await asyncio.wait([loop])


class Ahead(SystemClock):
    """The machine's clocks, of which one may be put forward."""

    ahead = 0.0

    def now(self) -> float:  # type: ignore[override]
        return time.monotonic() + self.ahead
