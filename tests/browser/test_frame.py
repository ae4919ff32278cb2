"""The console's frame in a real browser: signing in, the overview, what goes wrong, the keyboard."""

from __future__ import annotations

import re

import msgspec
import pytest
from playwright.async_api import expect

from penstock.core.chat import Call
from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from tests.browser.chromium import chromium
from tests.browser.looking import looker
from tests.edge.console.canned import NOW, alert, content, detail, overview, told
from tests.edge.http.console_site import console_site, text_of
from tests.edge.http.serving import USAGE, Answer, chunk

pytestmark = pytest.mark.slow

WORDS = ["A penstock ", "is a sluice ", "or gate ", "that controls ", "how water flows."]


def talks(call: Call) -> Answer:
    if not call.stream:
        raise AssertionError("the playground streams")
    return [[chunk(role="assistant", content="")], *([chunk(word)] for word in WORDS), [chunk(finish="stop"), USAGE]]


async def test_people_sign_in_and_see_how_it_goes() -> None:
    async with console_site() as front, chromium() as browser, looker(browser, front.url, NOW) as one:
        await one.go("/console")
        assert "/console/sign-in" in one.page.url
        await one.look("sign-in")
        await one.sign_in(text_of("owner"))
        await expect(one.page.locator("h1")).to_have_text("Overview")
        await expect(one.page.locator("[data-pulse]")).to_have_text("live")
        assert await one.page.locator(".marks button").count() > 8
        await one.look("overview")
        await one.page.locator(".marks button").first.focus()
        await expect(one.page.locator(".bubble")).to_be_visible()


async def test_what_is_wrong_is_said_first() -> None:
    pages = told()
    services = tuple(
        msgspec.structs.replace(
            each, ready=each.service != "chat", state="ready" if each.service != "chat" else "down"
        )
        for each in overview().services
    )
    pages["overview.get"] = overview(
        services=services,
        alerts=(alert(), alert(id="b", severity="ticket", text="vectors is slower than its objective allows")),
    )
    async with console_site(pages=pages) as front, chromium() as browser, looker(browser, front.url, NOW) as one:
        await one.sign_in(text_of("owner"))
        await expect(one.page.locator(".health")).to_contain_text("chat cannot answer.")
        await one.look("overview-alarm", widths=(1280,))
        # The store goes away while somebody looks: what is shown is unknown, and nothing becomes zero.
        front.admin.told["overview.get"] = overview(
            stale_since=NOW - 75, total=None, before=None, services=services, in_flight=None, queued=None
        )
        front.admin.told["series.list"] = PenstockError(STORE_UNAVAILABLE, "The store is away.")
        await expect(one.page.locator(".health")).to_contain_text("Stale since")
        one.expected = ("503",)
        await one.go("/console")
        await expect(one.page.locator(".chart-none").first).to_contain_text("Unknown")
        await one.look("overview-stale", widths=(1280,))
        assert "$0" not in await one.page.inner_text(".tiles")


async def test_two_services_are_asked_the_same_and_stream() -> None:
    async with console_site(script=talks) as front, chromium() as browser, looker(browser, front.url) as one:
        front.admin.told["requests.get"] = detail()
        await one.sign_in(text_of("owner"))
        await one.go("/console/playground?service=chat&other=down")
        await expect(one.page.locator("#service-a")).to_have_value("chat")
        await one.page.select_option("#service-b", "chat")
        await one.page.fill("#system", "You are brief.")
        await one.page.fill(".turn textarea", "What is a penstock?\nIn one line, and don't guess.")
        await one.page.keyboard.press("Control+Enter")
        for side in ("a", "b"):
            await expect(one.page.locator(f"#answer-{side} .words")).to_have_text("".join(WORDS))
            await expect(one.page.locator(f"#answer-{side} [data-figure=out]")).to_have_text("3")
            await expect(one.page.locator(f"#answer-{side} [data-figure=cost]")).to_have_text("$0.0012")
        curl = await one.page.inner_text("#as-curl")
        assert "$PENSTOCK_API_KEY" in curl
        assert "don'\\''t" in curl
        assert "pk-" not in await one.page.content()
        await one.look("playground")
        await one.page.click("#answer-a [data-go-on]")
        assert await one.page.locator(".turn").count() == 3


async def test_a_request_is_filled_in_again() -> None:
    async with console_site() as front, chromium() as browser, looker(browser, front.url) as one:
        front.admin.told |= {"requests.get": detail(), "requests.content": content()}
        await one.sign_in(text_of("owner"))
        await one.go("/console/playground?replay=req_7")
        await expect(one.page.locator("#service-a")).to_have_value("chat")
        await expect(one.page.locator("#system")).to_have_value("Be kind.")
        await expect(one.page.locator(".turn textarea")).to_have_value("Sum </script><b>this</b> up")
        await expect(one.page.locator("#temperature")).to_have_value("0.3")
        assert '"logit_bias"' in await one.page.inner_text("#as-curl")


async def test_the_keyboard_leads_everywhere() -> None:
    async with console_site() as front, chromium() as browser, looker(browser, front.url) as one:
        await one.sign_in(text_of("owner"))
        page = one.page
        await page.keyboard.press("/")
        await expect(page.locator("#find")).to_be_focused()
        await page.keyboard.press("Escape")
        theme = await page.evaluate("document.documentElement.dataset.theme")
        await page.keyboard.press("t")
        assert await page.evaluate("document.documentElement.dataset.theme") != theme
        await page.keyboard.press("?")
        await expect(page.locator("#keys")).to_be_visible()
        await page.keyboard.press("Escape")
        await page.keyboard.press("j")
        await expect(page.locator("tr.at")).to_have_count(1)
        await page.keyboard.press("g")
        await page.keyboard.press("p")
        await page.wait_for_url(re.compile("/console/playground"))
        assert await page.evaluate("document.documentElement.dataset.theme") != theme


async def test_a_narrow_screen_has_the_whole_menu_behind_one_button() -> None:
    async with console_site() as front, chromium() as browser, looker(browser, front.url, NOW) as one:
        await one.sign_in(text_of("owner"))
        await one.page.set_viewport_size({"width": 390, "height": 844})
        await expect(one.page.locator("#menu")).to_be_hidden()
        await one.page.click("[data-toggle-menu]")
        await expect(one.page.locator("[data-toggle-menu]")).to_have_attribute("aria-expanded", "true")
        await one.look("menu", widths=(390,))
        await one.page.set_viewport_size({"width": 390, "height": 844})
        await one.page.click("text=Playground")
        await one.page.wait_for_url(re.compile("/console/playground"))


async def test_a_chart_is_read_by_pointing_at_it_and_leads_to_its_requests() -> None:
    async with console_site() as front, chromium() as browser, looker(browser, front.url, NOW) as one:
        await one.sign_in(text_of("owner"))
        chart = one.page.locator(".chart").first
        described = await chart.locator("[role=img]").get_attribute("aria-label")
        assert described is not None
        assert re.search(r"chat: last \d", described)
        over = chart.locator(".u-over")
        await over.hover(position={"x": 120, "y": 40})
        await expect(chart.locator(".legend b").first).to_have_text(re.compile(r"\d/s$"))
        one.expected = ("404",)
        await over.click(position={"x": 120, "y": 40})
        await one.page.wait_for_url(re.compile(r"/console/requests\?since=\d+&until=\d+"))


async def test_what_goes_wrong_is_said_in_its_place() -> None:
    async with console_site(("developer", "owner")) as front, chromium() as browser:
        async with looker(browser, front.url) as one:
            one.expected = ("404", "403")
            await one.sign_in(text_of("owner"))
            await one.go("/console/nothing/here")
            await one.look("not-found", widths=(1280,))
        async with looker(browser, front.url) as one:
            one.expected = ("403",)
            await one.sign_in(text_of("developer"))
            await one.go("/console/keys")
            await expect(one.page.locator(".fault-text")).to_contain_text("keys:read")
            await one.look("forbidden", themes=("dark",))


async def test_a_revoked_key_is_shown_the_door_at_once() -> None:
    async with console_site() as front, chromium() as browser, looker(browser, front.url) as one:
        await one.sign_in(text_of("owner"))
        await expect(one.page.locator("[data-pulse]")).to_have_text("live")
        one.expected = ("401",)
        front.change("owner-key", revoked_at=NOW - 1)
        await one.page.wait_for_url(re.compile("/console/sign-in"))
