"""Bodies that are junk: each gets a 4xx in OpenAI's shape that names fault and mend, and the server goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.e2e.rawhttp import Reply, exchange, request
from tests.e2e.running import Penstock, running

DEPLOYMENT = json.dumps({"models": {"scripted": {"engine": "fake"}}, "services": {"scripted": {"model": "scripted"}}})
GOOD = {
    "/v1/chat/completions": {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}]},
    "/v1/completions": {"model": "scripted", "prompt": "Hi"},
    "/v1/embeddings": {"model": "scripted", "input": "Hi"},
    "/v1/responses": {"model": "scripted", "input": "Hi"},
}
LIMIT = 16 << 20
NOT_OBJECTS = {
    "nothing": b"",
    "white space": b"  \r\n\t ",
    "words": b"hello",
    "half an object": b'{"model": "scripted", "mess',
    "a trailing comma": b'{"model": "scripted",}',
    "single quotes": b"{'model': 'scripted'}",
    "two objects": b'{"model": "scripted"}{"model": "scripted"}',
    "an array": b'[{"model": "scripted"}]',
    "a string": b'"scripted"',
    "null": b"null",
    "a number": b"1e400",
    "a form": b"model=scripted&messages=Hi",
    "html": b"<html></html>",
    "broken utf-8": b'{"model": "\xff\xfe"}',
    "a cut utf-8 sequence": b'{"model": "scripted\xe2\x82"}',
    "utf-16": '{"model": "scripted"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"model": "scripted"}',
    "NUL bytes": b"\x00" * 64,
    "a NUL in a string": b'{"model": "scripted\x00"}',
    "gzip": b"\x1f\x8b\x08\x00" + b"\x00" * 32,
    "100,000 brackets": b"[" * 100_000,
    "100,000 braces": b'{"a":' * 100_000,
    "deep and closed": b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a lone surrogate": b'{"model": "\\ud800"}',
    "NaN": b'{"model": NaN}',
}
WRONG: list[tuple[str, dict[str, object]]] = [
    ("model", {"model": 5}),
    ("model", {"model": None}),
    ("model", {"model": ["scripted"]}),
    ("model", {"model": ""}),
    ("model", {"model": "scripted\x00"}),
    ("model", {"model": "no such service"}),
    ("model", {"model": "x" * 100_000}),
    ("stream", {"stream": "yes"}),
    ("stream", {"stream": 1}),
    ("stream", {"stream": {}}),
]
WRONG_CHAT: list[tuple[str, dict[str, object]]] = [
    ("messages", {"messages": 5}),
    ("messages", {"messages": "Hi"}),
    ("messages", {"messages": None}),
    ("messages", {"messages": {}}),
    ("n", {"n": 0}),
    ("n", {"n": -1}),
    ("n", {"n": "1"}),
    ("n", {"n": 1.5}),
    ("n", {"n": 2**200}),
    ("n", {"n": 2**31}),
    ("stream_options", {"stream": True, "stream_options": 5}),
    ("stream_options", {"stream": True, "stream_options": "include_usage"}),
    ("max_tokens", {"max_tokens": "many"}),
    ("max_tokens", {"max_tokens": -5}),
    ("max_tokens", {"max_tokens": 2**200}),
]
STRANGE: list[dict[str, object]] = [
    {"messages": []},
    {"messages": [5]},
    {"messages": [None]},
    {"messages": [[]]},
    {"messages": [{}]},
    {"messages": [{"role": "user"}]},
    {"messages": [{"role": 5, "content": "Hi"}]},
    {"messages": [{"role": "user", "content": 5}]},
    {"messages": [{"role": "user", "content": [5]}]},
    {"messages": [{"role": "user", "content": [{"type": "nonsense"}]}]},
    {"messages": [{"role": "user", "content": "\ud800"}]},
    {"messages": [{"role": "user", "content": "\x00"}]},
    {"temperature": 2**200},
    {"temperature": "hot"},
    {"seed": 2**200},
    {"stop": [1, 2]},
    {"stop": ["x"] * 10_000},
    {"tools": 5},
    {"tools": [{}]},
    {"tool_choice": {"type": "function"}},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#"}}}},
    {"logprobs": "yes", "top_logprobs": 10**9},
    {"user": 5},
    {"stream_options": None},
    {"": ""},
    {"x" * 10_000: "x"},
    {"metadata": {str(number): number for number in range(10_000)}},
]


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    with running(DEPLOYMENT) as penstock:
        yield penstock
        assert "Traceback" not in penstock.said()


@pytest.fixture(autouse=True)
def goes_on(server: Penstock) -> Iterator[None]:
    """After each piece of junk the server still answers."""
    yield
    assert send(server, GOOD["/v1/chat/completions"]).status == 200


def send(server: Penstock, body: object, path: str = "/v1/chat/completions") -> Reply:
    return exchange(server, request(server, json.dumps(body).encode(), path=path))


def refused(reply: Reply, status: int | range = 400) -> dict[str, str | None]:
    """The error of a reply that must be one: an object whose message tells a person what to do."""
    assert reply.status in (status if isinstance(status, range) else (status,)), reply
    assert "application/json" in reply.headers
    assert "x-request-id: " in reply.headers
    error = reply.error()
    assert error["code"]
    assert error["message"]
    assert len(error["message"]) < 2000
    assert "Traceback" not in error["message"]
    return error


@pytest.mark.parametrize("path", GOOD)
def test_what_is_good_is_served(server: Penstock, path: str) -> None:
    assert send(server, GOOD[path], path).status == 200


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize("body", NOT_OBJECTS.values(), ids=NOT_OBJECTS)
def test_what_is_no_object(server: Penstock, path: str, body: bytes) -> None:
    refused(exchange(server, request(server, body, path=path)), range(400, 405))


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize(("param", "change"), WRONG, ids=str)
def test_a_wrong_member(server: Penstock, path: str, param: str, change: dict[str, object]) -> None:
    error = refused(send(server, GOOD[path] | change, path), range(400, 405))
    assert error["param"] == param


@pytest.mark.parametrize(("param", "change"), WRONG_CHAT, ids=str)
def test_a_wrong_member_of_a_chat(server: Penstock, param: str, change: dict[str, object]) -> None:
    error = refused(send(server, GOOD["/v1/chat/completions"] | change))
    assert error["param"] == param


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize("number", [b"1e400", b"-1e400", b"9" * 5000, b"1e-400", b"0." + b"1" * 5000])
@pytest.mark.parametrize("member", [b"n", b"temperature", b"max_tokens", b"model", b"unheard_of"])
def test_huge_numbers(server: Penstock, path: str, number: bytes, member: bytes) -> None:
    good = json.dumps(GOOD[path]).encode()
    reply = exchange(server, request(server, good[:-1] + b', "' + member + b'": ' + number + b"}", path=path))
    assert reply.status == 200 or refused(reply, range(400, 405))


@pytest.mark.parametrize("change", STRANGE, ids=lambda change: str(change)[:60])
@pytest.mark.parametrize("stream", [False, True])
def test_what_an_engine_must_judge(server: Penstock, change: dict[str, object], stream: bool) -> None:
    """Fields that go through untouched: the engine takes them or refuses them, and nothing breaks."""
    reply = send(server, GOOD["/v1/chat/completions"] | {"stream": stream} | change)
    assert reply.status == 200 or refused(reply)


@pytest.mark.parametrize("member", ["model", "messages"])
def test_a_missing_member_is_named(server: Penstock, member: str) -> None:
    body = {name: value for name, value in GOOD["/v1/chat/completions"].items() if name != member}
    error = refused(send(server, body))
    assert error["param"] == member
    assert member in (error["message"] or "")


@pytest.mark.parametrize("size", [LIMIT + 1, 50 << 20])
@pytest.mark.parametrize("chunked", [False, True])
def test_more_than_the_limit(server: Penstock, size: int, chunked: bool) -> None:
    body = b'{"model": "scripted", "pad": "' + b"x" * size
    if chunked:
        head = request(server).replace(b"content-length: 0", b"transfer-encoding: chunked")
        piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        reply = exchange(server, head, *[piece] * (size // 0x10000 + 1), b"0\r\n\r\n")
    else:
        reply = exchange(server, request(server, b"", length=len(body)), body)
    error = refused(reply, 413)
    assert "16" in (error["message"] or ""), "the limit is told"


def test_a_body_at_the_limit_is_read(server: Penstock) -> None:
    body = json.dumps(GOOD["/v1/chat/completions"])[:-1] + ', "pad": "'
    body += "x" * (LIMIT - len(body) - 2) + '"}'
    assert len(body) == LIMIT
    assert exchange(server, request(server, body.encode())).status == 200
