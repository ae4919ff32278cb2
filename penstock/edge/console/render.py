"""Writes pages: templates, what all of them may use, and the frame around them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from penstock.edge.console import showing
from penstock.edge.console.assets import Assets
from penstock.edge.console.frame import navigation
from penstock.edge.console.page import Page, Visit

_TEMPLATES = Path(__file__).parent / "templates"

_FILTERS: Mapping[str, Callable[..., object]] = {
    "count": showing.count,
    "rate": showing.rate,
    "money": showing.money,
    "ms": showing.ms,
    "seconds": showing.seconds,
    "share": showing.share,
    "bytes": showing.size,
    "time": showing.time,
    "part": showing.part,
    "key": showing.keys,
}


class Regions:
    """The live parts of one page, by their ids."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def live(self, id: str, caller: Callable[[], Markup], tag: str = "div", css: str = "") -> Markup:
        """``{% call live("id") %}...{% endcall %}``: written again every two seconds while the page is looked at."""
        inner = caller()
        self.found[id] = str(inner)
        return Markup('<{tag} data-live="{id}" id="live-{id}" class="live {css}">{inner}</{tag}>').format(
            tag=tag, id=id, css=css, inner=inner
        )


class Renderer:
    """One set of templates."""

    def __init__(self, assets: Assets) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
            extensions=["jinja2.ext.do"],
        )
        self._templates.filters.update(_FILTERS)
        self._templates.globals.update(
            asset=assets.url,
            link=showing.link,
            change=showing.change,
            once=lambda: secrets.token_urlsafe(12),
            version=version("penstock"),
            UNKNOWN=showing.UNKNOWN,
        )

    def html(self, page: Page, visit: Visit, message: str = "") -> bytes:
        """The whole page. ``message`` is shown above it."""
        return self._written(page, visit, message, Regions()).encode()

    def regions(self, page: Page, visit: Visit) -> Mapping[str, str]:
        """Its live parts."""
        regions = Regions()
        self._written(page, visit, "", regions)
        return regions.found

    def _written(self, page: Page, visit: Visit, message: str, regions: Regions) -> str:
        return self._templates.get_template(page.template).render(
            {
                "title": page.title,
                "visit": visit,
                "message": message,
                "navigation": navigation(visit),
                "live": regions.live,
                **page.values,
            }
        )
