"""The console, as a worker serves it: who is signed in is found out here, the pages themselves are asked of the
supervisor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import parse_qsl, quote

from penstock.access.scopes import check_endpoint
from penstock.core.administration import Actor, Answer
from penstock.core.console import PageAsk
from penstock.core.errors import (
    INVALID_VALUE,
    UNKNOWN_URL,
    UNSUPPORTED_MEDIA_TYPE,
    PenstockError,
)
from penstock.edge.console.assets import Assets
from penstock.edge.http.console_live import Streams
from penstock.edge.http.console_replies import address, bounce, guards, lead, plain, tell
from penstock.edge.http.console_sessions import COOKIE, Sessions, Signed, check_origin, cookies
from penstock.edge.http.console_sign_in import Refuse, SignIn
from penstock.edge.http.exchange import Exchange
from penstock.edge.http.routes import OPEN, Endpoint, Route, actor_of

LONGEST_FORM = 4 << 20
"""Bytes of a form: a deployment file of the longest kind, as forms are written."""

_MOST_FIELDS = 500
_FORM = b"application/x-www-form-urlencoded"
_NOBODY = Actor(key_id="", project="")
_CHAT = "/v1/chat/completions"
_MODELS = "/v1/models"


class Pages(Protocol):
    """Whoever writes the pages."""

    async def page(self, ask: PageAsk) -> Answer:
        """Raises ``PenstockError`` when it cannot be asked."""


class ConsoleSide:
    """``make_sign_in`` makes the door, given how its page is shown again."""

    def __init__(
        self,
        pages: Pages,
        sessions: Sessions,
        make_sign_in: Callable[[Refuse], SignIn],
        assets: Assets,
        streams: Streams | None = None,
    ) -> None:
        self._pages = pages
        self._sessions = sessions
        self._sign_in = make_sign_in(self._refuse)
        self._assets = assets
        self.streams = streams or Streams()

    def routes(self, chat: Endpoint, models: Endpoint, ending: Callable[[], bool]) -> tuple[Route, ...]:
        """``chat`` answers a chat completion of whoever is admitted already, ``models`` lists what they may use;
        ``ending``: the gateway is about to stop."""
        shown = {"GET": self._shown, "POST": self._filled}
        live: dict[str, Endpoint] = {"GET": self._live(ending)}
        return (
            _route("/console", shown),
            _route("/console/{id}", shown),
            _route("/console/static/{id}", {"GET": self._static}),
            _route("/console/sign-in", {"GET": self._door, "POST": self._by_key}),
            _route("/console/sign-in/{id}", {"GET": self._back, "POST": self._away}),
            _route("/console/sign-out", {"POST": self._out}),
            _route("/console/live", live),
            _route("/console/live/{id}", live),
            _route("/console/api/chat/completions", {"POST": self._called(chat, _CHAT)}),
            _route("/console/api/models", {"GET": self._called(models, _MODELS)}),
        )

    # -- pages -------------------------------------------------------------------------------------------------------

    async def _shown(self, exchange: Exchange, place: str) -> None:
        signed = self._signed_or_led(exchange)
        if signed is not None:
            await self._page(exchange, signed, place, {})

    async def _filled(self, exchange: Exchange, place: str) -> None:
        signed = self._signed_or_led(exchange)
        if signed is None:
            return
        try:
            form = await _form(exchange)
            check_origin(exchange.headers)
            self._sessions.check_form(signed, form.pop("token", ""))
        except PenstockError as error:
            plain(exchange, error)
            return
        await self._page(exchange, signed, place, form)

    async def _page(self, exchange: Exchange, signed: Signed, place: str, form: Mapping[str, str]) -> None:
        try:
            tell(exchange, await self._pages.page(_ask(exchange, signed, place, form)))
        except PenstockError as error:
            plain(exchange, error)

    def _signed_or_led(self, exchange: Exchange) -> Signed | None:
        """Who is signed in; None: they have been led to where they can."""
        headers = exchange.headers
        try:
            signed = self._sessions.signed(exchange)
        except PenstockError as error:
            came = headers.get(b"sec-fetch-site")
            if exchange.method == "GET" and COOKIE not in cookies(headers) and came in (b"cross-site", b"same-site"):
                # A link in a message: the browser has kept a strict cookie back.
                bounce(exchange, address(exchange))
            elif headers.get(b"sec-fetch-dest", b"document") == b"empty" and b"hx-request" not in headers:
                exchange.fail(error)
            else:
                then = address(exchange) if exchange.method == "GET" else "/console"
                lead(exchange, f"/console/sign-in?next={quote(then, safe='')}")
            return None
        exchange.admission = signed.admission
        return signed

    def _live(self, ending: Callable[[], bool]) -> Endpoint:
        async def live(exchange: Exchange, place: str) -> None:
            async def ask() -> Answer:
                signed = self._sessions.signed(exchange)
                exchange.admission = signed.admission
                return await self._pages.page(_ask(exchange, signed, place, {}, fragment=True))

            await self.streams.run(exchange, ask, ending, self._whose(exchange))

        return live

    def _whose(self, exchange: Exchange) -> str:
        try:
            return self._sessions.signed(exchange).principal.key_id
        except PenstockError:
            return ""

    # -- the door ----------------------------------------------------------------------------------------------------

    async def _door(self, exchange: Exchange, _: str) -> None:
        await self._ask_in(exchange, "", _query(exchange).get("next", ""))

    async def _refuse(self, exchange: Exchange, error: PenstockError, then: str) -> None:
        exchange.code = error.fault.code
        await self._ask_in(exchange, error.message, then)

    async def _ask_in(self, exchange: Exchange, refused: str, then: str) -> None:
        offered = "\n".join(f"{number}\t{label}" for number, label in self._sign_in.offered())
        ask = PageAsk(
            method="GET",
            path="/sign-in",
            actor=_NOBODY,
            query={"next": then} if then else {},
            # No client's words: a GET has no form.
            form={"refused": refused, "issuers": offered},
            address=exchange.client,
            request_id=exchange.request_id,
        )
        try:
            tell(exchange, await self._pages.page(ask), leaving=True)
        except PenstockError as error:
            plain(exchange, error)

    async def _by_key(self, exchange: Exchange, _: str) -> None:
        try:
            form = await _form(exchange)
        except PenstockError as error:
            plain(exchange, error)
            return
        await self._sign_in.by_key(exchange, form)

    async def _away(self, exchange: Exchange, place: str) -> None:
        try:
            form = await _form(exchange)
        except PenstockError as error:
            plain(exchange, error)
            return
        await self._sign_in.away(exchange, place, form)

    async def _back(self, exchange: Exchange, place: str) -> None:
        if place != "callback":
            plain(exchange, PenstockError(UNKNOWN_URL, "There is no page here. Sign in at /console/sign-in."))
            return
        await self._sign_in.back(exchange, _query(exchange))

    async def _out(self, exchange: Exchange, _: str) -> None:
        try:
            form = await _form(exchange)
            check_origin(exchange.headers)
            self._sessions.check_form(self._sessions.signed(exchange), form.get("token", ""))
        except PenstockError as error:
            if error.fault.status != 401:
                plain(exchange, error)
                return
        lead(exchange, "/console/sign-in", self._sessions.end(exchange))

    # -- files and models --------------------------------------------------------------------------------------------

    async def _static(self, exchange: Exchange, place: str) -> None:
        digest, _, name = place.partition("/")
        found = self._assets.find(name)
        if found is None:
            raise PenstockError(UNKNOWN_URL, f"The console has no file '{name[:80]}'.")
        # Under the address of another version it is not kept: what was meant is not what is here.
        kept = b"public, max-age=31536000, immutable" if digest == self._assets.digest else b"no-store"
        headers = [(b"content-type", found.content_type.encode()), (b"cache-control", kept), *guards()]
        body = found.body
        if found.packed:
            headers.append((b"vary", b"accept-encoding"))
            if b"gzip" in exchange.headers.get(b"accept-encoding", b""):
                headers.append((b"content-encoding", b"gzip"))
                body = found.packed
        exchange.reply(200, body, headers)

    def _called(self, answer: Endpoint, path: str) -> Endpoint:
        """``path`` of the API, for whoever is signed in."""

        async def called(exchange: Exchange, place: str) -> None:
            signed = self._sessions.signed(exchange)
            check_origin(exchange.headers)
            self._sessions.check_form(signed, exchange.headers.get(b"x-penstock-token", b"").decode("latin-1"))
            check_endpoint(signed.principal, path)
            exchange.admission = signed.admission
            exchange.beside = [*exchange.beside, *guards()]
            await answer(exchange, place)

        return called


def _ask(
    exchange: Exchange, signed: Signed, place: str, form: Mapping[str, str], *, fragment: bool = False
) -> PageAsk:
    return PageAsk(
        method=exchange.method,
        path=f"/{place}",
        actor=actor_of(signed.principal),
        query=_query(exchange),
        form=form,
        name=signed.name,
        token=signed.token,
        fragment=fragment,
        address=exchange.client,
        request_id=exchange.request_id,
    )


def _query(exchange: Exchange) -> dict[str, str]:
    """Of a name that occurs twice, the last; too many are as none."""
    try:
        pairs = parse_qsl(exchange.query.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return {}
    return dict(pairs)


async def _form(exchange: Exchange) -> dict[str, str]:
    """The fields; those of one name with line breaks between. Raises ``PenstockError``."""
    kind = exchange.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind != _FORM:
        raise PenstockError(UNSUPPORTED_MEDIA_TYPE, f"A form is sent as {_FORM.decode()}. Send it from its page.")
    body = await exchange.body(LONGEST_FORM)
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise PenstockError(
            INVALID_VALUE, f"The form is not UTF-8, or has more than {_MOST_FIELDS} fields."
        ) from None
    for name, value in pairs:
        found[name] = f"{found[name]}\n{value}" if name in found else value
    return found


def _route(path: str, endpoints: Mapping[str, Endpoint]) -> Route:
    return Route(path, endpoints, dict.fromkeys(endpoints, OPEN))
