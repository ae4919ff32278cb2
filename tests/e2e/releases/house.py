"""A service of two releases that differ in model, prompt and defaults, and clients that never stop asking for it."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.e2e.access.house import Admin, Answer, Wire
from tests.e2e.running import Penstock

RELEASE = "x-penstock-release"


def prompt(name: str) -> dict[str, object]:
    return {"name": name, "source": {"system": f"You are {name}."}, "message": f"{name} as it is"}


def sides(url: str) -> dict[str, object]:
    """Two models at the echo, and the service ``chat`` by the left one."""
    model = {"engine": "openai", "base_url": url, "api_key": "none"}
    return {
        "models": {side: {**model, "model": side} for side in ("left", "right")},
        "services": {"chat": {"model": "left"}},
    }


def released(admin: Admin) -> tuple[str, str]:
    """The releases of the left and of the right model, each with its own prompt and temperature."""
    found = []
    for side, temperature in (("left", 0.25), ("right", 0.75)):
        admin.post("/prompts", prompt(side))
        asked = {"service": "chat", "model": side, "prompt": side, "defaults": {"temperature": temperature}}
        found.append(str(admin.post("/releases", asked)["id"]))
    return found[0], found[1]


def whole(side: str) -> str:
    """What the echo says to a request that got one release and nothing of the other."""
    temperature = {"left": 0.25, "right": 0.75}[side]
    return json.dumps({"model": side, "system": f"You are {side}.", "temperature": temperature})


def text(answer: Answer) -> str:
    return str(answer.json["choices"][0]["message"]["content"])


@dataclass(frozen=True)
class Told:
    """Times are monotonic; ``release`` is empty where there was no answer."""

    began: float
    ended: float
    status: int
    release: str
    user: str
    text: str


@dataclass
class Crowd:
    """Clients of a service, ``users`` in turn, so many connections at each gateway. ``fields`` are sent beside."""

    gateways: Sequence[Penstock]
    key: str
    connections: int = 4
    users: int = 1000
    service: str = "chat"
    fields: Mapping[str, object] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def asking(self) -> Iterator[None]:
        self._stop.clear()
        with ThreadPoolExecutor(self.connections * len(self.gateways)) as pool:
            running = [pool.submit(self._ask, each) for each in self.gateways for _ in range(self.connections)]
            try:
                yield
            finally:
                self._stop.set()
            for each in running:
                each.result()

    def _ask(self, server: Penstock) -> None:
        wire = Wire(server)
        while not self._stop.is_set():
            user = f"user-{next(self._numbers) % self.users}"
            began = time.monotonic()
            answer = wire.post("/v1/chat/completions", self.body(user) | dict(self.fields), self.key)
            release = answer.headers.get(RELEASE, "")
            said = text(answer) if answer.status == 200 else answer.body.decode(errors="replace")[:300]
            self.told.append(Told(began, time.monotonic(), answer.status, release, user, said))
            if not answer.status:
                wire = Wire(server)
        wire.close()

    def body(self, user: str) -> dict[str, object]:
        """What is asked in this user's name."""
        return {"model": self.service, "user": user, "messages": [{"role": "user", "content": "Hello"}]}

    def statuses(self) -> Counter[int]:
        return Counter(each.status for each in tuple(self.told))

    def since(self, at: float) -> list[Told]:
        """What was told of requests that began then or later."""
        return [each for each in tuple(self.told) if each.began >= at]
