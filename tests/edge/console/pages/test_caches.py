"""The page of caches: what they did, what is proven of them, and how somebody invalidates."""

from __future__ import annotations

import msgspec

from penstock.core.errors import INVALID_VALUE, PERMISSION_DENIED, PenstockError
from tests.edge.console.canned import NOW, actor, overview
from tests.edge.console.pages.paper import told
from tests.edge.console.pages.test_acts import sent
from tests.edge.console.pages.test_rendering import shown

HIDDEN = PenstockError(PERMISSION_DENIED, "The role of this key does not have the permission.")


async def test_what_caches_did_is_told_by_service_and_verdict() -> None:
    body = (await shown("/caches")).body.decode()
    # 3,700 of chat and 3 fallbacks, of all that caches were asked for.
    assert "39.8 %" in body
    assert "703 requests" in body
    since = f"{NOW - 86400:.0f}"
    assert f"/console/requests?service=chat&amp;cache=similar&amp;since={since}" in body
    assert body.index(">chat<") < body.index(">support-summaries<")
    assert "Refresh" not in body[: body.index("Semantic caches")]


async def test_what_is_proven_of_a_semantic_cache_stands_against_what_is_allowed() -> None:
    body = (await shown("/caches")).body.decode()
    assert 'aria-label="chat of red: 75 % used"' in body
    assert 'class="used bad"' in body[body.index("chat of red") :]
    assert "none hit" in body
    assert "u_7" in body


async def test_where_caches_have_no_part_the_page_says_how_they_begin() -> None:
    idle = tuple(
        msgspec.structs.replace(each, now=msgspec.structs.replace(each.now, caches={}))
        for each in overview().services
        if each.now is not None
    )
    nothing = {"overview.get": overview(services=idle), "caches.semantic": (), "caches.list": ()}
    body = (await shown("/caches", told() | nothing)).body.decode()
    assert "exact: {ttl_s: 3600}" in body
    assert "Served from caches" not in body
    assert "None has been asked yet." in body


async def test_what_a_role_may_not_see_is_unknown_and_the_rest_stays() -> None:
    body = (await shown("/caches", told() | {"usage.sums": HIDDEN})).body.decode()
    assert "39.8 %" in body
    assert "Your role may not" not in body
    saved = body[body.index("<dt>Saved</dt>") : body.index("</dl>")]
    assert saved.count('class="unknown"') == 2
    body = (await shown("/caches", told() | {"overview.get": HIDDEN})).body.decode()
    assert "Your role may not see the numbers." in body
    assert "Wrong at most" in body
    viewer = (await shown("/caches", who=actor("viewer"))).body.decode()
    assert "Invalidate…" not in viewer
    red = (await shown("/caches", who=actor("operator", everywhere=False, project="red"))).body.decode()
    assert "Invalidate…" in red
    assert "Only of the project" not in red


async def test_it_asks_once_and_carries_what_was_chosen() -> None:
    answer = await shown("/caches/invalidate?scope=subject&value=ada&older=86400&project=red")
    body = answer.body.decode()
    assert "person ada, older than a day" in body
    for name, value in (("scope", "subject"), ("value", "ada"), ("older", "86400"), ("project", "red")):
        assert f'<input type="hidden" name="{name}" value="{value}">' in body
    assert (await shown("/caches/invalidate?scope=planet")).status == 400
    assert (await shown("/caches?window=ever")).status == 400
    # What is named is meant: nobody loses all of it over a list that was left at another line.
    assert (await shown("/caches/invalidate?scope=all&value=faq")).status == 400
    viewer = await shown("/caches/invalidate?scope=all", who=actor("viewer"))
    assert viewer.status == 403


async def test_what_is_refused_is_said_where_it_was_asked() -> None:
    refused = PenstockError(INVALID_VALUE, "A cache key is 40 hexadecimal digits.")
    answer, _ = await sent("/caches/invalidate", {"scope": "key", "value": "abc"}, {"caches.invalidate": refused})
    assert answer.status == 400
    assert "A cache key is 40 hexadecimal digits." in answer.body.decode()
    assert '<input type="hidden" name="value" value="abc">' in answer.body.decode()


async def test_usage_says_what_caches_saved() -> None:
    body = (await shown("/usage?by=service&window=7d")).body.decode()
    assert "Saved by caches" in body
    assert "/console/caches?window=7d" in body
    lines = (await shown("/usage.csv?by=service")).body.decode().splitlines()
    assert lines[0].endswith("dollars,requests_from_caches,dollars_saved")
