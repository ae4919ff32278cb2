"""Requests per second of a closed loop, by wrk, which costs a few microseconds per request."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.installs import tool
from benchmarks.load import PATH

_SCRIPT = """wrk.method = "POST"
wrk.body = %s
wrk.headers = {%s}
done = function(summary, latency)
  local e = summary.errors
  print(string.format('{"requests":%%d,"duration_us":%%d,"failed":%%d}', summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Closed:
    """``failed`` counts answers other than 2xx and 3xx, and connections that broke or were silent for a minute."""

    requests: int
    seconds: float
    failed: int

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


def closed_loop(
    port: int, text: bytes, headers: Mapping[str, str], *, seconds: float, connections: int, folder: Path
) -> Closed:
    """Keeps ``connections`` busy with the same POST for so many seconds. Raises ``Absent`` when wrk is not there."""
    script = folder / "post.lua"
    sent = {"content-type": "application/json"} | dict(headers)
    fields = ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in sent.items())
    script.write_text(_SCRIPT % (json.dumps(text.decode()), fields))
    argv = [tool("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "60s"]
    argv += ["-s", str(script), f"http://127.0.0.1:{port}{PATH}"]
    ran = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=seconds + 120)
    told = json.loads(ran.stdout.splitlines()[-1])
    return Closed(told["requests"], told["duration_us"] / 1e6, told["failed"])
