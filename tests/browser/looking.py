"""Looks at pages as people do: at two widths, in two themes; keeps pictures, and takes no fault."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Error, Page

WIDTHS = (1280, 390)
THEMES = ("light", "dark")
_HEIGHT = 900
_SEVERE = ("serious", "critical")


def folder() -> Path:
    """Where pictures are kept: ``PENSTOCK_PICTURES``, else ``build/pictures``."""
    found = Path(os.environ.get("PENSTOCK_PICTURES", "build/pictures"))
    found.mkdir(parents=True, exist_ok=True)
    return found


class Looker:
    """One browser profile. ``errors`` are what its pages complained of: scripts, policies, files that are missing."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.errors: list[str] = []
        self.expected: tuple[str, ...] = ()
        self.page: Page

    async def open(self) -> None:
        self.page = await self.context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", self._broke)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{self.page.url}: {message.text}")

    def _broke(self, error: Error) -> None:
        self.errors.append(f"{self.page.url}: {error}")

    async def go(self, path: str) -> None:
        await self.page.goto(self.url + path, wait_until="load")
        await self.settled()

    async def settled(self) -> None:
        """Until charts are drawn."""
        await self.page.wait_for_function(
            "() => [...document.querySelectorAll('.chart[data-series]')].every(e => e.querySelector('.uplot, .chart-none'))",
            timeout=10_000,
        )

    async def sign_in(self, key: str) -> None:
        await self.go("/console/sign-in")
        await self.page.fill("#key", key)
        await self.page.click("button:has-text('Sign in')")
        await self.page.wait_for_url(lambda url: "/sign-in" not in url)
        await self.settled()

    async def look(
        self, name: str, *, widths: Sequence[int] = WIDTHS, themes: Sequence[str] = THEMES, axe: bool = True
    ) -> None:
        """Keeps pictures of the page that is open, and checks it in each shape."""
        for width, theme in itertools.product(widths, themes):
            await self.page.set_viewport_size({"width": width, "height": _HEIGHT})
            await self.page.evaluate(
                "(theme) => { document.documentElement.dataset.theme = theme; document.dispatchEvent(new Event('penstock:theme')); }",
                theme,
            )
            # Two frames: what follows a change of size is drawn in the next one.
            await self.page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
            await self.page.screenshot(path=folder() / f"{name}-{width}-{theme}.png", full_page=True)
            overflow = await self.page.evaluate("() => document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, f"{name} at {width} is {overflow} pixels too wide"
            if axe:
                await self.accessible(f"{name} at {width}, {theme}")
        await self.page.set_viewport_size({"width": WIDTHS[0], "height": _HEIGHT})

    async def accessible(self, what: str) -> None:
        """No serious fault of accessibility."""
        found = (await Axe().run(self.page)).response["violations"]
        severe = [
            f"{each['impact']} {each['id']}: {each['help']}: "
            + "; ".join(node["html"][:200] for node in each["nodes"][:4])
            for each in found
            if each["impact"] in _SEVERE
        ]
        assert not severe, f"{what}:\n" + "\n".join(severe)

    def faultless(self) -> None:
        """Nothing that a page complained of."""
        left = [each for each in self.errors if not any(known in each for known in self.expected)]
        assert not left, "\n".join(left)


@asynccontextmanager
async def looker(browser: Browser, url: str, now: float | None = None, **options: object) -> AsyncIterator[Looker]:
    """Somebody with a fresh profile, whose clock stands at ``now``. At the end nothing may have been complained
    of."""
    context = await browser.new_context(viewport={"width": WIDTHS[0], "height": _HEIGHT}, **options)  # type: ignore[arg-type]
    try:
        if now is not None:
            await context.clock.set_fixed_time(now)
        found = Looker(context, url)
        await found.open()
        yield found
        found.faultless()
    finally:
        await context.close()
