"""A page of the console on its way from the worker that took the request to the supervisor that writes it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock.core.administration import Actor


class PageAsk(msgspec.Struct, frozen=True, kw_only=True):
    """``path`` is what follows ``/console``, ``query`` and ``form`` have each name once. ``name`` is who is signed
    in, for people. ``token`` has to come back in every form. ``fragment``: only what is inside the page's frame.
    ``address`` is the client's. Answered by ``administration.Answer`` with a body of HTML."""

    method: str
    path: str
    actor: Actor
    query: Mapping[str, str] = {}
    form: Mapping[str, str] = {}
    name: str = ""
    token: str = ""
    fragment: bool = False
    address: str = ""
    request_id: str = ""

    def __repr__(self) -> str:
        return f"PageAsk({self.method} {self.path!r})"
