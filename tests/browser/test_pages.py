"""Pages of what is served, used, allowed and done, in a real browser: looked at in all shapes, and used."""

from __future__ import annotations

import pytest

from tests.browser.chromium import chromium
from tests.browser.looking import looker
from tests.edge.console.pages.paper import told
from tests.edge.console.pages.paper_served import OLD
from tests.edge.http.console_site import console_site, text_of

PAGES = {
    "services": "/services",
    "service": "/services/chat",
    "release": f"/releases/{OLD}",
    "rollback": "/services/chat/rollback",
    "rollback-ticks": "/rollbacks/roll_2",
    "rollouts": "/rollouts",
    "rollout": "/rollouts/roll_1",
    "rollout-end": "/rollouts/roll_1/abort",
    "models": "/models",
    "model": "/models/small@5f1c0de2a9b81c44",
    "caches": "/caches",
    "caches-sure": "/caches/invalidate?scope=tag&value=faq&older=3600",
    "usage": "/usage?by=service&window=30d",
    "limits": "/limits",
    "keys": "/keys",
    "key": "/keys/k1a2b3",
    "key-new": "/keys/new",
    "key-revoke": "/keys/k1a2b3/revoke",
    "alerts": "/alerts",
    "audit": "/audit",
    "deployment": "/deployment/pending",
}


@pytest.mark.slow
async def test_every_page_is_looked_at() -> None:
    async with console_site(pages=told()) as front, chromium() as browser, looker(browser, front.url) as one:
        await one.sign_in(text_of("owner"))
        for name, path in PAGES.items():
            await one.go(f"/console{path}")
            await one.look(name)


async def test_a_service_is_rolled_back_and_a_key_is_made_with_the_keyboard_alone() -> None:
    async with console_site(pages=told()) as front, chromium() as browser, looker(browser, front.url) as one:
        await one.sign_in(text_of("owner"))
        await one.go("/console/services")
        await one.page.focus("a:has-text('Roll back')")
        await one.page.keyboard.press("Enter")
        await one.page.wait_for_selector("button.danger")
        await one.look("rollback", widths=(390,), themes=("dark",))
        await one.page.focus("button.danger")
        await one.page.keyboard.press("Enter")
        await one.page.wait_for_url("**/console/rollbacks/**")
        assert await one.page.locator(".ticks li").count() == 2
        await one.go("/console/keys/new")
        await one.page.fill("#f-name", "by hand")
        await one.page.keyboard.press("Enter")
        await one.page.wait_for_selector("#secret")
        assert await one.page.inner_text("#secret") == "pk-knew-s3cr3t"
        asked = [each.operation for each in front.admin.asked]
        assert asked.count("services.rollback") == 1
        assert asked.count("keys.create") == 1
