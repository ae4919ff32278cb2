"""Gateways under test, and clients that know which worker they speak to."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from penstock.core.usage import Entry, UsageQuery
from penstock.store.database import open_database
from penstock.store.ledger import SqlLedger
from tests.e2e.running import Penstock, running, wait_until
from tests.postgres import Postgres
from tests.postgres import running as postgres_running
from tests.redis import RedisServer

PEPPER = base64.b64encode(b"k" * 32).decode()
REPLY_S = 30.0
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Answer:
    """``status`` 0: the connection was closed without one. Header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """That of the error, which the body must be."""
        return str(self.json["error"]["code"])


class Wire:
    """One connection that is kept: every request on it goes to the same worker."""

    def __init__(self, server: Penstock, key: str = "") -> None:
        address = urlsplit(server.url)
        assert address.hostname is not None
        assert address.port is not None
        self._key = key
        self._port = address.port
        self._socket = socket.create_connection((address.hostname, address.port), timeout=REPLY_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = b""

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """``key`` None: the wire's own. ``body`` is sent as JSON, bytes as they are."""
        try:
            self.send(method, path, body, key, headers)
            return self._answer()
        except ConnectionError:
            return Answer(0, {}, b"")

    def send(
        self, method: str, path: str, body: object, key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """The same, without waiting for the answer."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "host: penstock", f"content-length: {len(data)}"]
        if data:
            lines.append("content-type: application/json")
        if presented := self._key if key is None else key:
            lines.append(f"authorization: Bearer {presented}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + data)

    def get(self, path: str, key: str | None = None) -> Answer:
        return self.ask("GET", path, key=key)

    def post(self, path: str, body: object = None, key: str | None = None, **headers: str) -> Answer:
        """Headers are named with ``_`` for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", path, body, key=key, headers=named)

    def chat(self, key: str | None = None, **fields: object) -> Answer:
        """A short request for the model ``quick``."""
        asked = {"model": "quick", "max_tokens": 5, "messages": [{"role": "user", "content": "Hello"}]}
        return self.post("/v1/chat/completions", asked | fields, key)

    def worker(self, server: Penstock) -> int:
        """The process that holds the other end."""
        own = f":{self._socket.getsockname()[1]:04X}"
        there = f":{self._port:04X}"
        inode = None
        with open("/proc/net/tcp") as table:
            for line in table:
                fields = line.split()
                if fields[1].endswith(there) and fields[2].endswith(own):
                    inode = fields[9]
        assert inode is not None
        for pid in workers(server):
            with contextlib.suppress(OSError):
                for fd in os.listdir(f"/proc/{pid}/fd"):
                    with contextlib.suppress(OSError):
                        if os.readlink(f"/proc/{pid}/fd/{fd}") == f"socket:[{inode}]":
                            return pid
        raise AssertionError("no worker holds the connection")

    def close(self) -> None:
        self._socket.close()

    def _answer(self) -> Answer:
        while b"\r\n\r\n" not in self._read:
            if not self._more():
                return Answer(0, {}, self._read)
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            body = self._chunks()
        else:
            body = self._exactly(int(headers.get("content-length", "0")))
        return Answer(int(first.split(" ")[1]), headers, body)

    def _chunks(self) -> bytes:
        whole = b""
        while True:
            while b"\r\n" not in self._read:
                if not self._more():
                    return whole
            size, _, self._read = self._read.partition(b"\r\n")
            piece = self._exactly(int(size, 16) + 2)[:-2]
            if not piece:
                return whole
            whole += piece

    def _exactly(self, length: int) -> bytes:
        while len(self._read) < length:
            if not self._more():
                raise ConnectionResetError
        found, self._read = self._read[:length], self._read[length:]
        return found

    def _more(self) -> bool:
        piece = self._socket.recv(_CHUNK)
        self._read += piece
        return bool(piece)


def workers(server: Penstock) -> list[int]:
    return [each.pid for each in server.family() if "penstock.assembly.worker" in each.command]


def to_each_worker(server: Penstock, count: int) -> dict[int, Wire]:
    """A wire to each of so many workers."""
    found: dict[int, Wire] = {}
    deadline = time.monotonic() + REPLY_S
    spare = []
    while len(found) < count:
        assert time.monotonic() < deadline, f"only {len(found)} of {count} workers take connections"
        wire = Wire(server)
        # The worker has the connection once it has answered on it.
        assert wire.get("/healthz").status == 200
        pid = wire.worker(server)
        if pid in found:
            spare.append(wire)
        else:
            found[pid] = wire
    for wire in spare:
        wire.close()
    return found


class Admin:
    """The admin API of one gateway, with its owner's key. May be used by one thread."""

    def __init__(self, server: Penstock, key: str = "") -> None:
        self.wire = Wire(server, key or server.key)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items() if value}
        return self.wire.ask(method, f"/admin/v1{path}", body, headers=named)

    def get(self, path: str) -> Any:
        answer = self.ask("GET", path)
        assert answer.status == 200, answer
        return answer.json

    def post(self, path: str, body: object = None) -> Any:
        answer = self.ask("POST", path, body)
        assert answer.status in (200, 201), (path, body, answer)
        return answer.json

    def patch(self, path: str, body: object = None) -> Any:
        answer = self.ask("PATCH", path, body)
        assert answer.status == 200, (path, body, answer)
        return answer.json

    def key(self, project: str, **fields: object) -> str:
        """A new key's secret."""
        return str(self.post("/keys", {"project": project} | fields)["secret"])

    def limit(self, kind: str, subject: str, metric: str, amount: int, **fields: object) -> str:
        """The id of a new limit."""
        asked = {"kind": kind, "subject": subject, "metric": metric, "amount": amount}
        return str(self.post("/limits", asked | fields)["id"])

    def budget(self, kind: str, subject: str, amount: str, **fields: object) -> str:
        """The id of a new budget, by default for all time."""
        asked = {"kind": kind, "subject": subject, "amount": amount, "period": "total"}
        return str(self.post("/budgets", asked | fields)["id"])

    def price(self, model: str, input: str, output: str) -> None:
        self.post("/prices", {"model": model, "input": input, "output": output, "since": "2026-01-01"})


def id_of(secret: str) -> str:
    """The public id in a key."""
    return secret.split("-")[1]


def deployment(**sections: object) -> str:
    """A deployment file with the scripted model ``quick``; JSON is YAML."""
    models = {"quick": {"engine": "fake"}}
    services = {"quick": {"model": "quick"}}
    return json.dumps({"models": models, "services": services} | sections)


@dataclass(frozen=True)
class House:
    """Gateways that share a store and counters. ``url`` is the store's."""

    gateways: tuple[Penstock, ...]
    postgres: Postgres
    redis: RedisServer
    url: str

    def said(self) -> str:
        return "\n".join(each.said() for each in self.gateways)


@contextlib.contextmanager
def shared(
    count: int = 2,
    workers: int = 2,
    access: Mapping[str, object] | None = None,
    state: Mapping[str, object] | None = None,
    **sections: object,
) -> Iterator[House]:
    """So many gateways on PostgreSQL and Redis of their own."""
    with ExitStack() as held:
        postgres = held.enter_context(postgres_running())
        redis = held.enter_context(RedisServer())
        postgres.execute("CREATE DATABASE penstock")
        url = postgres.url("penstock")
        config = deployment(
            server={"workers": workers, "access_log": "off"},
            state={"store": url} | dict(state or {}),
            access={"counters": redis.url, "pepper": PEPPER} | dict(access or {}),
            **sections,
        )
        gateways = tuple(held.enter_context(running(config)) for _ in range(count))
        yield House(gateways, postgres, redis, url)


def rows_of(url: str) -> list[Entry]:
    """The whole ledger."""
    with contextlib.closing(open_database(url)) as database:
        ledger, rows = SqlLedger(database), list[Entry]()
        while page := ledger.entries(
            UsageQuery(), (rows[-1].received_at, rows[-1].request_id, rows[-1].attempt) if rows else None, 1000
        ):
            rows += page
        return rows


def known_to_all(servers: tuple[Penstock, ...] | list[Penstock], *keys: str, within_s: float = 3.0) -> None:
    """Returns once every gateway knows the keys."""
    for server in servers:
        wire = Wire(server)
        for key in keys:
            wait_until(lambda: wire.get("/v1/models", key).status == 200, within_s, server.said)  # noqa: B023
        wire.close()
