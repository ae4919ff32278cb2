"""An upstream that says what it was asked: its answer is JSON of the model, the system message and the temperature."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

WAIT_S = 10.0


def said(asked: dict[str, Any]) -> str:
    """What it answers by itself."""
    messages = asked["messages"]
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    return json.dumps({"model": asked["model"], "system": system, "temperature": asked.get("temperature")})


@dataclass
class Echo:
    """A server in a thread of its own. ``answer`` makes the text of an answer, or raises ``web.HTTPException``;
    ``asked`` counts requests by model."""

    answer: Callable[[dict[str, Any]], str] = said
    pace_s: float = 0.0
    asked: dict[str, int] = field(default_factory=dict)
    url: str = ""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)

    def __enter__(self) -> Echo:
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._runner, port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(WAIT_S)
        self.url = f"http://127.0.0.1:{port}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(WAIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT_S)
        self._loop.close()

    async def _start(self) -> tuple[web.AppRunner, int]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner, runner.addresses[0][1]

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": []})

    async def _chat(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.asked[asked["model"]] = self.asked.get(asked["model"], 0) + 1
        if self.pace_s:
            await asyncio.sleep(self.pace_s)  # pace: a model's
        text = self.answer(asked)
        usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
        message = {"role": "assistant", "content": text}
        return web.json_response(
            {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": asked["model"], "usage": usage,
             "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        )  # fmt: skip
