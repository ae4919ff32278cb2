"""Laws of the HTTP/1 connection: where the bytes are cut is no matter, no bytes do harm, and nothing is left behind."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.edge.http.wire import Room, Wire, described, let_go, room, told

STATUS = re.compile(rb"HTTP/1\.1 \d{3} ")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
VISIBLE = bytes([9, *range(0x20, 0x7F), *range(0x80, 0x100)]).decode("latin-1")


@dataclass(frozen=True)
class Asked:
    """One request: its bytes, and what the application is to make of it."""

    sent: bytes
    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes
    last: bool
    expects: bool


names = st.text(TOKEN, min_size=1, max_size=12).map(lambda name: "x-" + name)
values = st.text(VISIBLE, max_size=20)
spaces = st.sampled_from(["", " ", "\t ", "   "])
targets = st.sampled_from(
    [
        ("/echo", "/echo"),
        ("/stream", "/stream"),
        ("/early", "/early"),
        ("/a%20b/c?d=%20", "/a b/c"),
        ("http://elsewhere/e?f", "/e"),
        ("//x/y", "//x/y"),
        ("/" + "p" * 3000, "/" + "p" * 3000),
    ]
)
bodies = st.binary(max_size=300) | st.integers(1, 20_000).map(lambda size: bytes(range(256)) * (size // 256 + 1))


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    out, at = b"", 0
    while at < len(body):
        size = draw(st.integers(1, max(1, len(body) // 2)))
        piece = body[at : at + size]
        extension = draw(st.sampled_from([b"", b";a=b", b';a="q;r"', b";" + b"e" * 100]))
        out += draw(st.sampled_from([b"%x", b"%X", b"0%x"])) % len(piece) + extension + b"\r\n" + piece + b"\r\n"
        at += size
    return out + b"0\r\n" + draw(st.sampled_from([b"", b"x-trailer: y\r\n"])) + b"\r\n"


@st.composite
def requests(draw: st.DrawFn, early: bool = True) -> Asked:
    minor = draw(st.sampled_from([1, 1, 1, 0]))
    method = draw(st.sampled_from(["POST", "POST", "GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"]))
    target, path = draw(targets)
    if path == "/early" and not early:
        target = path = "/echo"
    lines = [("Host", "x"), ("X-Request-Id", draw(st.sampled_from(["1", "abc"])))]
    lines += draw(st.lists(st.tuples(names, values), max_size=4, unique_by=lambda pair: pair[0].lower()))
    wish = draw(st.booleans()) and draw(st.booleans())
    tokens = draw(
        st.sampled_from([[], [], ["keep-alive"], ["x", "keep-alive"], ["close"], ["x", "close"], ["x"]])
    ).copy()
    if wish:
        tokens.append("Upgrade")
    if tokens:
        lines.append(("Connection", ", ".join(tokens)))
    body = draw(bodies) if draw(st.booleans()) else b""
    expects = bool(body) and draw(st.booleans())
    if expects:
        lines.append(("Expect", draw(st.sampled_from(["100-continue", "100-Continue"]))))
    framed = b""
    if body and minor and draw(st.booleans()):
        lines.append(("Transfer-Encoding", draw(st.sampled_from(["chunked", "Chunked"]))))
        framed = draw(chunked(body))
    elif body or draw(st.booleans()):
        lines.append(("Content-Length", draw(st.sampled_from(["", "00"])) + str(len(body))))
        framed = body
    lines = draw(st.permutations(lines))
    heard = {name.lower().encode(): value.strip(" \t").encode("latin-1") for name, value in lines}
    if wish:
        lines.insert(draw(st.integers(0, len(lines))), ("Upgrade", "h2c"))
    # llhttp knows no coding with a tab after it.
    after = {"Transfer-Encoding": st.sampled_from(["", " "])}
    head = "".join(f"{name}:{draw(spaces)}{value}{draw(after.get(name, spaces))}\r\n" for name, value in lines)
    sent = draw(st.sampled_from(["", "", "\r\n"])) + f"{method} {target} HTTP/1.{minor}\r\n{head}\r\n"
    keeps = "close" not in tokens and (minor or "keep-alive" in tokens)
    last = not keeps or (not minor and path == "/stream")
    return Asked(sent.encode("latin-1") + framed, method, path, heard, body, last, expects and minor > 0)


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Into pieces; an empty one is a pause, in which the loop turns."""
    if len(data) < 400 and draw(st.booleans()):
        places = list(range(len(data)))
    else:
        places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    pieces = [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]
    if draw(st.booleans()):
        pieces = [part for piece in pieces for part in (piece, b"")]
    return pieces


def replies(came: bytes, methods: list[str]) -> list[tuple[int, bytes, bool]]:
    """Status, body, and whether the connection ends, by another's reading. Every reply must be whole."""
    heard: list[tuple[int, bytes, bool]] = []
    for method in methods:
        peer = h11.Connection(h11.CLIENT)
        peer.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        peer.send(h11.EndOfMessage())
        peer.receive_data(came)
        status, body, last = 0, b"", False
        while not isinstance(event := peer.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status, last = event.status_code, (b"connection", b"close") in event.headers
                unframed = last and not {b"content-length", b"transfer-encoding"} & {
                    name for name, _ in event.headers
                }
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif event is h11.NEED_DATA:
                assert status, "a reply is not there"
                assert unframed, "a reply is not whole"
                peer.receive_data(b"")
        came = b"" if unframed and method != "HEAD" else bytes(peer.trailing_data[0])
        heard.append((status, body, last))
        if last:
            break
    assert not came
    return heard


@settings(max_examples=150, deadline=None)
@given(data=st.data(), asked=st.lists(requests(early=False), min_size=1, max_size=6))
async def test_where_the_bytes_are_cut_is_no_matter(data: st.DataObject, asked: list[Asked]) -> None:
    sent = b"".join(one.sent for one in asked)
    answered = next((asked[: at + 1] for at, one in enumerate(asked) if one.last), asked)
    runs: list[bytes] = []
    for pieces in ([sent], data.draw(cut(sent))):
        async with room() as here:
            wire = here.connected()
            await told(here, wire, pieces)
            assert wire.came.count(CONTINUE) <= sum(one.expects for one in answered)
            runs.append(wire.came.replace(CONTINUE, b""))
            assert [(one.method, one.path, one.headers) for one in here.app.asked] == [
                (one.method, one.path, one.headers) for one in answered
            ]
            assert (wire.ended or wire.closed) == answered[-1].last
            wire.leaves()
            await here.settled(wire)
            assert wire.closed
            assert here.empty()
    assert runs[0] == runs[1]
    heard = replies(runs[0], [one.method for one in answered])
    assert [last for _, _, last in heard] == [one.last for one in answered]
    assert [(status, body) for status, body, _ in heard] == [
        (200, b"" if one.method == "HEAD" else described(one.method, one.path, one.headers, one.body))
        for one in answered
    ]


@settings(max_examples=100, deadline=None)
@given(data=st.data(), asked=st.lists(requests(), min_size=1, max_size=6))
async def test_what_is_answered_early_is_answered_in_order_all_the_same(
    data: st.DataObject, asked: list[Asked]
) -> None:
    """Some are answered before their bodies have come: then the connection may end sooner, never out of step."""
    sent = b"".join(one.sent for one in asked)
    async with room() as here:
        wire = here.connected()
        await told(here, wire, data.draw(cut(sent)))
        begun = [(one.method, one.path, one.headers) for one in here.app.asked]
        assert begun == [(one.method, one.path, one.headers) for one in asked[: len(begun)]]
        heard = replies(wire.came.replace(CONTINUE, b""), [one.method for one in asked[: len(begun)]])
        assert len(heard) == len(begun)
        assert len(begun) == len(asked) or heard[-1][2]
        for (status, body, _), one in zip(heard, asked, strict=False):
            early = json.dumps("early").encode()
            full = early if one.path == "/early" else described(one.method, one.path, one.headers, one.body)
            assert (status, body) == (200, b"" if one.method == "HEAD" else full)
        await let_go(here, wire)


# -- bytes that are no requests --------------------------------------------------------------------------------------

POISON = [
    b"\x00",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b" ",
    b":",
    b"\xff",
    b"0\r\n\r\n",
    b"fffffffffffffffff\r\n",
    b"content-length: 5\r\n",
    b"content-length: -1\r\n",
    b"transfer-encoding: chunked\r\n",
    b"transfer-encoding: gzip\r\n",
    b"connection: upgrade\r\nupgrade: websocket\r\n",
    b"host: y\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
]
poison = st.sampled_from(POISON) | st.binary(max_size=8)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = b"".join(one.sent for one in draw(st.lists(requests(), min_size=1, max_size=3)))
    for _ in range(draw(st.integers(1, 4))):
        start, length = draw(st.integers(0, len(data))), draw(st.integers(0, 30))
        match draw(st.integers(0, 3)):
            case 0:
                data = data[:start] + draw(poison) + data[start:]
            case 1:
                data = data[:start] + draw(poison) + data[start + length :]
            case 2:
                data = data[:start] + data[start + length :]
            case _:
                data = data[:start] + data[start : start + length] * 2 + data[start + length :]
    return data


class Ending:
    """What the client does when it has sent what it had."""

    async def waits(self, here: Room, wire: Wire) -> None:
        await let_go(here, wire)

    async def leaves(self, here: Room, wire: Wire) -> None:
        wire.leaves()
        await let_go(here, wire)

    async def resets(self, here: Room, wire: Wire) -> None:
        wire.resets()
        await here.settled(wire)
        assert wire.closed
        assert here.empty()


endings = st.sampled_from([Ending().waits, Ending().leaves, Ending().resets])


@settings(max_examples=400, deadline=None)
@given(data=st.data(), sent=mutated() | st.binary(max_size=100), end=endings)
@example(
    data=None, sent=b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", end=Ending().waits
)
async def test_no_bytes_do_harm(data: st.DataObject | None, sent: bytes, end: Callable[[Room, Wire], object]) -> None:
    async with room() as here:
        wire = here.connected()
        await told(here, wire, data.draw(cut(sent)) if data else [sent, b""])
        assert not (wire.ended or wire.closed) or STATUS.search(wire.came.replace(CONTINUE, b"")), "it says why"
        await end(here, wire)  # type: ignore[misc]
        assert len(STATUS.findall(wire.came.replace(CONTINUE, b""))) <= len(here.app.asked) + 1
