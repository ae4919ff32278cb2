"""What every reply of the console carries, and what is told when no page can be had."""

from __future__ import annotations

import html
import re
from urllib.parse import quote

from penstock.core.administration import Answer
from penstock.core.errors import PenstockError
from penstock.edge.http.exchange import Exchange, Headers, encoded

_POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'{forms}"
_GUARDS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_PAGE: Headers = [(b"cache-control", b"no-store"), *_GUARDS]
_STRICT = [(b"content-security-policy", _POLICY.format(forms="; form-action 'self'").encode())]
# Browsers hold what a form leads to, through redirects too, against `form-action`; this one may lead to an issuer.
_LEAVING = [(b"content-security-policy", _POLICY.format(forms="").encode())]
_HTML = (b"content-type", b"text/html; charset=utf-8")
_OURS = re.compile(r"/console(?:[/?][\x21-\x7e]*)?\Z")


def guarded(headers: Headers, *, leaving: bool = False) -> Headers:
    """Headers of a page. ``leaving``: its forms may lead to other sites."""
    return [*headers, *_PAGE, *(_LEAVING if leaving else _STRICT)]


def tell(exchange: Exchange, answer: Answer, extra: Headers | None = None, *, leaving: bool = False) -> None:
    """Sends what the supervisor wrote."""
    exchange.reply(
        answer.status, answer.body, guarded([*encoded(answer.headers.items()), *(extra or [])], leaving=leaving)
    )


def lead(exchange: Exchange, path: str, extra: Headers | None = None, *, leaving: bool = False) -> None:
    """Another page is to be fetched in place of this one. For htmx, which would follow a redirect itself, a header
    says so."""
    headers: Headers = [*(extra or []), _HTML]
    if exchange.headers.get(b"hx-request") == b"true":
        exchange.reply(401, b"", guarded([(b"hx-redirect", path.encode("ascii", "replace")), *headers]))
    else:
        exchange.reply(303, b"", guarded([(b"location", path.encode("ascii", "replace")), *headers], leaving=leaving))


def bounce(exchange: Exchange, path: str, extra: Headers | None = None) -> None:
    """Has the browser come again, from a page of ours: it sends a strict cookie only then."""
    shown = html.escape(path, quote=True)
    body = f'<!doctype html><meta http-equiv="refresh" content="0;url={shown}"><a href="{shown}">Go on</a>'
    exchange.reply(200, body.encode(), guarded([*(extra or []), _HTML]))


def plain(exchange: Exchange, error: PenstockError) -> None:
    """A page for when the supervisor writes none."""
    body = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Penstock</title>'
        f"<h1>The console cannot be shown</h1><p>{html.escape(error.message)}</p>"
        f"<p>Request {html.escape(exchange.request_id)}</p></html>"
    )
    exchange.code = error.fault.code
    exchange.reply(error.fault.status, body.encode(), guarded([_HTML]))


def guards() -> Headers:
    """Headers of a file."""
    return list(_GUARDS)


def ours(path: str) -> str:
    """Where to go after signing in: what was asked for, if it is a page of the console."""
    if len(path) > 2000 or not _OURS.match(path) or path.startswith("/console/sign-"):
        return "/console"
    return path


def address(exchange: Exchange) -> str:
    """The address of a request, without the site, as a browser would write it."""
    path = quote(exchange.path, safe="/-._~!$&'()*+,;=:@")
    return f"{path}?{exchange.query.decode('latin-1')}" if exchange.query else path
