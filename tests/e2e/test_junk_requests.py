"""Requests that are junk around the body: keys, paths, methods, headers, framing. Refused or hung up on, never served."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.rawhttp import Reply, connect, exchange, request
from tests.e2e.running import Penstock, running
from tests.e2e.test_junk_bodies import DEPLOYMENT, GOOD, refused

CHAT = json.dumps(GOOD["/v1/chat/completions"]).encode()
REFUSED = range(400, 500)


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    with running(DEPLOYMENT) as penstock:
        yield penstock
        assert "Traceback" not in penstock.said()


@pytest.fixture(autouse=True)
def goes_on(server: Penstock) -> Iterator[None]:
    """After each piece of junk the server still answers."""
    yield
    assert exchange(server, request(server, CHAT)).status == 200


@pytest.mark.parametrize(
    "key",
    [None, "wrong", "My Other Key", "sk-" + "x" * 5000, " ", "\xe9\xe9", "null", "a.b.c", "'; drop table keys; --"],
)
@pytest.mark.parametrize("path", [*GOOD, "/v1/models", "/v1/models/scripted"])
def test_no_key_or_a_wrong_one(server: Penstock, key: str | None, path: str) -> None:
    method = "GET" if "models" in path else "POST"
    error = refused(exchange(server, request(server, CHAT, key=key, path=path, method=method)), 401)
    assert error["code"] == "invalid_api_key"
    assert key in (None, " ", "null") or key not in (error["message"] or "")


@pytest.mark.parametrize(
    "scheme", ["Basic cm9vdDpyb290", "Bearer", "Bearer  ", "bearer", "Token x", "\x7f", "x" * 4000]
)
def test_odd_authorization(server: Penstock, scheme: str) -> None:
    reply = exchange(server, request(server, CHAT, key=None, headers=[f"authorization: {scheme}"]))
    assert reply.status == 401 or reply.status == 400


def test_an_unknown_service_is_told_from_a_wrong_key(server: Penstock) -> None:
    error = refused(exchange(server, request(server, CHAT.replace(b"scripted", b"scriptod"))), 404)
    assert error["code"] == "model_not_found"
    assert "scripted" in (error["message"] or "")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/v1",
            "/v1/",
            "/v1/chat",
            "/v1/chat/completions/x",
            "/v2/chat/completions",
            "/v1/files",
            "/admin",
            "//v1//models",
        ),
        *(
            "/v1/models/%00",
            "/v1/models/%ff",
            "/v1/models/%zz",
            "/v1/models/..%2f..%2fetc",
            "/v1/models/" + "x" * 3000,
        ),
        *("/%2e%2e/%2e%2e/etc/passwd", "/v1/models?x=%zz", "/v1/models/nobody", "/v1/" + "a/" * 500),
    ],
)
def test_paths(server: Penstock, path: str) -> None:
    reply = exchange(server, request(server, method="GET", path=path))
    assert (reply.status == 200 and path.startswith("/v1/models?")) or refused(reply, range(400, 415))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", [*GOOD, "/v1/nothing"])
def test_methods(server: Penstock, method: str, path: str) -> None:
    reply = exchange(server, request(server, b"{}", method=method, path=path))
    error = refused(reply, range(404, 406))
    if path in GOOD:
        assert error["code"] == "method_not_allowed"
        assert "allow: " in reply.headers


@pytest.mark.parametrize("method", ["BREW", "get", "CHAT", "X" * 5000, "\x16\x03\x01", "GE T"])
def test_methods_that_are_none(server: Penstock, method: str) -> None:
    reply = exchange(server, request(server, b"", method=method))
    assert reply.status in (0, *REFUSED)


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "", "nonsense"])
def test_other_content_types(server: Penstock, kind: str) -> None:
    """JSON is JSON whatever it is called, or is refused; nothing breaks."""
    head = request(server, CHAT).replace(b"content-type: application/json", f"content-type: {kind}".encode())
    reply = exchange(server, head)
    assert reply.status == 200 or refused(reply, range(400, 416))


@pytest.mark.parametrize("coding", ["gzip", "br", "nonsense", "gzip, gzip"])
def test_content_codings(server: Penstock, coding: str) -> None:
    reply = exchange(server, request(server, CHAT, headers=[f"content-encoding: {coding}"]))
    assert reply.status == 200 or refused(reply, range(400, 416))


@pytest.mark.parametrize(
    "headers",
    [
        [f"x-pad: {'x' * 100_000}"],
        [f"x-pad: {'x' * 1_000_000}"],
        [f"x-pad-{number}: x" for number in range(10_000)],
        [f"{'x' * 70_000}: x"],
        [f"cookie: {'a=b;' * 50_000}"],
    ],
    ids=["100 KB", "1 MB", "10,000 of them", "a long name", "cookies"],
)
def test_headers_too_large(server: Penstock, headers: list[str]) -> None:
    reply = exchange(server, request(server, CHAT, headers=headers))
    assert reply.status in (0, 400, 431), reply


@pytest.mark.parametrize(
    "header",
    [
        "x-request-id: " + "x" * 5000,
        "x-request-id: \x01\x02",
        "x-request-id: a\tb",
        "x-request-id: \xff",
        "x-request-id:",
    ],
)
def test_request_ids_are_not_echoed_blindly(server: Penstock, header: str) -> None:
    reply = exchange(server, request(server, CHAT, headers=[header]))
    assert reply.status in (200, 400, 0)
    assert "x" * 1000 not in reply.headers


def test_an_id_cannot_split_the_reply(server: Penstock) -> None:
    reply = exchange(server, request(server, CHAT, headers=["x-request-id: a%0d%0ax-evil: 1"]))
    assert "\r\nx-evil" not in reply.headers


HEAD = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
GARBAGE = {
    "random bytes": bytes(range(256)) * 8,
    "a TLS hello": bytes.fromhex("16030100a5010000a10303") + b"\x00" * 160,
    "an HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/3.7": b"GET /healthz HTTP/3.7\r\n\r\n",
    "no version": b"GET /healthz HTTP/\r\n\r\n",
    "a NUL in a header": HEAD.encode() + b"x: a\x00b\r\n\r\n",
    "a header without a colon": HEAD.encode() + b"nonsense\r\n\r\n",
    "a space before the colon": HEAD.encode() + b"content-length : 5\r\n\r\nhello",
    "two lengths": HEAD.encode() + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    "a negative length": HEAD.encode() + b"content-length: -5\r\n\r\nhello",
    "a length that is none": HEAD.encode() + b"content-length: five\r\n\r\nhello",
    "a length past 64 bits": HEAD.encode() + b"content-length: 99999999999999999999999\r\n\r\nhello",
    "length and chunks": HEAD.encode() + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk size that is none": HEAD.encode() + b"transfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "a negative chunk": HEAD.encode() + b"transfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "a chunk past 64 bits": HEAD.encode() + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello",
    "a chunk longer than said": HEAD.encode() + b"transfer-encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n",
    "an unknown coding": HEAD.encode() + b"transfer-encoding: nonsense\r\n\r\nhello",
    "a long request line": b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("sent", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_http(server: Penstock, sent: bytes) -> None:
    reply = exchange(server, sent, hang_up=True)
    assert reply.status in (0, *REFUSED), reply


def test_garbage_after_a_good_request(server: Penstock) -> None:
    good = request(server, CHAT).replace(b"connection: close\r\n", b"")
    assert exchange(server, good + b"\x00\x01garbage\r\n\r\n").status in (0, 200, 400)


def test_many_requests_at_once_on_one_connection(server: Penstock) -> None:
    good = request(server, CHAT).replace(b"connection: close\r\n", b"")
    assert exchange(server, good * 50, hang_up=True).status in (0, 200, *REFUSED)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.999])
def test_half_a_request(server: Penstock, share: float) -> None:
    whole = request(server, CHAT)
    for _ in range(5):
        with connect(server) as peer:
            peer.sendall(whole[: int(len(whole) * share)])


def test_a_body_that_never_comes(server: Penstock) -> None:
    reply: Reply = exchange(server, request(server, b'{"model"', length=5000), hang_up=True)
    assert reply.status in (0, *REFUSED)
