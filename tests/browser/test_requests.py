"""The log of requests in a real browser: searched, followed, looked into."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from penstock.core.errors import NOT_FOUND, STORE_UNAVAILABLE, PenstockError
from tests.browser.chromium import chromium
from tests.browser.looking import looker
from tests.edge.console.canned import NOW, overview
from tests.edge.console.pages.request_paper import TRACE, detail, row, rows, told
from tests.edge.http.console_site import console_site, text_of


@pytest.mark.slow
async def test_requests_are_looked_at() -> None:
    async with console_site(pages=told()) as front, chromium() as browser, looker(browser, front.url, NOW) as one:
        await one.sign_in(text_of("owner"))
        await one.go("/console/requests")
        await one.look("requests")
        await one.go("/console/requests?service=chat&status=5xx&min_ms=1500&since=1789990000&text=parcel")
        await one.page.click(".more-filters > summary")
        await one.look("requests-filtered")
        await one.go("/console/requests/req_01jd9f3kq8m4")
        await one.look("request")
        await one.page.click("button:has-text('Show what was said')")
        await expect(one.page.locator(".conversation")).to_be_visible()
        for each in await one.page.locator(".further-said > summary").all():
            await each.click()
        await one.look("request-said")
        await one.go(f"/console/traces/{TRACE}")
        await one.look("trace")


async def test_filters_live_in_the_address_and_what_arrives_is_followed() -> None:
    async with console_site(pages=told()) as front, chromium() as browser, looker(browser, front.url, NOW) as one:
        page, asked = one.page, front.admin.asked
        await one.sign_in(text_of("owner"))
        await one.go("/console/requests")
        await page.fill("#f-service", "chat")
        await page.keyboard.press("Enter")
        await page.wait_for_url(re.compile(r"/console/requests\?.*service=chat"))
        await expect(page.locator(".pills")).to_contain_text("Service chat")
        assert "status=" not in page.url
        await page.select_option("#f-status", "5xx")
        await page.wait_for_url(re.compile("status=5xx"))
        await expect(page.locator(".chip[aria-current]")).to_have_text("Failed")
        # What is followed is what the address says now.
        front.admin.told["requests.list"] = [row(id="req_fresh", at=NOW - 1, user="carla"), *rows()]
        await expect(page.locator(".log tbody tr").first).to_contain_text("carla")
        followed = [each for each in asked if each.operation == "requests.list"][-1]
        assert followed.query["status"] == "5xx"
        # The store goes away and comes back while somebody looks.
        front.admin.told["overview.get"] = overview(stale_since=NOW - 75)
        front.admin.told["requests.list"] = PenstockError(STORE_UNAVAILABLE, "The store is away.")
        await expect(page.locator("#live-rows")).to_contain_text("stale since")
        await one.look("requests-stale", widths=(1280,))
        front.admin.told["requests.list"] = rows()
        await expect(page.locator(".log tbody tr")).to_have_count(28)
        await page.click(".pills a[aria-label^='Without Status']")
        await page.wait_for_url(lambda url: "status" not in url and "service=chat" in url)
        await page.go_back()
        await expect(page.locator("#f-status")).to_have_value("5xx")


async def test_a_stretch_of_the_chart_narrows_the_time() -> None:
    async with console_site(pages=told()) as front, chromium() as browser, looker(browser, front.url, NOW) as one:
        await one.sign_in(text_of("owner"))
        await one.go("/console/requests?service=chat&window=1h")
        box = await one.page.locator(".chart .u-over").bounding_box()
        assert box is not None
        await one.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
        await one.page.mouse.down()
        await one.page.mouse.move(box["x"] + box["width"] / 2 + 120, box["y"] + 24, steps=4)
        await one.page.mouse.up()
        await one.page.wait_for_url(re.compile(r"since=\d+"))
        assert "service=chat" in one.page.url
        assert "until=" in one.page.url
        await expect(one.page.locator("[data-pulse]")).to_be_hidden()
        await expect(one.page.locator(".pills")).to_contain_text("From 2026-09-21 13:4")


async def test_rows_open_and_ids_are_found() -> None:
    async with console_site(pages=told()) as front, chromium() as browser, looker(browser, front.url, NOW) as one:
        page = one.page
        await one.sign_in(text_of("owner"))
        await one.go("/console/requests")
        await page.click(".log tbody tr >> nth=3")
        await page.wait_for_url(re.compile("/console/requests/req_01jd9f003kq8m4$"))
        await page.keyboard.press("/")
        await page.keyboard.type(f"00-{TRACE}-00f067aa0ba902b7-01")
        front.admin.told["requests.get"] = PenstockError(NOT_FOUND, "There is no such request.")
        await page.keyboard.press("Enter")
        await page.wait_for_url(re.compile(f"/console/traces/{TRACE}"))
        await page.fill("#find", "req_nowhere")
        await page.keyboard.press("Enter")
        await expect(page.locator(".note")).to_contain_text("There is no request of the id req_nowhere")
        await one.look("requests-lost", widths=(1280,), themes=("light",))


async def test_a_request_that_is_on_its_way_comes_by_itself() -> None:
    async with console_site(pages=told()) as front, chromium() as browser, looker(browser, front.url, NOW) as one:
        one.expected = ("404",)
        await one.sign_in(text_of("owner"))
        front.admin.told["requests.get"] = PenstockError(NOT_FOUND, "There is no such request.")
        await one.go("/console/requests/req_fresh")
        await expect(one.page.locator("h1")).to_have_text("No such request")
        front.admin.told["requests.get"] = detail(id="req_fresh")
        await expect(one.page.locator("h1")).to_have_text("req_fresh")
        front.admin.told["requests.get"] = PenstockError(NOT_FOUND, "There is no such request.")
        await one.go("/console/requests/req_gone?look=3")
        await expect(one.page.locator(".looking")).to_have_count(0)
        await one.look("request-unknown", widths=(1280,), themes=("light",))


async def test_what_is_off_failed_or_came_twice_is_looked_at() -> None:
    async with console_site(pages=told()) as front, chromium() as browser, looker(browser, front.url, NOW) as one:
        await one.sign_in(text_of("owner"))
        off = PenstockError(NOT_FOUND, "This gateway keeps no log of requests and no charts.")
        front.admin.told["requests.list"] = off
        await one.go("/console/requests")
        await one.look("requests-off", themes=("light",))
        front.admin.told["requests.get"] = detail(
            others=(NOW - 4000.5,), status=502, ending="failed", code="upstream_error", usage=(), scores={},
            content="none", first_chunk_ms=None, tokens=None, cost="0", between_ms=None,
        )  # fmt: skip
        await one.go("/console/requests/req_7")
        await one.look("request-failed", widths=(1280,))
