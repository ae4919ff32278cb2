"""The console over HTTP: who is let in, what ends it, what a form has to prove, and what every reply carries."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import httpx
import pytest

from penstock.access.sessions import LASTS_S
from penstock.core.accounts import Scopes
from penstock.core.chat import Call
from penstock.core.errors import UPSTREAM_FAILED, PenstockError
from penstock.edge.http.console_sessions import cookies
from tests.edge.console.canned import NOW, overview
from tests.edge.http.console_site import OLDER, PEPPER, Front, console_site, text_of, token_in, where
from tests.edge.http.serving import STREAM, Answer, usual

HOSTILE = (
    "https://evil.example/console",
    "//evil.example",
    "/console//evil.example\\",
    "/console\r\nset-cookie: a=b",
    "/consolefoo",
    "javascript:alert(1)",
    "/console/sign-out",
    "/v1/models",
)


async def test_nobody_is_led_to_the_door_and_then_where_they_wanted_to_go() -> None:
    async with console_site() as front, front.client() as client:
        asked = await client.get("/console/keys?role=owner&x=a%2Fb")
        assert asked.status_code == 303
        assert where(asked) == ("/console/sign-in", {"next": "/console/keys?role=owner&x=a%2Fb"})
        door = await client.get(asked.headers["location"])
        assert door.status_code == 200
        assert "Sign in" in door.text
        done = await client.post(
            "/console/sign-in", data={"key": text_of("owner"), "next": "/console/keys?role=owner&x=a%2Fb"}
        )
        assert done.status_code == 303
        assert done.headers["location"] == "/console/keys?role=owner&x=a%2Fb"


@pytest.mark.parametrize("path", HOSTILE)
async def test_no_link_leads_out_of_the_console(path: str) -> None:
    async with console_site() as front, front.client() as client:
        done = await client.post("/console/sign-in", data={"key": text_of("owner"), "next": path})
        location = done.headers["location"]
        assert done.status_code == 303
        assert location == "/console" or httpx.URL(location).host == ""
        assert location in ("/console", "/console//evil.example\\")
        assert "\n" not in location


async def test_the_cookie_is_kept_from_scripts_and_from_other_sites() -> None:
    async with console_site() as front, front.client() as client:
        cookie = (await client.post("/console/sign-in", data={"key": text_of("owner")})).headers["set-cookie"]
        flags = {each.strip() for each in cookie.split(";")[1:]}
        assert flags == {"HttpOnly", "SameSite=Strict", "Path=/console", f"Max-Age={LASTS_S:.0f}"}
        assert text_of("owner") not in cookie
        proxied = await client.post(
            "/console/sign-in", data={"key": text_of("owner")}, headers={"x-forwarded-proto": "https"}
        )
        assert "; Secure" in proxied.headers["set-cookie"]
    async with console_site(secure=True) as front, front.client() as client:
        cookie = (await client.post("/console/sign-in", data={"key": text_of("owner")})).headers["set-cookie"]
        assert "; Secure" in cookie


async def _still(front: Front, client: httpx.AsyncClient) -> bool:
    return (await client.get("/console")).status_code == 200


async def test_whatever_ends_a_key_ends_its_sessions_at_once() -> None:
    async with console_site(("owner", "admin", "viewer", "operator")) as front:
        for role, change in (
            ("owner", {"revoked_at": NOW}),
            ("admin", {"expires_at": NOW}),
            ("viewer", {"digest": b"another" * 4}),
        ):
            client = await front.signed_in(role)
            assert await _still(front, client)
            front.change(f"{role}-key", **change)
            assert not await _still(front, client)
            await client.aclose()
        client = await front.signed_in("operator")
        front.clock += LASTS_S - 1
        assert await _still(front, client)
        front.clock += 1
        assert not await _still(front, client)
        await client.aclose()


async def test_sessions_outlive_a_change_of_the_pepper_as_long_as_the_old_one_is_known() -> None:
    async with console_site() as front:
        client = await front.signed_in()
        front.repepper(OLDER, PEPPER)
        assert await _still(front, client)
        front.repepper(OLDER)
        assert not await _still(front, client)
        await client.aclose()


async def test_a_key_of_other_networks_or_endpoints_opens_nothing() -> None:
    for scopes in (Scopes(networks=("10.0.0.0/8",)), Scopes(endpoints=("/v1/chat/completions",))):
        async with console_site() as front, front.client() as client:
            front.change("owner-key", scopes=scopes)
            refused = await client.post("/console/sign-in", data={"key": text_of("owner")})
            assert refused.status_code == 401
            assert "set-cookie" not in refused.headers
            assert "may not" in refused.text


async def test_a_form_needs_its_token_and_comes_from_our_own_page() -> None:
    async with console_site(("owner", "admin")) as front:
        client, other = await front.signed_in("owner"), await front.signed_in("admin")
        token = token_in((await client.get("/console")).text)
        theirs = token_in((await other.get("/console")).text)
        out = "/console/sign-out"
        for data, headers in (
            ({"other": "field"}, {}),
            ({"token": theirs}, {}),
            ({"token": token}, {"origin": "https://evil.example"}),
            ({"token": token}, {"origin": "null"}),
            ({"token": token}, {"sec-fetch-site": "cross-site"}),
            ({"token": token}, {"sec-fetch-site": "same-site"}),
        ):
            refused = await client.post(out, data=data, headers=headers)
            assert refused.status_code == 403, (data, headers)
            page = await client.post("/console/keys", data=data, headers=headers)
            assert page.status_code == 403
        assert {each.operation for each in front.admin.asked} == {"overview.get"}
        done = await client.post(
            out, data={"token": token}, headers={"origin": front.url, "sec-fetch-site": "same-origin"}
        )
        assert done.status_code == 303
        assert "Max-Age=0" in done.headers["set-cookie"]
        await client.aclose()
        await other.aclose()


async def test_tokens_and_replaced_secrets_begin_no_session() -> None:
    async with console_site() as front, front.client() as client:
        refused = await client.post("/console/sign-in", data={"key": "eyJhbGciOiJFUzI1NiJ9.e30.c2ln"})
        assert "Tokens are for programs" in refused.text
        record = front.directory.keys[0]
        front.change("owner-key", digest=b"n" * 32, previous_digest=record.digest, previous_until=NOW + 3600)
        assert front.keyring.find(text_of("owner")).key_id == "owner-key"
        refused = await client.post("/console/sign-in", data={"key": text_of("owner")})
        assert "has a new secret" in refused.text
        assert "set-cookie" not in refused.headers


async def test_who_guesses_keys_has_to_wait_and_others_do_not() -> None:
    async with console_site() as front, front.client() as client:
        for _ in range(10):
            refused = await client.post("/console/sign-in", data={"key": "pk-wrong"})
            assert refused.status_code == 401
            assert "pk-wrong" not in refused.text
        late = await client.post("/console/sign-in", data={"key": text_of("owner")})
        assert "set-cookie" not in late.headers
        assert "Too many sign-ins" in late.text
        front.clock += 301
        assert (await client.post("/console/sign-in", data={"key": text_of("owner")})).status_code == 303


async def test_another_site_cannot_make_somebody_wait() -> None:
    async with console_site() as front, front.client() as client:
        for _ in range(20):
            # As an image of a foreign page is fetched.
            await client.get("/console/sign-in/callback?code=a&state=b", headers={"sec-fetch-site": "cross-site"})
        assert (await client.post("/console/sign-in", data={"key": text_of("owner")})).status_code == 303


async def test_the_audit_hears_who_signed_in() -> None:
    async with console_site() as front:
        await (await front.signed_in()).aclose()
        act = front.acts[0]
        assert (act.actor, act.action, act.target, act.project) == ("owner-key", "console.sign_in", "key", "*")


async def test_every_page_forbids_what_it_does_not_need() -> None:
    async with console_site() as front:
        client = await front.signed_in()
        for path in ("/console", "/console/nothing", "/console/sign-in"):
            headers = (await client.get(path)).headers
            policy = headers["content-security-policy"]
            assert "default-src 'self'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["cache-control"] == "no-store"
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["referrer-policy"] == "same-origin"
        await client.aclose()


async def test_files_are_kept_for_good_under_their_own_address_only() -> None:
    async with console_site() as front, front.client() as client:
        page = (await client.get("/console/sign-in")).text
        address = page.split('rel="stylesheet" href="')[1].split('"')[0]
        found = await client.get(address)
        assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert found.headers["content-encoding"] == "gzip"
        assert "--accent" in found.text
        plain = await client.get(address, headers={"accept-encoding": "identity"})
        assert plain.text == found.text
        older = await client.get("/console/static/0123456789abcdef/css/base.css")
        assert older.headers["cache-control"] == "no-store"
        for wrong in ("../page.py", "css/../../page.py", "nothing.css", ""):
            assert (await client.get(f"/console/static/x/{wrong}")).status_code in (303, 404)


async def test_a_link_in_a_message_leads_to_its_page() -> None:
    """A browser keeps a strict cookie back when another site leads here; it comes again from a page of ours."""
    async with console_site() as front, front.client() as client:
        bounced = await client.get("/console/alerts?id=a%22b", headers={"sec-fetch-site": "cross-site"})
        assert bounced.status_code == 200
        assert 'content="0;url=/console/alerts?id=a%22b"' in bounced.text
        again = await client.get("/console/alerts?id=a%22b", headers={"sec-fetch-site": "same-origin"})
        assert again.status_code == 303


async def test_scripts_without_a_session_are_told_so() -> None:
    async with console_site() as front, front.client() as client:
        fetched = await client.get("/console/data/series", headers={"sec-fetch-dest": "empty"})
        assert fetched.status_code == 401
        assert fetched.json()["error"]["code"] == "invalid_api_key"
        swapped = await client.get("/console/keys", headers={"sec-fetch-dest": "empty", "hx-request": "true"})
        assert swapped.headers["hx-redirect"].startswith("/console/sign-in")


# -- what is live ------------------------------------------------------------------------------------------------


async def test_a_page_that_is_looked_at_tells_what_changes() -> None:
    async with console_site() as front:
        client = await front.signed_in()
        async with client.stream("GET", "/console/live/?window=1h") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.aiter_lines()
            async with asyncio.timeout(10):
                first = json.loads(await _data(lines, "regions"))
                assert set(first) == {"health", "tiles", "services", "beside"}
                front.admin.told["overview.get"] = overview(in_flight=4711)
                changed = json.loads(await _data(lines, "regions"))
                assert set(changed) == {"tiles"}
                assert "4\u202f711" in changed["tiles"]
                front.admin.told["overview.get"] = PenstockError(UPSTREAM_FAILED, "gone")
                await _data(lines, "stale")
                front.change("owner-key", revoked_at=NOW)
                await _data(lines, "bye")
        await client.aclose()
        async with asyncio.timeout(10):
            while front.side.streams.open:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        assert front.side.streams.waiting == 0


async def _data(lines: object, wanted: str) -> str:
    name = ""
    async for line in lines:  # type: ignore[attr-defined]
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: ") and name == wanted:
            return str(line[6:])
    raise AssertionError(f"no {wanted}")


async def test_streams_are_bounded_and_end_when_the_gateway_stops() -> None:
    async with console_site() as front:
        front.side.streams._most = 1
        client = await front.signed_in()
        async with client.stream("GET", "/console/live/") as stream:
            await _data(stream.aiter_lines(), "regions")
            assert (await client.get("/console/live/")).status_code == 503
            front.site.stop(announce_s=0.2, limit_s=5)
            async with asyncio.timeout(3):
                await front.site.serving
        await client.aclose()


async def test_one_who_is_signed_in_does_not_take_the_streams_of_others() -> None:
    async with console_site(("owner", "admin")) as front:
        front.side.streams._each = 1
        client, other = await front.signed_in("owner"), await front.signed_in("admin")
        for _ in range(2):
            async with client.stream("GET", "/console/live/") as stream:
                await _data(stream.aiter_lines(), "regions")
                assert (await client.get("/console/live/")).status_code == 503
                async with other.stream("GET", "/console/live/") as theirs:
                    await _data(theirs.aiter_lines(), "regions")
            async with asyncio.timeout(3):
                while front.side.streams.open:  # noqa: ASYNC110 - nobody tells of it
                    await asyncio.sleep(0.01)
        await client.aclose()
        await other.aclose()


# -- the playground ----------------------------------------------------------------------------------------------


def streams(call: Call) -> Answer:
    return STREAM if call.stream else usual(call)


async def test_the_playground_asks_as_the_api_does() -> None:
    body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with console_site(("owner", "billing"), script=streams) as front:
        client = await front.signed_in()
        token = token_in((await client.get("/console")).text)
        path = "/console/api/chat/completions"
        assert (await client.post(path, json=body)).status_code == 403
        refused = await client.post(
            path, json=body, headers={"x-penstock-token": token, "origin": "https://evil.example"}
        )
        assert refused.status_code == 403
        found = await client.post(path, json=body, headers={"x-penstock-token": token})
        assert found.status_code == 200
        assert '"Hello"' in found.text
        assert found.text.rstrip().endswith("data: [DONE]")
        assert front.site.lines[-1].key == "owner-key"
        assert front.site.lines[-1].service == "chat"
        listed = await client.get("/console/api/models", headers={"x-penstock-token": token})
        assert [each["id"] for each in listed.json()["data"]][:1] == ["chat"]
        bill = await front.signed_in("billing")
        token = token_in((await bill.get("/console/usage")).text)
        denied = await bill.post(path, json=body, headers={"x-penstock-token": token})
        assert denied.json()["error"]["code"] == "permission_denied"
        await client.aclose()
        await bill.aclose()


def test_a_worker_writes_no_pages() -> None:
    script = (
        "import sys, penstock.edge.http.console; print(*(each for each in sys.modules if 'edge.console' in each))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"penstock.edge.console", "penstock.edge.console.assets"}


async def test_cookies_in_pieces_are_read_as_one() -> None:
    assert cookies({b"cookie": b"a=1; b=2, c=3;d=4=5"}) == {"a": "1", "b": "2", "c": "3", "d": "4=5"}
    assert cookies({}) == {}
