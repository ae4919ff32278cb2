"""An upstream that counts for itself: OpenAI's wire, a word is a token, and each attempt leaves what it came to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
from dataclasses import dataclass, field

WORD_S = 0.004
WAIT_S = 10.0


@dataclass
class Attempt:
    """``prompt`` and ``completion`` in tokens, as far as it got; ``whole`` when the last byte was written."""

    prompt: int
    completion: int = 0
    whole: bool = False


@dataclass
class Counting:
    """A server in a thread of its own. ``attempts`` by the first word of the prompt, which names the request."""

    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    url: str = ""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _talks: set[asyncio.Task[None]] = field(default_factory=set)

    def __enter__(self) -> Counting:
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._connected, "127.0.0.1", 0), self._loop
        ).result(WAIT_S)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(WAIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        for task in tuple(self._talks):
            task.cancel()
        if self._talks:
            await asyncio.wait(self._talks)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    if head.startswith(b"get "):
                        writer.write(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")
                        continue
                    length = next(
                        int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")
                    )
                    await self._answer(writer, json.loads(await reader.readexactly(length)))
        finally:
            self._talks.discard(task)
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, asked: dict[str, object]) -> None:
        messages = asked["messages"]
        assert isinstance(messages, list)
        words = " ".join(each["content"] for each in messages).split()
        attempt = Attempt(len(words))
        self.attempts.setdefault(words[0], []).append(attempt)
        most = int(str(asked["max_tokens"]))
        length = random.randint(1, most)
        stream = bool(asked.get("stream"))
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk" if stream else "chat.completion", "created": 1,
                "model": "mock"}  # fmt: skip
        if stream:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for number in range(length):
            await asyncio.sleep(WORD_S)  # pace: a model's
            if writer.is_closing():
                raise ConnectionResetError
            attempt.completion += 1
            if stream:
                finish = "stop" if number == length - 1 else None
                choice = {"index": 0, "delta": {"content": "word "}, "finish_reason": finish}
                _event(writer, {**base, "choices": [choice]})
                await writer.drain()
        usage = {
            "prompt_tokens": attempt.prompt,
            "completion_tokens": attempt.completion,
            "total_tokens": attempt.prompt + attempt.completion,
        }
        if stream:
            _event(writer, {**base, "choices": [], "usage": usage})
            data = b"data: [DONE]\n\n"
            writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))
        else:
            message = {"role": "assistant", "content": "word " * attempt.completion}
            body = json.dumps(
                {**base, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
            ).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )
        await writer.drain()
        attempt.whole = True


def _event(writer: asyncio.StreamWriter, chunk: dict[str, object]) -> None:
    data = b"data: " + json.dumps(chunk).encode() + b"\n\n"
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))
