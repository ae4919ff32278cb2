"""Request smuggling: what two servers in a row could read in two ways is refused, or read as RFC 9112 has it.

Each attempt hides a ``GET /smuggled`` where a careless reader would find a request of its own.
"""

from __future__ import annotations

import pytest

from tests.edge.http.wire import let_go, room, told

HIDDEN = b"GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nhost: x\r\n\r\n"
HEAD = b"POST /first HTTP/1.1\r\nhost: x\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return HEAD + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def length(count: int) -> bytes:
    return b"content-length: %d" % count


REFUSED: dict[str, bytes] = {
    # Two lengths, or a length beside chunks.
    "length, then chunks": post(length(6), b"transfer-encoding: chunked", body=b"0\r\n\r\n" + HIDDEN),
    "chunks, then length": post(b"transfer-encoding: chunked", length(len(HIDDEN) + 5), body=b"0\r\n\r\n" + HIDDEN),
    "two lengths": post(length(0), length(len(HIDDEN)), body=HIDDEN),
    "two equal lengths": post(length(len(HIDDEN)), length(len(HIDDEN)), body=HIDDEN),
    "a list of lengths": post(b"content-length: 0, %d" % len(HIDDEN), body=HIDDEN),
    "chunked twice": post(b"transfer-encoding: chunked", b"transfer-encoding: chunked", body=b"0\r\n\r\n" + HIDDEN),
    "chunked, then identity": post(
        b"transfer-encoding: chunked", b"transfer-encoding: identity", body=b"0\r\n\r\n" + HIDDEN
    ),
    # Codings that are not quite chunked.
    "xchunked": post(b"transfer-encoding: xchunked", body=b"0\r\n\r\n" + HIDDEN),
    "chunkedx": post(b"transfer-encoding: chunkedx", body=b"0\r\n\r\n" + HIDDEN),
    "quoted": post(b'transfer-encoding: "chunked"', body=b"0\r\n\r\n" + HIDDEN),
    "identity": post(b"transfer-encoding: identity", length(0), body=HIDDEN),
    "gzip, chunked": post(b"transfer-encoding: gzip, chunked", body=b"0\r\n\r\n" + HIDDEN),
    "chunked, gzip": post(b"transfer-encoding: chunked, gzip", body=b"0\r\n\r\n" + HIDDEN),
    "chunked, chunked": post(b"transfer-encoding: chunked, chunked", body=b"0\r\n\r\n" + HIDDEN),
    "a vertical tab": post(b"transfer-encoding:\x0bchunked", body=b"0\r\n\r\n" + HIDDEN),
    "a tab behind": post(b"transfer-encoding: chunked\t", body=b"0\r\n\r\n" + HIDDEN),
    "no coding": post(b"transfer-encoding:", body=b"0\r\n\r\n" + HIDDEN),
    "chunks in HTTP/1.0": post(b"transfer-encoding: chunked", body=b"0\r\n\r\n" + HIDDEN).replace(b"1.1", b"1.0", 1),
    # Lengths that are no numbers.
    "a negative length": post(b"content-length: -1", body=HIDDEN),
    "a signed length": post(b"content-length: +5", body=HIDDEN),
    "a hexadecimal length": post(b"content-length: 0x5", body=HIDDEN),
    "a length with a fraction": post(b"content-length: 5.0", body=HIDDEN),
    "a length in two words": post(b"content-length: 5 5", body=HIDDEN),
    "an underscored length": post(b"content-length: 1_0", body=HIDDEN),
    "an empty length": post(b"content-length:", body=HIDDEN),
    "a length beyond 64 bits": post(b"content-length: 18446744073709551616", body=HIDDEN),
    "a length in other digits": post("content-length: \u0665".encode(), body=HIDDEN),
    # Names and values.
    "a space before the colon": post(b"transfer-encoding : chunked", body=b"0\r\n\r\n" + HIDDEN),
    "a tab before the colon": post(b"content-length\t: %d" % len(HIDDEN), body=HIDDEN),
    "a space before the name": post(b" transfer-encoding: chunked", body=b"0\r\n\r\n" + HIDDEN),
    "a folded value": post(b"transfer-encoding:", b" chunked", body=b"0\r\n\r\n" + HIDDEN),
    "a fold behind": post(b"x: y", b"\ttransfer-encoding: chunked", body=b"0\r\n\r\n" + HIDDEN),
    "NUL in a name": post(b"content-length\0: 5", body=HIDDEN),
    "NUL in a value": post(b"x: y\0", body=HIDDEN),
    "a control character in a value": post(b"x: y\x01", body=HIDDEN),
    "no name": post(b": y", body=HIDDEN),
    "no colon": post(b"x", body=HIDDEN),
    "a name that is no token": post(b"x(y): z", body=HIDDEN),
    # Line ends.
    "a bare line feed": HEAD + b"x: y\nz: z\r\n\r\n" + HIDDEN,
    "a bare carriage return": HEAD + b"x: y\rz: z\r\n\r\n" + HIDDEN,
    "line feeds alone": HEAD.replace(b"\r\n", b"\n") + b"\n" + HIDDEN,
    "a line feed at the end of the head": HEAD + b"x: y\r\n\n" + HIDDEN,
    # Chunks.
    "a negative chunk": CHUNKED + b"-1\r\n" + HIDDEN,
    "a chunk of 0x": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n" + HIDDEN,
    "a chunk beyond 64 bits": CHUNKED + b"10000000000000000\r\n" + HIDDEN,
    "an empty chunk size": CHUNKED + b"\r\n" + HIDDEN,
    "a chunk that is longer than it says": CHUNKED + b"3\r\nhello\r\n0\r\n\r\n" + HIDDEN,
    "a line feed after a chunk size": CHUNKED + b"5\nhello\r\n0\r\n\r\n" + HIDDEN,
    "a line feed after a chunk": CHUNKED + b"5\r\nhello\n0\r\n\r\n" + HIDDEN,
    "a line feed in an extension": CHUNKED + b"5;a\nhello\r\n0\r\n\r\n" + HIDDEN,
    "a space after a chunk size": CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n" + HIDDEN,
    "no line end after a chunk": CHUNKED + b"5\r\nhello0\r\n\r\n" + HIDDEN,
    "a length among the trailers": CHUNKED + b"0\r\n" + length(len(HIDDEN)) + b"\r\n\r\n" + HIDDEN,
    "a coding among the trailers": CHUNKED + b"0\r\ntransfer-encoding: chunked\r\n\r\n" + HIDDEN,
    # Hosts.
    "no host": b"GET /first HTTP/1.1\r\n\r\n" + HIDDEN,
    "two hosts": b"GET /first HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n" + HIDDEN,
    "two equal hosts": b"GET /first HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n" + HIDDEN,
    # Request lines.
    "HTTP/0.9": b"GET /first\r\n\r\n" + HIDDEN,
    "HTTP/0.9, said": b"GET /first HTTP/0.9\r\nhost: x\r\n\r\n" + HIDDEN,
    "HTTP/1.2": HIDDEN.replace(b"1.1", b"1.2"),
    "HTTP/2.0": HIDDEN.replace(b"1.1", b"2.0"),
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version in lower case": HIDDEN.replace(b"HTTP", b"http"),
    "a method in lower case": HIDDEN.replace(b"GET", b"get"),
    "a method that is unknown": HIDDEN.replace(b"GET", b"BREW"),
    "a space before the method": b" " + HIDDEN,
    "a tab for a space": HIDDEN.replace(b" /", b"\t/"),
    "a space after the version": HIDDEN.replace(b"1.1", b"1.1 "),
    "a space in the target": HIDDEN.replace(b"/smuggled", b"/ /smuggled"),
    "NUL in the target": HIDDEN.replace(b"/smuggled", b"/\0smuggled"),
    "a line end in the target": HIDDEN.replace(b"/smuggled", b"/\rsmuggled"),
    "a target beyond ASCII": HIDDEN.replace(b"/smuggled", b"/\xffsmuggled"),
    "a target that is a host": HIDDEN.replace(b"/smuggled", b"smuggled:80"),
    "a tunnel": b"CONNECT smuggled:80 HTTP/1.1\r\nhost: smuggled:80\r\n\r\n" + HIDDEN,
    "a tunnel with a wish": b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: y\r\n\r\n" + HIDDEN,
    "TLS": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
}
"""All refused with a 400, and the connection with them."""


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("bytewise", [False, True])
async def test_it_is_refused(name: str, bytewise: bool) -> None:
    sent = REFUSED[name] + NEXT
    async with room() as here:
        wire = here.connected()
        await told(here, wire, [sent[at : at + 1] for at in range(len(sent))] if bytewise else [sent])
        assert wire.came.count(b"\r\nconnection: close\r\n") == 1
        assert wire.came.count(b'"code":"bad_request"') == 1
        assert wire.came.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert wire.ended
        assert {one.path for one in here.app.asked} <= {"/first"}
        await let_go(here, wire)


UPGRADE = (b"connection: close, upgrade", b"upgrade: h2c", b"http2-settings: x")
ACCEPTED: dict[str, tuple[bytes, list[tuple[str, str, bytes]]]] = {
    "a body that looks like a request": (
        post(length(len(HIDDEN)), body=HIDDEN) + NEXT,
        [("POST", "/first", HIDDEN), ("GET", "/next", b"")],
    ),
    "a body to a GET": (
        post(length(len(HIDDEN)), body=HIDDEN).replace(b"POST", b"GET") + NEXT,
        [("GET", "/first", HIDDEN), ("GET", "/next", b"")],
    ),
    "a chunk that looks like a request": (
        CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN) + NEXT,
        [("POST", "/first", HIDDEN), ("GET", "/next", b"")],
    ),
    "an extension and a trailer": (
        CHUNKED + b'5;a="b;c";d\r\nhello\r\n0;e\r\nx: y\r\n\r\n' + NEXT,
        [("POST", "/first", b"hello"), ("GET", "/next", b"")],
    ),
    "names in any case": (
        post(b"TRANSFER-Encoding: Chunked", body=b"5\r\nhello\r\n0\r\n\r\n") + NEXT,
        [("POST", "/first", b"hello"), ("GET", "/next", b"")],
    ),
    "a length with zeros before it": (
        post(b"content-length: 0005", body=b"hello") + NEXT,
        [("POST", "/first", b"hello"), ("GET", "/next", b"")],
    ),
    "an underscored name, which is another": (
        post(b"content_length: 5") + NEXT,
        [("POST", "/first", b""), ("GET", "/next", b"")],
    ),
    "no length in HTTP/1.0": (HEAD.replace(b"1.1", b"1.0") + b"\r\n" + HIDDEN, [("POST", "/first", b"")]),
    "what follows a last request": (post(b"connection: close") + HIDDEN, [("POST", "/first", b"")]),
    "a wish that is ignored, with a body": (
        post(*UPGRADE[1:], b"connection: upgrade", length(len(HIDDEN)), body=HIDDEN) + NEXT,
        [("POST", "/first", HIDDEN), ("GET", "/next", b"")],
    ),
    "a wish on a last request": (
        post(*UPGRADE, length(len(HIDDEN)), body=HIDDEN) + HIDDEN,
        [("POST", "/first", HIDDEN)],
    ),
    "a wish in HTTP/1.0": (
        post(*UPGRADE[1:], b"connection: upgrade").replace(b"1.1", b"1.0", 1) + HIDDEN,
        [("POST", "/first", b"")],
    ),
    "twenty wishes in one go": (
        post(*UPGRADE[1:], b"connection: upgrade") * 20 + NEXT,
        [("POST", "/first", b"")] * 20 + [("GET", "/next", b"")],
    ),
    "blank lines before a request": (
        b"\r\n\r\n" + NEXT + b"\r\n" + NEXT,
        [("GET", "/next", b"")] * 2,
    ),
    "an absolute target, whose host is not ours to judge": (
        NEXT.replace(b"/next", b"http://elsewhere:81/next?q") + NEXT,
        [("GET", "/next", b"")] * 2,
    ),
    "a target that begins with two slashes": (
        NEXT.replace(b"/next", b"//elsewhere/next"),
        [("GET", "//elsewhere/next", b"")],
    ),
    "a line end in the path, encoded": (
        NEXT.replace(b"/next", b"/next%0d%0aGET%20/smuggled"),
        [("GET", "/next\r\nGET /smuggled", b"")],
    ),
    "a host of any sort, since nothing is looked up by it": (
        NEXT.replace(b"host: x", b"host:"),
        [("GET", "/next", b"")],
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
@pytest.mark.parametrize("bytewise", [False, True])
async def test_it_is_read_as_it_is_meant(name: str, bytewise: bool) -> None:
    sent, meant = ACCEPTED[name]
    async with room() as here:
        wire = here.connected()
        await told(here, wire, [sent[at : at + 1] for at in range(len(sent))] if bytewise else [sent])
        assert [(one.method, one.path, one.size) for one in here.app.asked] == [
            (method, path, len(body)) for method, path, body in meant
        ]
        assert wire.came.count(b"HTTP/1.1 200 OK\r\n") == len(meant)
        await let_go(here, wire)
