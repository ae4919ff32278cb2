"""What a page of the console is: a function of who looks and what is asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

import msgspec

from penstock.core.administration import Actor
from penstock.core.console import PageAsk
from penstock.edge.console.asking import Asking

_NOTHING: Mapping[str, object] = MappingProxyType({})
_PLAIN: Mapping[str, str] = MappingProxyType({})


class Visit(msgspec.Struct, frozen=True):
    """Somebody at a page. ``place`` is what the path holds where the route has ``{id}``, ``now`` seconds since the
    epoch."""

    ask: PageAsk
    api: Asking
    place: str = ""
    now: float = 0.0

    @property
    def actor(self) -> Actor:
        return self.ask.actor

    def may(self, *permissions: str) -> bool:
        """Whether the role has any of them."""
        return any(self.ask.actor.may(each) for each in permissions)

    def asked(self, name: str, default: str = "") -> str:
        """What the address says under this name, without blanks around it."""
        return self.ask.query.get(name, default).strip() or default

    def filled(self, name: str, default: str = "") -> str:
        """What the form says under this name, without blanks around it. A name that occurs several times has its
        values with line breaks between."""
        return self.ask.form.get(name, default).strip() or default


class Page(msgspec.Struct, frozen=True):
    """What is shown. ``template`` is one of ``templates/``, ``values`` what it names; it has ``visit`` as well, and
    what ``penstock.edge.console.render`` gives to all."""

    title: str
    template: str
    values: Mapping[str, object] = _NOTHING
    status: int = 200
    headers: Mapping[str, str] = _PLAIN


class Redirect(msgspec.Struct, frozen=True):
    """Another page is shown in its place, with GET. ``path`` begins with ``/console``; ``message`` is shown there,
    once."""

    path: str
    message: str = ""


class Data(msgspec.Struct, frozen=True):
    """JSON, or a file, as it is."""

    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = _PLAIN


Shown = Page | Redirect | Data
PageFunction = Callable[[Visit], Awaitable[Shown]]
"""May raise ``PenstockError``: shown in place of the page."""


class PageRoute(msgspec.Struct, frozen=True):
    """``path`` follows ``/console``, and may hold ``{id}`` at its end or before last words; it stands for anything,
    slashes included. Any one of ``permissions`` is enough; without any everybody who is signed in may look."""

    method: str
    path: str
    function: PageFunction
    permissions: tuple[str, ...] = ()
