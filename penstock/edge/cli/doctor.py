"""``penstock doctor``: what this machine can run, and why not."""

from __future__ import annotations

import enum
import errno
import http.client
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import msgspec

from penstock.config import ConfigErrors, DeploymentFile, home, load, locate
from penstock.edge.cli import credentials
from penstock.edge.cli.machine import Gpu, Machine, disk_free, gib, gpus, this_machine
from penstock.edge.cli.starters import TABLE, brisk, fits

_PROBE_S = 60.0
_PROBE = """\
import importlib.metadata, json, xllamacpp
version, system = importlib.metadata.version("xllamacpp"), xllamacpp.get_system_info()
devices = [(d["name"], d["description"], d["type"].name.rsplit("_", 1)[-1]) for d in xllamacpp.get_device_info()]
print(json.dumps({"version": version, "system": system, "devices": devices}))
"""


class Level(enum.Enum):
    """``FAIL`` keeps Penstock from serving; ``WARN`` keeps something from being good."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """One line. ``mend`` is what to do about it, empty when there is nothing to do."""

    level: Level
    what: str
    said: str
    mend: str = ""


class Build(msgspec.Struct, frozen=True):
    """The installed llama.cpp. ``devices``: name, description and kind (``CPU``, ``GPU``, ``ACCEL``) of each."""

    version: str
    system: str
    devices: tuple[tuple[str, str, str], ...]


@click.command()
@click.option("-c", "--config", "path", type=click.Path(path_type=Path), help="The deployment file to look at.")
def doctor(path: Path | None) -> int:
    """Say what this machine can run, and why not.

    One line for each thing that matters: ok, warn or fail, and the mend. The exit code is 1 when a line says fail.
    """
    worst = 0
    for finding in examine(path, os.environ):
        colour = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}[finding.level]
        mend = f"; {finding.mend}" if finding.mend else ""
        click.echo(f"{click.style(f'{finding.level.value:<4}', fg=colour)}  {finding.what:<12} {finding.said}{mend}")
        worst |= finding.level is Level.FAIL
    return int(worst)


def examine(path: Path | None, env: Mapping[str, str]) -> Iterator[Finding]:
    """Looks at the machine, part by part."""
    machine, place = this_machine(), home(env)
    yield about_python(sys.version_info[:3])
    yield about_cores(machine.cores)
    yield about_memory(machine)
    yield about_disk(disk_free(place), place)
    build = probe_engine()
    yield about_engine(build)
    yield about_gpus(gpus(), build if isinstance(build, Build) else None)
    file: DeploymentFile | None = None
    try:
        file = load(locate(path, env), env)
        yield Finding(Level.OK, "deployment", f"{len(file.models)} models, {len(file.services)} services")
    except ConfigErrors as errors:
        many = f" and {len(errors.mistakes) - 1} more" if len(errors.mistakes) > 1 else ""
        first = errors.mistakes[0].shown(errors.source)
        yield Finding(Level.FAIL, "deployment", f"{first}{many}", "`penstock check` lists every mistake")
    if file is not None:
        yield about_port(file.server.host, file.server.port)
    yield about_credentials(place)
    yield from about_models(machine)


def about_python(version: Sequence[int]) -> Finding:
    shown = ".".join(str(part) for part in version)
    if tuple(version) < (3, 11):
        return Finding(Level.FAIL, "python", shown, "Penstock needs Python 3.11 or newer")
    return Finding(Level.OK, "python", shown)


def about_cores(cores: float) -> Finding:
    shown = f"{cores:g} core{'s' * (cores != 1)} to use"
    if cores < 2:
        return Finding(Level.WARN, "cores", shown, "a model here shares its core with the gateway; give it 2 or more")
    return Finding(Level.OK, "cores", shown)


def about_memory(machine: Machine) -> Finding:
    memory = machine.memory
    if not memory.total:
        return Finding(Level.WARN, "memory", "cannot be read from /proc/meminfo")
    limit = ", by the container's limit" if memory.limited else ""
    shown = f"{gib(memory.total)}{limit}, {gib(memory.available)} of it free"
    if memory.available < 1 << 30:
        return Finding(
            Level.WARN, "memory", shown, "end something else, or allow more; the built-in models need 1 GiB"
        )
    return Finding(Level.OK, "memory", shown)


def about_disk(free: int, place: Path) -> Finding:
    shown = f"{gib(free)} free for {place}"
    mend = "make room, or set PENSTOCK_HOME to a larger disk"
    if free < 512 << 20:
        return Finding(Level.FAIL, "disk", shown, mend)
    return Finding(Level.WARN, "disk", shown, mend) if free < 4 << 30 else Finding(Level.OK, "disk", shown)


def probe_engine() -> Build | str:
    """Asks the installed llama.cpp what it is, or says why it cannot be asked.

    In a process of its own: a build for another CPU does not raise, it kills.
    """
    try:
        told = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, timeout=_PROBE_S, check=False)
    except subprocess.TimeoutExpired:
        return f"does not load within {_PROBE_S:.0f} s"
    except OSError as error:
        return f"cannot be started: {error.strerror}"
    if told.returncode < 0:
        return f"dies of {signal.Signals(-told.returncode).name}: it is not built for this CPU"
    try:
        return msgspec.json.decode(told.stdout.strip().splitlines()[-1], type=Build)
    except (msgspec.DecodeError, IndexError):
        lines = told.stderr.decode(errors="replace").strip().splitlines()
        return "cannot be imported: " + (lines[-1] if lines else "it says nothing")


def about_engine(build: Build | str) -> Finding:
    if isinstance(build, str):
        return Finding(
            Level.FAIL,
            "llama.cpp",
            f"xllamacpp {build}",
            "reinstall it with `pip install --force-reinstall xllamacpp`",
        )
    devices = ", ".join(name for name, _, _ in build.devices) or "no device"
    features = set(re.findall(r"(\w+) = 1", build.system))
    shown = f"xllamacpp {build.version}, runs on {devices}"
    if "CPU" in build.system and not {"AVX2", "NEON", "VXE", "RVV", "VSX"} & features:
        return Finding(Level.WARN, "llama.cpp", shown, "this CPU lacks AVX2 or NEON; models will be slow on it")
    return Finding(Level.OK, "llama.cpp", shown)


def about_gpus(found: Sequence[Gpu], build: Build | None) -> Finding:
    if not found:
        return Finding(Level.OK, "gpu", "no NVIDIA GPU; models run on the CPU")
    shown = ", ".join(f"{gpu.name} ({gib(gpu.free)} of {gib(gpu.memory)} free)" for gpu in found)
    if build is not None and not any(kind in ("GPU", "IGPU") for _, _, kind in build.devices):
        return Finding(
            Level.WARN, "gpu", f"{shown}, not used by this llama.cpp", "install a CUDA or Vulkan build of xllamacpp"
        )
    return Finding(Level.OK, "gpu", f"{shown}; `gpu_layers` puts a model on it")


def about_port(host: str, port: int) -> Finding:
    """Whether a gateway could listen there; tries it."""
    where = f"{host}:{port}"
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
        return Finding(Level.OK, "port", f"{where} is free")
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return Finding(Level.FAIL, "port", f"{where}: {error.strerror}", "set server.host or PENSTOCK_PORT")
    if _is_gateway(host, port):
        return Finding(Level.OK, "port", f"a gateway serves on {where} already")
    return Finding(Level.FAIL, "port", f"another program listens on {where}", "end it, or set PENSTOCK_PORT")


def _is_gateway(host: str, port: int) -> bool:
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    connection = http.client.HTTPConnection(near, port, timeout=3)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def about_credentials(place: Path) -> Finding:
    """Whether the key file is the owner's alone."""
    path = credentials.path_in(place)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return Finding(Level.OK, "credentials", f"none in {place} yet; `penstock up` makes them")
    except OSError as error:
        return Finding(Level.FAIL, "credentials", f"{path}: {error.strerror}", "make it readable to you")
    if mode & 0o077:
        return Finding(Level.FAIL, "credentials", f"{path} is open to others ({mode:04o})", f"run `chmod 600 {path}`")
    return Finding(Level.OK, "credentials", f"{path}, yours alone")


def about_models(machine: Machine) -> Iterator[Finding]:
    """A line for each model that ``penstock init`` could write."""
    for starter in TABLE:
        shown = f"{starter.title}: {gib(starter.needs)} of memory"
        if not fits(starter, machine):
            yield Finding(
                Level.WARN, "model", shown, f"too large beside everything else in {gib(machine.memory.total)}"
            )
        elif not brisk(starter, machine):
            yield Finding(Level.WARN, "model", shown, f"fits, but slow on {machine.cores:g} cores")
        else:
            yield Finding(Level.OK, "model", shown)
