"""The log of requests in a real browser: searched, followed, looked into."""

from __future__ import annotations

from playwright.async_api import expect

from tests.browser.chromium import chromium
from tests.browser.looking import looker
from tests.edge.console.canned import NOW
from tests.edge.console.pages.request_paper import TRACE, told
from tests.edge.http.console_site import console_site, text_of


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
