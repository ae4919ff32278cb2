"""Requests by hand: what is refused, how, and that a refusal costs neither side a large body."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest

from penstock.core.chat import Call
from penstock.edge.http.listening import Patience
from penstock.observe.prometheus import PROTOBUF
from tests.edge.http.serving import DEADLINE_S, Site, heard, request, site, usual

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
CHAT_PATH = "/v1/chat/completions"


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site(usual, max_body_bytes=100_000, patience=Patience(body_s=0.1, sweep_s=0.05)) as running:
        yield running


MISTAKES: list[tuple[str, object, str, str | None]] = [
    (CHAT_PATH, b"", "invalid_json", None),
    (CHAT_PATH, b"hello", "invalid_json", None),
    (CHAT_PATH, b"[]", "invalid_type", None),
    (CHAT_PATH, b"null", "invalid_type", None),
    (CHAT_PATH, b'{"model":"chat","messages":"\xff"}', "invalid_json", None),
    (CHAT_PATH, b'{"\xff":1}', "invalid_json", None),
    (CHAT_PATH, b'{"model":"ch\x00at"}', "invalid_json", None),
    (CHAT_PATH, b'{"model":"\\ud800"}', "invalid_json", None),
    (CHAT_PATH, b'{"a":' + b"[" * 40_000, "invalid_json", None),
    (CHAT_PATH, b'{"a":' + b"[" * 300 + b"]" * 300 + b"}", "invalid_json", None),
    (CHAT_PATH, {}, "missing_required_parameter", "model"),
    (CHAT_PATH, {"model": "chat"}, "missing_required_parameter", "messages"),
    (CHAT_PATH, CHAT | {"model": 5}, "invalid_type", "model"),
    (CHAT_PATH, CHAT | {"model": ""}, "invalid_value", "model"),
    (CHAT_PATH, CHAT | {"model": "x" * 1000}, "invalid_value", "model"),
    (CHAT_PATH, CHAT | {"messages": []}, "invalid_value", "messages"),
    (CHAT_PATH, CHAT | {"messages": {}}, "invalid_type", "messages"),
    (CHAT_PATH, CHAT | {"messages": [{"role": "user"}, {}]}, "missing_required_parameter", "messages[1].role"),
    (CHAT_PATH, CHAT | {"messages": [*CHAT["messages"], {"role": 5}]}, "invalid_type", "messages[1].role"),
    (CHAT_PATH, CHAT | {"messages": [{"role": "user", "content": 5}]}, "invalid_type", "messages[0].content"),
    (CHAT_PATH, CHAT | {"messages": [{"role": "user", "content": [5]}]}, "invalid_type", "messages[0].content[0]"),
    (CHAT_PATH, CHAT | {"n": 0}, "invalid_value", "n"),
    (CHAT_PATH, CHAT | {"n": 129}, "invalid_value", "n"),
    (CHAT_PATH, CHAT | {"max_tokens": 2**31}, "invalid_value", "max_tokens"),
    (CHAT_PATH, CHAT | {"max_completion_tokens": -1}, "invalid_value", "max_completion_tokens"),
    (CHAT_PATH, CHAT | {"n_predict": 100_000.5}, "invalid_type", "n_predict"),
    (CHAT_PATH, CHAT | {"n_predict": "100000"}, "invalid_type", "n_predict"),
    (CHAT_PATH, CHAT | {"n_cmpl": 1000}, "invalid_value", "n_cmpl"),
    (CHAT_PATH, CHAT | {"best_of": "20"}, "invalid_type", "best_of"),
    (CHAT_PATH, CHAT | {"Max_Tokens": 9, "max_tokens": 1}, "invalid_value", "Max_Tokens"),
    (CHAT_PATH, CHAT | {"MODEL": "dearer"}, "invalid_value", "MODEL"),
    (CHAT_PATH, CHAT | {"\u017ftream": True}, "invalid_value", "\u017ftream"),
    (CHAT_PATH, CHAT | {"tool\u017f": []}, "invalid_value", "tool\u017f"),
    (CHAT_PATH, CHAT | {"models": ["dearer"]}, "unsupported_parameter", "models"),
    ("/v1/completions", {"model": "chat", "prompt": "x", "best_of": 20.0}, "invalid_type", "best_of"),
    (CHAT_PATH, CHAT | {"temperature": "hot"}, "invalid_type", "temperature"),
    (CHAT_PATH, CHAT | {"stream": 1}, "invalid_type", "stream"),
    (CHAT_PATH, CHAT | {"stream_options": True}, "invalid_type", "stream_options"),
    (CHAT_PATH, CHAT | {"tools": [{}]}, "missing_required_parameter", "tools[0].type"),
    (CHAT_PATH, json.dumps(CHAT)[:-1].encode() + b',"temperature":1e999}', "invalid_value", "temperature"),
    (CHAT_PATH, json.dumps(CHAT)[:-1].encode() + b',"seed":' + b"9" * 400 + b"}", "invalid_value", "seed"),
    ("/v1/completions", {"model": "chat"}, "missing_required_parameter", "prompt"),
    ("/v1/completions", {"model": "chat", "prompt": [[]]}, "invalid_value", "prompt[0]"),
    ("/v1/embeddings", {"model": "vectors", "input": []}, "invalid_value", "input"),
    (
        "/v1/embeddings",
        {"model": "vectors", "input": "x", "encoding_format": "hex"},
        "invalid_value",
        "encoding_format",
    ),
    ("/v1/embeddings", {"model": "vectors", "input": "x", "dimensions": 0}, "invalid_value", "dimensions"),
    ("/v1/embeddings", {"model": "vectors", "input": "x", "stream": True}, "unsupported_parameter", "stream"),
]


@pytest.mark.parametrize(("path", "body", "code", "param"), MISTAKES, ids=lambda value: str(value)[:50])
async def test_a_mistake_is_named(here: Site, path: str, body: object, code: str, param: str | None) -> None:
    reply = await here.post(path, body)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)
    message = reply.error["message"] or ""
    assert message.endswith(".")
    assert param is None or param in message
    assert "`" not in message, "no words of our tools"
    assert not here.engine.calls


async def test_choices_are_listed(here: Site) -> None:
    reply = await here.post("/v1/embeddings", {"model": "vectors", "input": "x", "encoding_format": "hex"})
    assert reply.error["message"] == "'encoding_format' must be one of 'base64', 'float', not 'hex'."


async def test_what_we_do_not_own_goes_through_untouched(here: Site) -> None:
    odd = b'{ "model" : "chat", "messages":[ {"role":"user","content":"\\u00e9"} ] ,"logit_bias":{"5": 1e0},"x":1.50}'
    assert (await here.post(CHAT_PATH, odd)).status == 200
    fields = {name: bytes(raw) for name, raw in here.engine.calls[0].fields.items()}
    assert fields["messages"] == b'[ {"role":"user","content":"\\u00e9"} ]'
    assert (fields["logit_bias"], fields["x"]) == (b'{"5": 1e0}', b"1.50")


async def test_what_the_call_says(here: Site) -> None:
    options = {"stream_options": {"include_usage": True, "include_obfuscation": False}, "n": 3, "user": "u"}
    await here.post(CHAT_PATH, CHAT | options | {"stream": True, "max_tokens": 5, "max_completion_tokens": 7})
    await here.post(CHAT_PATH, CHAT | options | {"stream": None, "max_tokens": 0})
    streamed, whole = here.engine.calls
    assert (streamed.stream, streamed.usage_chunk, streamed.choices, streamed.max_tokens) == (True, True, 3, 7)
    assert (whole.stream, whole.usage_chunk, whole.max_tokens, whole.user) == (False, False, 0, "u")
    assert "stream_options" not in whole.fields


# -- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer key"},
        {"authorization": "bearer  key "},
        {"authorization": "", "x_api_key": "key"},
        {"authorization": "", "api_key": "key"},
        {"authorization": "Basic x", "api_key": "key"},
    ],
)
async def test_keys_in_any_header(here: Site, headers: dict[str, str]) -> None:
    assert (await here.post(CHAT_PATH, CHAT, **headers)).status == 200


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Bearer", "key", "Bearer k\xe9y", "Bearer \xff"])
@pytest.mark.parametrize("path", [CHAT_PATH, "/v1/responses", "/v1/models", "/v1/models/chat", "/v1/responses/r"])
async def test_no_key_no_answer(here: Site, authorization: str, path: str) -> None:
    method = "POST" if path in (CHAT_PATH, "/v1/responses") else "GET"
    reply = heard(
        await here.raw(request(method, path, b"{" if method == "POST" else b"", authorization=authorization))
    )
    assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"
    assert "wrong" not in reply.body.decode()


# -- bodies that are too much, or do not come ------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["key", "wrong"])
@pytest.mark.parametrize("chunked", [True, False])
async def test_50_mb_are_refused_without_being_swallowed(here: Site, key: str, chunked: bool) -> None:
    size = 50 << 20
    length = {"transfer_encoding": "chunked", "content_length": ""} if chunked else {"content_length": str(size)}
    head = request("POST", CHAT_PATH, authorization=f"Bearer {key}", connection="", **length)
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    writer.write(head)
    taken = 0

    async def send() -> None:
        nonlocal taken
        piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n" if chunked else b"x" * 0x10000
        while taken < size:
            writer.write(piece)
            await writer.drain()
            taken += 0x10000

    sending = asyncio.create_task(send())
    reply = heard(await asyncio.wait_for(reader.readuntil(b"}}"), DEADLINE_S))
    await asyncio.wait((sending,), timeout=DEADLINE_S)
    assert isinstance(sending.exception(), ConnectionError), "the connection is closed"
    assert (reply.status, reply.error["code"]) == (
        (413, "request_too_large") if key == "key" else (401, "invalid_api_key")
    )
    assert reply.headers["connection"] == "close"
    assert taken < 20 << 20
    writer.close()


async def test_a_body_at_the_limit_is_read(here: Site) -> None:
    text = json.dumps(CHAT)[:-1] + ',"pad":"'
    assert (await here.post(CHAT_PATH, (text + "x" * (100_000 - len(text) - 2) + '"}').encode())).status == 200
    assert (await here.post(CHAT_PATH, (text + "x" * (100_001 - len(text) - 2) + '"}').encode())).status == 413


@pytest.mark.parametrize("sent", [b"", b'{"model"'])
async def test_a_body_that_does_not_come(here: Site, sent: bytes) -> None:
    reply = heard(await here.raw(request("POST", CHAT_PATH, sent, content_length="500")))
    assert (reply.status, reply.error["code"]) == (408, "request_timeout")


async def test_who_waits_for_100_is_not_told_to_go_on_when_refused(here: Site) -> None:
    held = {"expect": "100-continue", "content_length": str(90_000)}
    refused = await here.raw(request("POST", CHAT_PATH, authorization="", **held))
    assert refused.startswith(b"HTTP/1.1 401 ")
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    body = json.dumps(CHAT).encode()
    writer.write(request("POST", CHAT_PATH, expect="100-continue", content_length=str(len(body))))
    assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
    writer.write(body)
    assert b"HTTP/1.1 200 " in await reader.read()
    writer.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "multipart/form-data; boundary=x"},
        {"content_type": "application/json", "content_encoding": "gzip"},
    ],
)
async def test_what_is_not_json_by_its_own_word(here: Site, headers: dict[str, str]) -> None:
    reply = await here.post(CHAT_PATH, CHAT, **headers)
    assert (reply.status, reply.error["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8", "x"]
)
async def test_json_under_another_name(here: Site, kind: str) -> None:
    assert (await here.post(CHAT_PATH, CHAT, content_type=kind)).status == 200


# -- paths, methods, ids ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/v2/models", "/v1/models"),
        ("/", "/openapi.json"),
        ("/v1/files/x/y/z", "/openapi.json"),
    ],
)
async def test_an_unknown_path_names_the_nearest(here: Site, path: str, near: str) -> None:
    reply = await here.get(path)
    assert (reply.status, reply.error["code"]) == (404, "unknown_url")
    assert near in (reply.error["message"] or "")


async def test_methods(here: Site) -> None:
    reply = await here.get(CHAT_PATH, "PUT")
    assert (reply.status, reply.error["code"], reply.headers["allow"]) == (405, "method_not_allowed", "OPTIONS, POST")
    options = await here.get("/v1/models", "OPTIONS")
    assert (options.status, options.headers["allow"], options.body) == (204, "GET, HEAD, OPTIONS", b"")
    head = await here.get("/healthz", "HEAD")
    assert (head.status, head.headers["content-length"], head.body) == (200, "15", b"")
    assert (await here.get("/v1/models/", "GET")).status == 200, "a slash at the end is forgiven"


async def test_models_with_slashes(here: Site) -> None:
    for path in ("/v1/models/org/model", "/v1/models/org%2Fmodel"):
        assert json.loads((await here.get(path)).body)["id"] == "org/model"
    listed = json.loads((await here.get("/v1/models")).body)
    assert listed["object"] == "list"
    assert listed["data"][0]["description"] == "Talks."


@pytest.mark.parametrize("given", ["abc-1", "x" * 128, '{}[]"!~'])
async def test_a_sane_request_id_is_kept(here: Site, given: str) -> None:
    reply = await here.post(CHAT_PATH, CHAT, x_request_id=given)
    assert reply.headers["x-request-id"] == given
    assert json.loads(reply.body)["id"] == "chatcmpl-" + given
    assert (await here.logged())[0].request_id == given


@pytest.mark.parametrize("given", ["", " ", "x" * 129, "a b", "\xe9", "a\tb"])
@pytest.mark.parametrize("path", [CHAT_PATH, "/nowhere"])
async def test_another_request_id_is_made(here: Site, given: str, path: str) -> None:
    reply = await here.post(path, CHAT, x_request_id=given)
    assert re.fullmatch(r"req_[0-9a-f]{24}", reply.headers["x-request-id"])


async def test_junk_before_any_request(here: Site) -> None:
    for junk in (b"\x16\x03\x01\x00\xa5", b"GET / HTTP/1.1\r\nx\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n"):
        reply = heard(await here.raw(junk + b"\r\n\r\n"))
        assert (reply.status, reply.error["code"]) == (400, "bad_request")
    long = heard(await here.raw(request("GET", "/healthz", x_pad="x" * 70_000)))
    assert (long.status, long.error["code"]) == (431, "headers_too_large")
    assert (await here.get("/healthz")).status == 200


@pytest.mark.parametrize("split", [1, 60, 150, 10_000])
async def test_a_wish_for_another_protocol_is_ignored(here: Site, split: int) -> None:
    """As Java's HTTP client sends it on every plain connection."""
    wish = {"upgrade": "h2c", "connection": "Upgrade, HTTP2-Settings", "http2_settings": "AAEAAEAAAAIAAAAA"}
    sent = request("POST", CHAT_PATH, json.dumps(CHAT).encode(), **wish)
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    for _ in range(3):
        writer.write(sent[:split])
        await writer.drain()
        writer.write(sent[split:])
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert b"Hello there" in await reader.readuntil(b'"total_tokens": 10}}')
    writer.close()
    proxied = heard(await here.raw(b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n"))
    assert (proxied.status, proxied.error["code"]) == (400, "bad_request")


async def test_a_fault_of_ours_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    def script(call: Call) -> BaseException:
        return KeyError("secret")

    async with site(script) as here:
        for stream in (True, False):
            reply = await here.post(CHAT_PATH, CHAT | {"stream": stream})
            assert (reply.status, reply.error["code"]) == (500, "internal_error")
            assert reply.headers["x-request-id"] in (reply.error["message"] or "")
            assert "secret" not in reply.body.decode()
            assert reply.headers["x-should-retry"] == "false"
    assert caplog.text.count("KeyError: 'secret'") == 2


# -- what is not the API ---------------------------------------------------------------------------------------------


async def test_health_needs_no_key(here: Site) -> None:
    assert json.loads((await here.get("/healthz", authorization="")).body) == {"status": "ok"}
    ready = await here.get("/readyz", authorization="")
    assert ready.status == 200
    assert json.loads(ready.body)["services"] == {
        "chat": "ready",
        "vectors": "ready",
        "down": "starting",
        "*": "ready",
    }
    metrics = await here.get("/metrics", authorization="")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    native = await here.get("/metrics", authorization="", accept=PROTOBUF)
    assert native.headers["content-type"] == PROTOBUF


async def test_the_access_log_and_the_counter(here: Site) -> None:
    await here.post(CHAT_PATH + "?api_key=secret", CHAT)
    await here.post(CHAT_PATH, CHAT | {"model": 5})
    await here.get("/nowhere")
    good, bad, lost = await here.logged(3)
    assert (good.status, good.key, good.project, good.asked, good.service) == (200, "k1", "default", "chat", "chat")
    assert (good.model, good.prompt_tokens, good.completion_tokens, good.attempts) == ("m", 7, 3, 1)
    assert (good.method, good.path, good.client) == ("POST", CHAT_PATH, "127.0.0.1")
    assert (bad.status, bad.code, lost.code) == (400, "invalid_type", "unknown_url")
    assert here.samples.total("penstock_http_responses", CHAT_PATH, "200") == 1
    assert here.samples.total("penstock_http_responses", "unknown", "404") == 1
