"""People sign in to the console by an identity provider, over the real wire; and whatever goes wrong on the way lets
nobody in."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import msgspec
import pytest

from penstock.access.config import Issuer
from penstock.access.tokens import Tokens
from penstock.control.issuer_documents import Documents
from penstock.control.sign_in import SignIn
from penstock.core.accounts import User
from tests.edge.http.console_site import Front, console_site, where
from tests.identity_provider import rsa_signer
from tests.oidc_provider import CLIENT, SECRET, CodeProvider, code_provider


@pytest.fixture
def provider() -> Iterator[CodeProvider]:
    with code_provider() as found:
        yield found


class _People:
    """The tokens of this moment, by the keys that were fetched."""

    def __init__(self, front: Front, provider: CodeProvider, issuers: list[Issuer]) -> None:
        self.front = front
        self.issuers = issuers
        self.keys = provider.keys(time.time())

    def now(self) -> Tokens:
        return Tokens(self.issuers, {self.keys.issuer: self.keys}, self.front.directory, time.time)


@asynccontextmanager
async def gateway(provider: CodeProvider, **more: object) -> AsyncIterator[Front]:
    issuer = Issuer(
        issuer=provider.issuer,
        audience="penstock",
        client_id=CLIENT,
        client_secret=SECRET,
        label="Example",
        **more,  # type: ignore[arg-type]
    )
    other = Issuer(issuer="https://other.example", audience="penstock")
    documents = Documents(deadline_s=2.0)
    issuers = [other, issuer]
    try:
        sign_in = SignIn(issuers, fetch=documents, send=documents.send)
        async with console_site(
            issuers=issuers, providers=sign_in, people=lambda front: _People(front, provider, issuers).now()
        ) as front:
            yield front
    finally:
        await documents.aclose()


async def away(client: httpx.AsyncClient, then: str = "/console/usage") -> str:
    """Where the browser is sent to sign in."""
    answer = await client.post("/console/sign-in/1", data={"next": then})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def back(address: str) -> dict[str, str]:
    """What the provider sends the browser back with."""
    async with httpx.AsyncClient(trust_env=False) as browser:
        answer = await browser.get(address)
    assert answer.status_code == 302
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


async def come(client: httpx.AsyncClient, query: dict[str, str]) -> httpx.Response:
    return await client.get(f"/console/sign-in/callback?{urlencode(query)}")


async def test_somebody_signs_in_and_may_what_the_provider_says(provider: CodeProvider) -> None:
    async with gateway(provider) as front, front.client() as client:
        assert "Continue with Example" in (await client.get("/console/sign-in")).text
        answer = await come(client, await back(await away(client)))
        assert answer.status_code == 200
        assert 'content="0;url=/console/usage"' in answer.text
        cookie = next(each for each in answer.headers.get_list("set-cookie") if each.startswith("penstock_session"))
        assert "SameSite=Strict" in cookie
        assert "HttpOnly" in cookie
        page = await client.get("/console")
        assert page.status_code == 200
        assert "Ann Example" in page.text
        assert "project red" in page.text
        assert front.admin.asked[-1].actor.key_id.startswith("jwt:")
        assert not front.admin.asked[-1].actor.may("keys:write")
        assert front.acts[0].target == provider.issuer
        assert "code_verifier" in provider.forms[0]
        assert "client_secret" not in provider.forms[0]


async def test_a_session_ends_with_the_person_and_follows_the_role(provider: CodeProvider) -> None:
    async with gateway(provider) as front, front.client() as client:
        assert (await come(client, await back(await away(client)))).status_code == 200
        assert (await client.get("/console")).status_code == 200
        people = _People(front, provider, [])
        gone = User(id="ann", issuer=provider.issuer, subject="ann", disabled_at=1.0)
        front.directory = msgspec.structs.replace(front.directory, users=(gone,))
        issuers = [Issuer(issuer=provider.issuer, audience="penstock", client_id=CLIENT)]
        front.people = Tokens(issuers, {people.keys.issuer: people.keys}, front.directory, time.time)
        assert where(await client.get("/console"))[0] == "/console/sign-in"
        # The entry is taken out of the deployment file.
        front.people = Tokens([], {}, front.directory, time.time)
        assert where(await client.get("/console"))[0] == "/console/sign-in"
        front.people = None
        assert where(await client.get("/console"))[0] == "/console/sign-in"


async def test_the_client_proves_itself_in_the_form_where_the_provider_wants_that(provider: CodeProvider) -> None:
    provider.methods = ["client_secret_post"]
    async with gateway(provider) as front, front.client() as client:
        assert (await come(client, await back(await away(client)))).status_code == 200
        assert provider.forms[0]["client_secret"] == SECRET


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"nonce": "another"}, "not the answer to this sign-in"),
        ({"nonce": None}, "not the answer to this sign-in"),
        ({"aud": "somebody-else"}, "another audience"),
        ({"aud": [CLIENT, "more"], "azp": "more"}, "another program"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"exp": 1_000_000}, "expired"),
        ({"role": None}, "role"),
        ({"project": "gone"}, "project"),
        ({"project": "x" * 4000}, ""),
    ],
)
async def test_a_token_that_is_not_right_lets_nobody_in(
    provider: CodeProvider, claims: dict[str, object], why: str
) -> None:
    provider.claims = claims
    async with gateway(provider) as front, front.client() as client:
        answer = await come(client, await back(await away(client)))
        assert answer.status_code == 401
        assert why in answer.text
        assert "penstock_session" not in str(answer.headers.get_list("set-cookie"))
        assert not front.acts


async def test_a_token_of_an_unknown_key_has_the_keys_looked_for_once(provider: CodeProvider) -> None:
    async with gateway(provider) as front, front.client() as client:
        provider.signer = rsa_signer("second", number=1)
        answer = await come(client, await back(await away(client)))
        assert answer.status_code == 401
        assert front.learned == [provider.issuer]


async def test_an_answer_belongs_to_the_browser_that_asked_and_is_good_once(provider: CodeProvider) -> None:
    async with gateway(provider) as front, front.client() as client, front.client() as victim:
        query = await back(await away(client))
        # Somebody is lured to sign in as another.
        assert (await come(victim, query)).status_code == 401
        assert (await come(client, {**query, "state": "another"})).status_code == 401
        # The errand was run, whatever came of it.
        assert (await come(client, query)).status_code == 401
        query = await back(await away(client))
        assert (await come(client, {**query, "iss": "https://evil.example"})).status_code == 401
        query = await back(await away(client))
        assert (await come(client, query)).status_code == 200
        assert (await come(client, query)).status_code == 401


async def test_the_provider_says_no(provider: CodeProvider) -> None:
    async with gateway(provider) as front, front.client() as client:
        provider.denial = "access_denied"
        answer = await come(client, await back(await away(client)))
        assert answer.status_code == 401
        assert "The person said no" in answer.text
        provider.denial, provider.refusal = "", "invalid_client"
        answer = await come(client, await back(await away(client)))
        assert "client_secret" in answer.text
        provider.refusal = "invalid_grant"
        assert "No such luck" in (await come(client, await back(await away(client)))).text


async def test_a_provider_that_is_away_or_leads_elsewhere_is_said_at_the_door(provider: CodeProvider) -> None:
    async with gateway(provider) as front, front.client() as client:
        provider.discovery = {"authorization_endpoint": "javascript:alert(1)"}
        answer = await client.post("/console/sign-in/1")
        assert answer.status_code == 415
        answer = await client.post("/console/sign-in/1", data={"next": "/console"})
        assert answer.status_code == 401
        assert "location" not in answer.headers
        provider.discovery = {"issuer": "https://evil.example"}
        assert "of another issuer" in (await client.post("/console/sign-in/1", data={"next": ""})).text
        provider.stop()
        answer = await client.post("/console/sign-in/1", data={"next": ""})
        assert "cannot be reached" in answer.text
        for place in ("0", "2", "-1", "x", "1e0"):
            assert (await client.post(f"/console/sign-in/{place}", data={"next": ""})).status_code == 401


async def test_the_way_there_says_what_openid_connect_wants(provider: CodeProvider) -> None:
    async with gateway(provider, scopes=("openid", "groups")) as front, front.client() as client:
        answer = await client.post("/console/sign-in/1", data={"next": "//evil.example"})
        asked = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
        assert asked["redirect_uri"] == f"{front.url}/console/sign-in/callback"
        assert asked["scope"] == "openid groups"
        assert len(asked["code_challenge"]) == 43
        cookie = answer.headers["set-cookie"]
        assert "SameSite=Lax" in cookie
        assert "Path=/console/sign-in" in cookie
        assert "Max-Age=600" in cookie
        assert SECRET not in answer.text + str(answer.headers)
        assert "form-action" not in (await client.get("/console/sign-in")).headers["content-security-policy"]
