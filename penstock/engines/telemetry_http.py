"""Asks replicas for their metrics pages."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from penstock.core.serving import Replica
from penstock.engines.http import Http
from penstock.engines.telemetry import Telemetry, read

_CONNECT_S = 1.0
_READ_S = 2.0
_MOST_BYTES = 8 << 20
# TensorRT-LLM has a page of another kind under the usual name.
_PATHS = ("/metrics", "/prometheus/metrics")
_NAMES = (".local", ".localhost", ".internal", ".lan", ".svc", ".cluster.local", ".home.arpa")


def nearby(base_url: str) -> bool:
    """Whether the address is one of this network. Hosts of models elsewhere are not to be asked every few seconds for
    a page that they do not have."""
    try:
        host = urlsplit(base_url).hostname or ""
    except ValueError:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return bool(host) and ("." not in host or host.lower().endswith(_NAMES))
    return not address.is_global


class MetricsPages:
    """Of any replicas. Remembers where each has its page. Belongs to one event loop."""

    def __init__(self) -> None:
        self._http = Http(connect_timeout_s=_CONNECT_S, read_timeout_s=_READ_S)
        self._paths: dict[str, str] = {}

    async def ask(self, replica: Replica) -> Telemetry | None:
        """What its engine says now; None: it has no page that can be read here. Raises ``PenstockError`` when it does
        not answer."""
        root = replica.base_url.removesuffix("/").removesuffix("/v1")
        known = self._paths.get(root)
        for path in _PATHS if known is None else (known,):
            told = await self._page(root + path, replica.key)
            if told is not None:
                self._paths[root] = path
                return told
        self._paths.pop(root, None)
        return None

    async def aclose(self) -> None:
        """Lets go of the connections. Idempotent."""
        await self._http.aclose()

    async def _page(self, url: str, key: str) -> Telemetry | None:
        headers: Mapping[str, str] = {"Authorization": f"Bearer {key}"} if key else {}
        response = await self._http.get(self._http.prepared("GET", url, {"accept": "text/plain", **headers}), _READ_S)
        try:
            if response.status != 200:
                return None
            body = await response.read_all(_MOST_BYTES)
        finally:
            response.close()
        return read(body.decode("utf-8", "replace"))
