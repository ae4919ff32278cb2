"""Penstock and its peers, each started on the gateways' core in front of one mock engine.

Each runs as it comes; Penstock with its key checked and a line of JSON written for each request.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.installs import LITELLM, PORTKEY, SGLANG, node_package, python_with, tool
from benchmarks.load import answers
from benchmarks.machine import on_gateway_core, tree
from tests.e2e.running import free_port, running, wait_until

_READY_S = 120.0
_KEY = "sk-bench"


@dataclass(frozen=True)
class Gateway:
    """One that is up. ``pid`` is the first of its processes; the rest are below it."""

    name: str
    version: str
    port: int
    headers: Mapping[str, str]
    pid: int

    def processes(self) -> tuple[int, ...]:
        return tree(self.pid)


@contextlib.contextmanager
def ours(upstream: int, folder: Path) -> Iterator[Gateway]:
    """Penstock, as ``penstock up`` starts it."""
    with penstock(upstream) as (gateway, _):
        yield gateway


@contextlib.contextmanager
def cached(upstream: int, folder: Path) -> Iterator[Gateway]:
    """Penstock, answering from its cache."""
    service = {"model": "mock", "cache": {"exact": {"sampled": True}}}
    with penstock(upstream, "Penstock, cached", services={"mock": service}) as (gateway, _):
        yield gateway


@contextlib.contextmanager
def penstock(upstream: int, name: str = "Penstock", **more: object) -> Iterator[tuple[Gateway, Path]]:
    """The same with ``more`` in its deployment file, and its home."""
    model = {"engine": "openai", "base_url": f"http://127.0.0.1:{upstream}/v1", "model": "mock"}
    deployment = {"models": {"mock": model}, "services": {"mock": {"model": "mock"}}, **more}
    with contextlib.ExitStack() as stack:
        with on_gateway_core():
            server = stack.enter_context(running(json.dumps(deployment)))
        port = int(server.url.rpartition(":")[2])
        headers = {"authorization": f"Bearer {server.key}"}
        yield Gateway(name, _version(), port, headers, server.pid), server.home


@contextlib.contextmanager
def sglang(upstream: int, folder: Path) -> Iterator[Gateway]:
    """SGLang's gateway, in Rust, as it comes: two lines of its log for each request."""
    with _sglang("SGLang gateway", upstream, folder / "sglang.log") as gateway:
        yield gateway


@contextlib.contextmanager
def sglang_quiet(upstream: int, folder: Path) -> Iterator[Gateway]:
    """The same with nothing but errors in its log."""
    with _sglang("SGLang gateway, no log", upstream, folder / "sglang-quiet.log", "--log-level", "error") as gateway:
        yield gateway


@contextlib.contextmanager
def _sglang(name: str, upstream: int, log: Path, *options: str) -> Iterator[Gateway]:
    port = free_port()
    python = python_with("sglang", f"sglang-router=={SGLANG}")
    argv = [str(python), "-m", "sglang_router.launch_router", "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--worker-urls", f"http://127.0.0.1:{upstream}", "--policy", "round_robin"]
    argv += ["--prometheus-port", str(free_port()), *options]
    with _process(argv, log) as pid:
        yield _ready(Gateway(name, SGLANG, port, {"authorization": f"Bearer {_KEY}"}, pid))


@contextlib.contextmanager
def litellm(upstream: int, folder: Path) -> Iterator[Gateway]:
    """LiteLLM's proxy, in Python, with a master key."""
    port = free_port()
    python = python_with("litellm", f"litellm[proxy]=={LITELLM}")
    params = {"model": "openai/mock", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}
    config = {
        "model_list": [{"model_name": "mock", "litellm_params": params}],
        "general_settings": {"master_key": _KEY},
    }
    file = folder / "litellm.yaml"
    file.write_text(json.dumps(config))
    argv = [str(python.parent / "litellm"), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--num_workers", "1", "--telemetry", "False"]
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with _process(argv, folder / "litellm.log", env) as pid:
        yield _ready(Gateway("LiteLLM", LITELLM, port, {"authorization": f"Bearer {_KEY}"}, pid))


@contextlib.contextmanager
def portkey(upstream: int, folder: Path) -> Iterator[Gateway]:
    """Portkey's gateway, in TypeScript."""
    port = free_port()
    package = node_package("@portkey-ai/gateway", PORTKEY)
    argv = [tool("node", "nodejs"), str(package / "build" / "start-server.js"), f"--port={port}"]
    headers = {
        "authorization": f"Bearer {_KEY}",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1",
    }
    # It refuses hosts of the local network unless they are named.
    env = {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    with _process(argv, folder / "portkey.log", env) as pid:
        yield _ready(Gateway("Portkey", PORTKEY, port, headers, pid))


_NGINX = """daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 8192; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_requests 100000000;
  upstream engine {{ server 127.0.0.1:{upstream}; keepalive 2048; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(upstream: int, folder: Path) -> Iterator[Gateway]:
    """nginx as a plain reverse proxy, which knows nothing of what it carries: the limit."""
    port = free_port()
    command = tool("nginx", "nginx")
    said = subprocess.run([command, "-v"], capture_output=True, text=True, check=True).stderr
    file = folder / "nginx.conf"
    file.write_text(_NGINX.format(folder=folder, upstream=upstream, port=port))
    with _process([command, "-c", str(file), "-p", str(folder)], folder / "nginx.out") as pid:
        yield _ready(Gateway("nginx (plain)", said.rpartition("/")[2].strip(), port, {}, pid))


Start = Callable[[int, Path], contextlib.AbstractContextManager[Gateway]]
GATEWAYS: Mapping[str, Start] = {
    "ours": ours,
    "ours-cached": cached,
    "sglang": sglang,
    "sglang-quiet": sglang_quiet,
    "portkey": portkey,
    "litellm": litellm,
    "nginx": nginx,
}


@contextlib.contextmanager
def _process(argv: list[str], log: Path, env: Mapping[str, str] | None = None) -> Iterator[int]:
    with log.open("wb") as sink, on_gateway_core():
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=log.parent, env=os.environ | dict(env or {})
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@contextlib.contextmanager
def mock_engine(folder: Path) -> Iterator[int]:
    """The mock engine in a process of its own, on the load's core; gives its port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.upstream", str(port)], stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port, {}), _READY_S)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _ready(gateway: Gateway) -> Gateway:
    wait_until(lambda: answers(gateway.port, gateway.headers), _READY_S, lambda: f"{gateway.name} is not up", 0.2)
    return gateway


def _version() -> str:
    told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return f"{importlib.metadata.version('penstock')} {told.stdout.strip()}".strip()
