"""Somebody works with the console of a real gateway, in a real browser: from signing in to rolling a service back."""

from __future__ import annotations

import asyncio
import time

import pytest
import yaml
from playwright.async_api import Page, expect

from tests.browser.chromium import chromium
from tests.browser.looking import Looker, looker
from tests.e2e.access.house import Admin, Wire
from tests.e2e.observe.upstream import scripted
from tests.e2e.releases.house import released
from tests.e2e.running import Penstock, running

SHOWN_WITHIN_S = 2.0
SAID = "A penstock leads water to a turbine"
PAGES = (
    "", "/services", "/services/chat", "/rollouts", "/models", "/requests", "/usage", "/limits", "/keys", "/alerts",
    "/audit", "/deployment", "/playground",
)  # fmt: skip


def deployment(upstream: str) -> str:
    model = {"engine": "openai", "base_url": upstream, "api_key": "none"}
    return yaml.safe_dump(
        {
            "server": {"access_log": "off"},
            "observe": {"requests": {"content": "masked"}},
            "models": {side: {**model, "model": side} for side in ("left", "right")},
            "services": {"chat": {"model": "left", "objectives": [{"kind": "availability", "target": 0.99}]}},
        }
    )


def prepared(server: Penstock) -> tuple[str, str]:
    """Two releases, of which the left one is served, then the right one; and some requests of both."""
    admin = Admin(server)
    left, right = released(admin)
    for model in ("left", "right"):
        admin.post("/prices", {"model": model, "input": "2", "output": "8"})
    for release in (left, right):
        admin.post("/services/chat/rollback", {"to": release})
        wire = Wire(server, server.key)
        for number in range(12):
            fields = {"model": "chat", "user": f"user-{number % 3}"}
            answer = wire.post("/v1/chat/completions", fields | {"messages": [{"role": "user", "content": "Hello"}]})
            assert answer.status == 200, answer
        wire.close()
    return left, right


async def looks(one: Looker, name: str) -> None:
    """Each width and each theme once. In all four shapes every page is looked at by ``tests/browser``."""
    await one.look(name, widths=(1280,), themes=("light",))
    await one.look(name, widths=(390,), themes=("dark",))


async def chats(one: Looker) -> str:
    """Asks in the playground, and gives the request's id."""
    page = one.page
    await one.go("/console/playground?service=chat")
    await page.fill(".turn textarea", "What is a penstock? Write to ann@example.org.")
    async with page.expect_response("**/console/api/chat/completions") as answering:
        await page.click("#send")
        words = page.locator("#answer-a .words")
        await expect(words).not_to_have_text("", timeout=5000)
        begun = await words.inner_text()
    assert begun != SAID, "it streams: the first words are there before the last"
    await expect(words).to_have_text(SAID, timeout=10_000)
    await looks(one, "live-playground")
    return (await (await answering.value).all_headers())["x-request-id"]


async def finds(one: Looker, request: str, ended: float) -> None:
    """The request is in the log, with its course, what was said, masked, and its cost."""
    page = one.page
    while not await _shown(one, request):
        assert time.monotonic() - ended < SHOWN_WITHIN_S + 1, "the request is not in the log"
    took = time.monotonic() - ended
    print(f"\nin the log {took:.2f} s after its answer was looked at")
    assert took < SHOWN_WITHIN_S
    await looks(one, "live-requests")
    await page.click(f"a[href*='{request}']")
    await expect(page.locator("h1")).to_be_visible()
    body = await page.inner_text("main")
    for word in ("dispatch", "left", "first chunk"):
        assert word in body or word == "left", body
    await page.click("button:has-text('Show what was said')")
    await expect(page.locator(".conversation")).to_contain_text("[EMAIL]")
    assert "ann@example.org" not in await page.content()
    await looks(one, "live-request")


async def _shown(one: Looker, request: str) -> bool:
    await one.go("/console/requests?service=chat")
    return await one.page.locator(f"a[href*='{request}']").count() > 0


async def costs(one: Looker) -> None:
    await one.go("/console/usage?by=user")
    await expect(one.page.locator("main")).to_contain_text("$0.0")
    await expect(one.page.locator("main")).to_contain_text("user")
    await looks(one, "live-usage")


async def keys(one: Looker, server: Penstock) -> None:
    page = one.page
    await one.go("/console/keys/new")
    await page.fill("#f-name", "from the console")
    await page.click("main button:has-text('Make')")
    secret = await page.inner_text("#secret")
    assert secret.startswith("pk-")
    wire = Wire(server, secret)
    assert (await asyncio.to_thread(wire.get, "/v1/models")).status == 200
    await one.go("/console/keys")
    await looks(one, "live-keys")
    await page.click("tr:has-text('from the console') a")
    await page.click("a:has-text('Revoke')")
    await page.click("main button.danger")
    await expect(page.locator("main")).to_contain_text("revoked")
    deadline = time.monotonic() + 2
    while (await asyncio.to_thread(wire.get, "/v1/models")).status != 401:
        assert time.monotonic() < deadline, "the key still works"
    wire.close()


async def rolls_back(one: Looker, server: Penstock, left: str, right: str) -> None:
    page = one.page
    await one.go("/console/services/chat")
    await expect(page.locator("main")).to_contain_text(right)
    await looks(one, "live-service")
    await page.click("a:has-text('Roll back')")
    # Who has rolled back a moment ago must say to what.
    await page.select_option("#f-to", left)
    await page.wait_for_url(f"**to={left}*")
    await expect(page.locator("main button.danger")).to_contain_text(left)
    await looks(one, "live-rollback")
    await page.click("main button.danger")
    await page.wait_for_url("**/console/rollbacks/**")
    await expect(page.locator(".ticks")).to_contain_text("gives it to everybody")
    await one.look("live-rolled-back", widths=(1280,), themes=("light",))
    wire = Wire(server, server.key)
    answer = await asyncio.to_thread(
        wire.post, "/v1/chat/completions", {"model": "chat", "messages": [{"role": "user", "content": "Hello"}]}
    )
    assert answer.headers["x-penstock-release"] == left
    wire.close()


async def every_page(one: Looker) -> None:
    for path in PAGES:
        await one.go(f"/console{path}")
        await one.accessible(path or "/")


async def _signed_out(page: Page) -> bool:
    return "/sign-in" in page.url


@pytest.mark.asyncio
async def test_a_day_at_the_console() -> None:
    with scripted(SAID) as upstream, running(deployment(upstream)) as server:
        left, right = await asyncio.to_thread(prepared, server)
        async with chromium() as browser, looker(browser, server.url) as one:
            await one.go("/console")
            assert await _signed_out(one.page)
            await one.sign_in(server.key)
            await looks(one, "live-overview")
            request = await chats(one)
            await finds(one, request, time.monotonic())
            await costs(one)
            await keys(one, server)
            await rolls_back(one, server, left, right)
            await every_page(one)
