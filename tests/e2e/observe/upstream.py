"""An upstream that does what it is asked to: OpenAI's wire, and the prompt says how long it takes and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator, Sequence

WAIT_S = 10.0


@contextlib.contextmanager
def scripted(says: str = "") -> Iterator[str]:
    """Its base URL. A prompt is JSON: ``first_s`` until the first token, ``rest_s`` for the others, ``tokens``, and
    ``status``, of which any but 200 is an error that comes after ``first_s``. With ``says`` it is anything, and the
    answer this, a word at a time."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    talks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while head := (await reader.readuntil(b"\r\n\r\n")).lower():
                    lengths = (each[15:] for each in head.split(b"\r\n") if each.startswith(b"content-length:"))
                    body = await reader.readexactly(int(next(lengths, 0)))
                    if body:
                        await _answer(writer, json.loads(body), says.split())
                    else:
                        _whole(writer, 404, {"error": {"message": "nothing here"}})
        finally:
            talks.discard(task)
            writer.close()

    async def close() -> None:
        server.close()
        for task in tuple(talks):
            task.cancel()
        if talks:
            await asyncio.wait(talks)

    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(connected, "127.0.0.1", 0), loop).result(WAIT_S)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result(WAIT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)
        loop.close()


async def _answer(writer: asyncio.StreamWriter, asked: dict[str, object], says: Sequence[str]) -> None:
    messages = asked["messages"]
    assert isinstance(messages, list)
    script = {"first_s": 0.05, "rest_s": 0.4, "tokens": len(says), "status": 200}
    if not says:
        script = json.loads(messages[-1]["content"])
    await asyncio.sleep(script["first_s"])  # pace: the prompt is read
    if script["status"] != 200:
        _whole(writer, script["status"], {"error": {"message": "as scripted", "type": "server_error", "code": "x"}})
        return
    tokens = script["tokens"]
    words = [f"{word} " for word in says or ["word"] * tokens]
    words[-1] = words[-1].rstrip()
    usage = {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens}
    base = {"id": "chatcmpl-1", "created": 1, "model": "mock"}
    if not asked.get("stream"):
        await asyncio.sleep(script["rest_s"])  # pace: the rest is made
        message = {"role": "assistant", "content": "".join(words)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        _whole(writer, 200, {**base, "object": "chat.completion", "choices": [choice], "usage": usage})
        return
    base["object"] = "chat.completion.chunk"
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    for number in range(tokens):
        finish = "stop" if number == tokens - 1 else None
        choice = {"index": 0, "delta": {"content": words[number]}, "finish_reason": finish}
        _event(writer, json.dumps({**base, "choices": [choice]}))
        await writer.drain()
        if finish is None:
            await asyncio.sleep(script["rest_s"] / (tokens - 1))  # pace: a token is made
    _event(writer, json.dumps({**base, "choices": [], "usage": usage}))
    _event(writer, "[DONE]")
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def _event(writer: asyncio.StreamWriter, data: str) -> None:
    event = f"data: {data}\n\n".encode()
    writer.write(b"%x\r\n%s\r\n" % (len(event), event))


def _whole(writer: asyncio.StreamWriter, status: int, said: dict[str, object]) -> None:
    body = json.dumps(said).encode()
    head = b"HTTP/1.1 %d Said\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
    writer.write(head + body)
