"""What leaves this machine for a collector is packed; what stays on it is not."""

from __future__ import annotations

import gzip
from collections.abc import Mapping

import pytest

from penstock.core.clock import SystemClock
from penstock.observe.otlp_lane import Batch, Delivery, Pace, Reply


class Taking:
    """A wire whose other end takes everything."""

    def __init__(self) -> None:
        self.taken: list[tuple[Mapping[str, str], bytes]] = []

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], within_s: float) -> Reply:
        self.taken.append((headers, body))
        return Reply(200, {}, b"")

    async def aclose(self) -> None:
        """Nothing is held."""


async def never(_: float) -> None:
    raise AssertionError("it was taken at once")


@pytest.mark.parametrize(
    ("url", "packed"),
    [
        ("http://collector:4318", True),
        ("https://203.0.113.7", True),
        ("http://[2001:db8::1]:4318", True),
        ("http://localhost.example.com", True),
        ("http://localhost:4318", False),
        ("http://127.0.0.1:4318", False),
        ("http://[::1]:4318", False),
        ("http://[nothing", True),
    ],
)
async def test_only_what_leaves_this_machine_is_packed(url: str, packed: bool) -> None:
    wire = Taking()
    deliver = Delivery(wire, {"x-api-key": "k"}, SystemClock(), never, Pace(), lambda *_: None)
    await deliver(Batch("traces", f"{url}/v1/traces", b'{"a": 1}', 1), lambda: False)
    ((headers, body),) = wire.taken
    assert headers["x-api-key"] == "k"
    assert headers.get("content-encoding") == ("gzip" if packed else None)
    assert (gzip.decompress(body) if packed else body) == b'{"a": 1}'
