"""The console of a gateway: finds a page, has it made, and puts what goes wrong into the page's place."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable

import msgspec

from penstock.core.administration import Answer
from penstock.core.console import PageAsk
from penstock.core.errors import INTERNAL, OUT_OF_RESOURCES, PERMISSION_DENIED, UNKNOWN_URL, PenstockError, envelope
from penstock.edge.console.asking import Administer, Asking
from penstock.edge.console.assets import shipped
from penstock.edge.console.frame import home
from penstock.edge.console.page import Data, Page, PageRoute, Redirect, Shown, Visit
from penstock.edge.console.render import Renderer
from penstock.edge.console.routes import ROUTES, Table
from penstock.edge.console.showing import link

WITHIN_S = 30.0
"""How long a page may take."""

_HTML = "text/html; charset=utf-8"
_JSON = "application/json"
_MOST_MESSAGES = 256
# The one page for people of whom nothing is known.
_DOOR = "/sign-in"
# Below it are no pages, but what scripts fetch.
_DATA = "/data/"
_log = logging.getLogger(__name__)


class Live(msgspec.Struct, frozen=True):
    """What a page that is looked at shows now: the HTML of its live parts, by their ids."""

    regions: dict[str, str]


class Messages:
    """What the next page is to say, each once. The address holds a name of it, so that nobody can make a link that
    puts words into the console's mouth."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    def keep(self, text: str) -> str:
        while len(self._kept) >= _MOST_MESSAGES:
            del self._kept[next(iter(self._kept))]
        name = secrets.token_urlsafe(9)
        self._kept[name] = text
        return name

    def take(self, name: str) -> str:
        """The text; empty when it was shown already, or by another gateway."""
        return self._kept.pop(name, "")


class Console:
    """``administer`` carries an operation out, or raises ``PenstockError``. May be asked by many at once, from one
    loop."""

    def __init__(
        self,
        administer: Administer,
        routes: tuple[PageRoute, ...] = ROUTES,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._administer = administer
        self._table = Table(routes)
        self._now = now
        self._renderer = Renderer(shipped())
        self._messages = Messages()

    async def answer(self, ask: PageAsk) -> Answer:
        """The page as HTML; of a ``fragment`` its live parts as JSON (``Live``). Raises nothing."""
        visit = Visit(ask, Asking(self._administer, ask), "", self._now())
        try:
            return self._told(await self._shown(visit), visit)
        except PenstockError as error:
            return self._failed(error, visit)
        except Exception:  # noqa: BLE001 - the log has it, whoever looks is told
            _log.exception("the console failed at %s %s, request %s", ask.method, ask.path, ask.request_id)
            about = f"The console failed at this page. The gateway's log tells more under {ask.request_id}."
            return self._failed(PenstockError(INTERNAL, about), visit)

    async def _shown(self, visit: Visit) -> Shown:
        ask = visit.ask
        found = self._table.find(ask.method, ask.path)
        if found is None:
            raise PenstockError(UNKNOWN_URL, f"There is no page at /console{ask.path[:120]}.")
        route, place = found
        if not ask.actor.key_id and ask.path != _DOOR:
            raise PenstockError(PERMISSION_DENIED, "Sign in first.")
        if route.permissions and not visit.may(*route.permissions):
            if ask.path == "/" and (first := home(visit)) != "/":
                return Redirect(link(first))
            raise _forbidden(route)
        try:
            async with asyncio.timeout(WITHIN_S):
                return await route.function(msgspec.structs.replace(visit, place=place))
        except TimeoutError:
            raise PenstockError(
                OUT_OF_RESOURCES, f"This page was not ready within {WITHIN_S:.0f} s. Try again, with a shorter time."
            ) from None

    def _told(self, shown: Shown, visit: Visit) -> Answer:
        match shown:
            case Data():
                return Answer(
                    status=200, body=shown.body, headers={"content-type": shown.content_type, **shown.headers}
                )
            case Redirect():
                where = shown.path
                if shown.message:
                    where += f"{'&' if '?' in where else '?'}said={self._messages.keep(shown.message)}"
                return Answer(status=303, body=b"", headers={"location": where, "content-type": _HTML})
        if visit.ask.fragment:
            body = msgspec.json.encode(Live(dict(self._renderer.regions(shown, visit))))
            return Answer(status=shown.status, body=body, headers={"content-type": _JSON})
        message = self._messages.take(visit.asked("said")) if "said" in visit.ask.query else ""
        body = self._renderer.html(shown, visit, message)
        return Answer(status=shown.status, body=body, headers={"content-type": _HTML, **shown.headers})

    def _failed(self, error: PenstockError, visit: Visit) -> Answer:
        template = "not_found.html" if error.fault is UNKNOWN_URL else "failed.html"
        status = error.fault.status
        if visit.ask.path.startswith(_DATA) or visit.ask.fragment:
            return Answer(status=status, body=envelope(error), headers={"content-type": _JSON})
        page = Page(_TITLES.get(status, "It did not work"), template, {"error": error}, status)
        try:
            return self._told(page, visit)
        except Exception:  # noqa: BLE001 - there is no page without its frame
            _log.exception("the console cannot write its page of faults, request %s", visit.ask.request_id)
            return Answer(status=500, body=error.message.encode(), headers={"content-type": "text/plain"})


_TITLES = {403: "Not allowed", 404: "Not found", 409: "Something stands in the way", 503: "Not now"}


def _forbidden(route: PageRoute) -> PenstockError:
    wanted = " or ".join(f"'{each}'" for each in route.permissions)
    return PenstockError(
        PERMISSION_DENIED,
        f"Your role does not have the permission {wanted}, which this page needs. Sign in with another key, or ask "
        "an admin for a role that has it.",
    )
