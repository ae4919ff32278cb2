"""Clients that stop reading: little is held for them, and after half a minute they are let go."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e import rawhttp
from tests.e2e.faults.asked import Place
from tests.e2e.faults.sockets import queued_bytes
from tests.e2e.faults.upstream import BadUpstream
from tests.e2e.running import Penstock, running, wait_until

READERS = 16
MOST_HELD = 1 << 20
PATIENCE_S = 30.0
STALLED_WITHIN_S = 10.0
RECEIVES = 4096


@pytest.fixture
def flood() -> Iterator[Place]:
    with BadUpstream() as upstream:
        yield upstream.place("flood")


@pytest.fixture
def server(flood: Place) -> Iterator[Penstock]:
    models = {"flood": {"engine": "openai", "base_url": flood.base_url}}
    with running(json.dumps({"models": models, "services": {"flood": {"model": "flood"}}})) as penstock:
        yield penstock


def stalled(server: Penstock) -> socket.socket:
    """A client that asks for a stream, reads its head, and then nothing."""
    address = urlsplit(server.url)
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVES)
    peer.settimeout(rawhttp.REPLY_S)
    peer.connect((address.hostname, address.port))
    body = {"model": "flood", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    peer.sendall(rawhttp.request(server, json.dumps(body).encode()))
    assert peer.recv(12) == b"HTTP/1.1 200"
    return peer


def until_still(place: Place) -> None:
    """Returns once the upstream cannot send any more."""
    before = -1

    def still() -> bool:
        nonlocal before
        before, was = place.sent, before
        return before == was

    wait_until(still, STALLED_WITHIN_S, every_s=0.3)


def rss(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def readers(server: Penstock, flood: Place) -> Iterator[None]:
    """Clients that have stopped reading, once nothing moves any more; what is held for each is measured."""
    worker = server.worker()
    stalled(server).close()
    wait_until(lambda: flood.open == 0, STALLED_WITHIN_S)
    before, sent = rss(worker), flood.sent
    peers = [stalled(server) for _ in range(READERS)]
    try:
        until_still(flood)
        kernel = queued_bytes(worker) / READERS
        held = (flood.sent - sent - queued_bytes(os.getpid())) / READERS - kernel
        grown = (rss(worker) - before) / READERS
        print(
            f"\nfor each stalled reader the gateway holds {held / 1024:.0f} KiB of its stream, {grown / 1024:.0f} KiB of "
            f"memory; the kernel {kernel / 1024:.0f} KiB in its buffers"
        )
        assert held <= MOST_HELD
        assert grown <= MOST_HELD
        yield
    finally:
        for peer in peers:
            peer.close()


def test_little_is_held_for_who_stops_reading(server: Penstock, flood: Place) -> None:
    with readers(server, flood):
        assert flood.open == READERS
        assert rawhttp.exchange(server, rawhttp.request(server, method="GET", path="/v1/models")).status == 200
    wait_until(lambda: flood.open == 0, STALLED_WITHIN_S)


@pytest.mark.slow
def test_who_stops_reading_is_let_go_after_half_a_minute(server: Penstock, flood: Place) -> None:
    began = time.monotonic()
    with readers(server, flood):
        wait_until(lambda: flood.open < READERS, PATIENCE_S * 1.1, every_s=0.1)
        first = time.monotonic() - began
        wait_until(lambda: flood.open == 0, PATIENCE_S * 0.2)
        last = time.monotonic() - began
    print(f"\nthey are let go after {first:.1f} to {last:.1f} s")
    assert first >= PATIENCE_S
    assert last <= PATIENCE_S * 1.2
