"""The real application over a real socket, with the real gateway behind it; only the engine is scripted."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from penstock.access.limits import Rules
from penstock.core.accounts import Directory
from penstock.core.chat import Call, Kind
from penstock.core.clock import SystemClock
from penstock.core.errors import PenstockError
from penstock.core.identity import Principal
from penstock.core.policy import Priority
from penstock.core.serving import Deployment, Model, Replica, Service
from penstock.edge.http.access import AccessLine
from penstock.edge.http.app import App, Console
from penstock.edge.http.config import Drain, ServerSettings
from penstock.edge.http.feedback import Disown
from penstock.edge.http.listening import Patience
from penstock.edge.http.server import serve
from penstock.gateway.chat import Gateway
from penstock.gateway.prepare import Preparing
from penstock.gateway.settle import Settling
from penstock.gateway.snapshot import Keyring, Snapshot
from penstock.observe.prometheus import Exposed, exposed
from penstock.observe.totals import Report
from penstock.routing.places import LocalPlaces
from penstock.routing.traffic import Traffic
from tests.gateway.doubles import (
    NoPrices,
    OneKey,
    Records,
    Samples,
    ScriptedUpstream,
    Step,
    reserving,
    trials,
    unlearned,
)

DEADLINE_S = 10.0
K1 = Principal(key_id="k1", project="default", role="owner", permissions=frozenset({"call"}), priority=Priority.HIGH)
Answer = Sequence[Step] | BaseException
Script = Callable[[Call], Answer]


class Engine:
    """Answers each call by ``script``; keeps what it was asked and every upstream it opened."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.calls: list[Call] = []
        self.upstreams: list[ScriptedUpstream] = []
        self.hold: asyncio.Event | None = None
        self.held = 0
        self.cancelled = 0

    async def start(self, call: Call, replica: Replica, *, connect_s: float | None = None) -> ScriptedUpstream:
        self.calls.append(call)
        if self.hold is not None:
            self.held += 1
            try:
                await self.hold.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        answer = self.script(call)
        if isinstance(answer, BaseException):
            raise answer
        self.upstreams.append(ScriptedUpstream(answer))
        return self.upstreams[-1]

    def closed(self) -> bool:
        return all(upstream.closed for upstream in self.upstreams)


class Site:
    """One server under test."""

    def __init__(self, engine: Engine, port: int, samples: Samples, lines: list[AccessLine]) -> None:
        self.engine = engine
        self.port = port
        self.samples = samples
        self.lines = lines
        self.journal = Records()
        self.stopped: asyncio.Future[Drain] = asyncio.get_running_loop().create_future()
        self.app: App
        self.serving: asyncio.Task[None]
        self.url = f"http://127.0.0.1:{port}"

    def stop(self, announce_s: float = 0.0, limit_s: float = 2.0) -> None:
        """Idempotent."""
        if not self.stopped.done():
            self.stopped.set_result(Drain(announce_s=announce_s, limit_s=limit_s))

    async def logged(self, count: int = 1) -> list[AccessLine]:
        """The lines of the access log, once there are ``count``: one is written after its reply has gone out."""
        await until(lambda: len(self.lines) >= count)
        assert len(self.lines) == count
        return self.lines

    async def raw(self, sent: bytes) -> bytes:
        """Sends bytes on a connection of its own and gives everything that comes back until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(sent)
            return await asyncio.wait_for(reader.read(), DEADLINE_S)
        finally:
            writer.close()

    async def post(self, path: str, body: object, **headers: str) -> Heard:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return heard(await self.raw(request("POST", path, text, **headers)))

    async def get(self, path: str, method: str = "GET", **headers: str) -> Heard:
        return heard(await self.raw(request(method, path, **headers)))


class Heard:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def error(self) -> dict[str, str | None]:
        found = json.loads(self.body)["error"]
        assert set(found) == {"message", "type", "param", "code"}
        return dict(found)


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """``headers`` by name, underscores for dashes; an empty value leaves the default one out."""
    given = {"authorization": "Bearer key", "host": "x", "connection": "close"}
    if method == "POST":
        given["content-length"] = str(len(body))
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in given.items() if value]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1") + body


def heard(read: bytes) -> Heard:
    head, _, body = read.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body, rest = b"", body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            body, rest = body + rest[:length], rest[length + 2 :]
    return Heard(int(first.split(" ")[1]), headers, body)


def deployment(more: Sequence[Service] = ()) -> Deployment:
    return Deployment(
        version=1,
        models={"m": Model("m", "scripted", "m", b"")},
        services={
            "chat": Service("chat", ("m",), ("gpt-4o", "org/model"), 1_700_000_000, "Talks."),
            "vectors": Service("vectors", ("m",), (), 1_700_000_000),
            "down": Service("down", ("gone",)),
            "*": Service("*", ("m",)),
            **{each.name: each for each in more},
        },
        replicas={"m": (Replica("m-0", "m", "http://up"),)},
    )


async def _page(accept: str) -> Exposed:
    return exposed((), Report(), {}, accept)


@asynccontextmanager
async def site(
    script: Script,
    *,
    patience: Patience = Patience(),  # noqa: B008 - frozen
    max_body_bytes: int = 1 << 20,
    settings: ServerSettings = ServerSettings(),  # noqa: B008 - frozen
    services: Sequence[Service] = (),
    keyring: Keyring | None = None,
    console: Callable[[Callable[[], Snapshot]], Console] | None = None,
    disown: Disown | None = None,
) -> AsyncIterator[Site]:
    engine, samples, lines = Engine(script), Samples(), list[AccessLine]()
    sock = socket.create_server(("127.0.0.1", 0))
    here = Site(engine, sock.getsockname()[1], samples, lines)
    snapshot = Snapshot(deployment(services), {"m": engine}, keyring or OneKey(K1), Rules(Directory()), NoPrices())
    clock = SystemClock()
    gateway = Gateway(
        snapshots=lambda: snapshot,
        traffic=Traffic(clock, random.Random(1)),
        places=LocalPlaces(clock),
        reserving=reserving(clock),
        settle=Settling(clock, samples),
        doors=lambda: None,
        learn=unlearned,
        clock=clock,
        prepare=Preparing(),
        trials=trials(clock, here.journal),
    )
    app = App(
        gateway,
        max_body_bytes=max_body_bytes,
        meter=samples,
        render=_page,
        log_line=lambda line: lines.append(line) if isinstance(line, AccessLine) else None,
        console=None if console is None else console(lambda: snapshot),
        disown=disown,
    )
    here.app = app
    before = asyncio.all_tasks()
    here.serving = asyncio.create_task(serve(app, sock, stop=here.stopped, settings=settings, patience=patience))
    try:
        yield here
    finally:
        here.stop()
        if not here.serving.cancelled():
            await asyncio.wait_for(here.serving, DEADLINE_S)
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        assert not left, left


async def until(true: Callable[[], object]) -> None:
    """Polls, with a deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def chunk(text: str | None = None, finish: str | None = None, **delta: object) -> bytes:
    said = delta if text is None else {"content": text, **delta}
    choice = {"index": 0, "delta": said, "finish_reason": finish, "logprobs": None}
    return json.dumps(
        {"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "theirs", "choices": [choice]}
    ).encode()


USED = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
USAGE = json.dumps(
    {"id": "up", "object": "chat.completion.chunk", "created": 1, "model": "theirs", "choices": [], "usage": USED}
).encode()
STREAM: list[Step] = [
    [chunk(role="assistant", content="")],
    [chunk("Hello"), chunk(" there")],
    [chunk(finish="stop"), USAGE],
]


def whole(finish: str = "stop", **message: object) -> bytes:
    said = {"role": "assistant", "content": "Hello there", "refusal": None, **message}
    choice = {"index": 0, "message": said, "finish_reason": finish, "logprobs": None}
    return json.dumps(
        {
            "id": "up",
            "object": "chat.completion",
            "created": 1,
            "model": "theirs",
            "choices": [choice],
            "usage": USED,
        }
    ).encode()


def text_completion() -> bytes:
    choice = {"index": 0, "text": " there", "finish_reason": "stop", "logprobs": None}
    return json.dumps(
        {"id": "up", "object": "text_completion", "created": 1, "model": "theirs", "choices": [choice], "usage": USED}
    ).encode()


def vectors(*embeddings: list[float] | str) -> bytes:
    data = [{"object": "embedding", "index": i, "embedding": e} for i, e in enumerate(embeddings)]
    used = {"prompt_tokens": 2, "total_tokens": 2}
    return json.dumps({"object": "list", "model": "theirs", "data": data, "usage": used}).encode()


def usual(call: Call) -> Answer:
    """What a working engine says to anything."""
    match call.kind:
        case Kind.CHAT:
            return STREAM if call.stream else [[whole()]]
        case Kind.COMPLETION:
            return [[text_completion()], *([[USAGE]] if call.stream else [])]
        case Kind.EMBEDDING:
            return [[vectors([0.5, -1.0])]]


def failing(error: PenstockError) -> Script:
    return lambda _: error
