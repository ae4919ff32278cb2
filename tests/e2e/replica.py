"""A replica that needs no weights: llama.cpp's wire from a child process, as a substrate starts it.

``python -m tests.e2e.replica up ...`` is ``penstock`` with these in place of llama.cpp; ``... child`` is one of them.
A model's ``context`` is what its replicas say, so that a test can tell the settings that an answer came from, and
``weights: file:/broken`` is a model that cannot be loaded.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from penstock.core.serving import Launch
from penstock.edge.cli.main import main
from penstock.engines.llamacpp import LlamaCpp
from penstock.engines.llamacpp_settings import Order

LOAD_S = 0.2
WORDS = 5
WORD_S = 0.02


async def _serve(order: Order) -> None:
    said = f"from {order.settings.context}"
    word_s = float(order.settings.params.get("word_s", WORD_S))
    words = int(order.settings.params.get("words", WORDS))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, path, _ = head.split(b"\r\n", 1)[0].split(b" ")
                length = next(
                    (int(h[15:]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:")), 0
                )
                body = await reader.readexactly(length)
                if path == b"/health":
                    writer.write(_whole({"status": "ok"}))
                elif method == b"GET":
                    writer.write(_whole({"error": {"code": 404, "message": "nothing here", "type": "x"}}, b"404 No"))
                elif order.key.encode() not in head:
                    writer.write(
                        _whole({"error": {"code": 401, "message": "Invalid API Key", "type": "x"}}, b"401 No")
                    )
                else:
                    assert method == b"POST", method
                    assert json.loads(body)["stream"], "the gateway always asks for a stream"
                    await _answer(writer, said, words, word_s)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"base_url": f"http://127.0.0.1:{port}/v1"}), flush=True)
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(0, lambda: os.read(0, 4096) or gone.set())
    await gone.wait()
    os._exit(0)


async def _answer(writer: asyncio.StreamWriter, said: str, words: int, word_s: float) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    _event(writer, {"choices": [_choice({"role": "assistant", "content": None})]})
    for word in [said, *(f" {number}" for number in range(words - 1))]:
        _event(writer, {"choices": [_choice({"content": word})]})
        await writer.drain()
        await asyncio.sleep(word_s)  # pace: the time that a word takes
    _event(writer, {"choices": [_choice({}, "stop")]})
    usage = {"prompt_tokens": 3, "completion_tokens": words, "total_tokens": 3 + words}
    _event(writer, {"choices": [], "usage": usage})
    _chunk(writer, b"data: [DONE]\n\n")
    writer.write(b"0\r\n\r\n")


def _choice(delta: Mapping[str, object], finish: str | None = None) -> Mapping[str, object]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def _event(writer: asyncio.StreamWriter, more: Mapping[str, object]) -> None:
    common = {"id": "chatcmpl-r", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    _chunk(writer, b"data: " + json.dumps({**more, **common}).encode() + b"\n\n")


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


def _whole(value: object, status: bytes = b"200 OK") -> bytes:
    body = json.dumps(value).encode()
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        status,
        len(body),
        body,
    )


async def _child() -> None:
    order = msgspec.json.decode(await asyncio.to_thread(sys.stdin.buffer.readline), type=Order)
    await asyncio.sleep(LOAD_S)  # pace: what loading takes
    if "broken" in order.weights:
        print(json.dumps({"error": "llama.cpp cannot load it; check that the weights are whole"}), flush=True)
        return
    await _serve(order)


def _launch(engine: LlamaCpp, weights: Path) -> Launch:
    launch = _real(engine, weights)
    return msgspec.structs.replace(launch, argv=(sys.executable, "-m", "tests.e2e.replica", "child"))


_real = LlamaCpp.launch

if __name__ == "__main__":
    if sys.argv[1:] == ["child"]:
        asyncio.run(_child())
    else:
        LlamaCpp.launch = _launch  # type: ignore[method-assign]
        sys.exit(main())
