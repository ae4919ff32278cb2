"""The process of one llama.cpp replica: ``python -m penstock.engines.llamacpp_child``.

It reads one line of JSON (``llamacpp_settings.Order``) on standard input, loads the model, serves it on loopback,
and says so by one line on standard output; ``core.serving.Launch`` is the whole handshake. It dies with its parent:
the kernel kills it when the thread that started it ends, and it leaves by itself when its standard input does.
"""

from __future__ import annotations

import ctypes
import difflib
import enum
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

import msgspec
import xllamacpp

from penstock.core.errors import BAD_DEPLOYMENT, PenstockError
from penstock.engines.llamacpp_gguf import read_gguf
from penstock.engines.llamacpp_settings import Machine, Order, Value, chosen

_PR_SET_PDEATHSIG = 1
_BLOCK = 1 << 16
_SCALARS = (bool, int, float, str)
_NO_LIMIT = 1 << 60


def main() -> NoReturn:
    """Runs until the parent is gone or sends a signal."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # Ctrl-C in a terminal reaches the whole group; when this process ends is its parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a library prints is log; standard output is the handshake's alone.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    asked = sys.stdin.buffer.readline()
    try:
        server = _serving(msgspec.json.decode(asked, type=Order))
    except PenstockError as exc:
        _say(answers, {"error": exc.message})
        os._exit(1)
    except msgspec.DecodeError as exc:
        _say(
            answers,
            {"error": f"The order on standard input is malformed ({exc}); this process is started by penstock"},
        )
        os._exit(2)
    _say(answers, {"base_url": f"{server.listening_address}/v1"})
    while os.read(0, _BLOCK):
        pass
    # Not sys.exit: llama.cpp would finish what its slots are at.
    os._exit(0)


def _serving(order: Order) -> xllamacpp.Server:
    gguf = read_gguf(Path(order.weights))
    params = xllamacpp.CommonParams()
    apply(params, chosen(order.settings, gguf, machine()))
    params.model.path = order.weights
    params.api_keys = [order.key] if order.key else []
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    log: list[str] = []
    try:
        with _standard_error_kept(log):
            return xllamacpp.Server(params)
    except RuntimeError as exc:
        raise PenstockError(BAD_DEPLOYMENT, load_failure(order.weights, log)) from exc


def _say(answers: BinaryIO, line: Mapping[str, str]) -> None:
    answers.write(msgspec.json.encode(line) + b"\n")
    answers.flush()


@contextmanager
def _standard_error_kept(log: list[str]) -> Iterator[None]:
    """Adds what is written to standard error to ``log``, and passes it on at the end.

    A file and not a pipe: llama.cpp loads without letting another thread of Python run, so nobody could empty one.
    """
    kept, own = os.memfd_create("llama.cpp log"), os.dup(2)
    os.dup2(kept, 2)
    try:
        yield
    finally:
        os.dup2(own, 2)
        os.close(own)
        os.lseek(kept, 0, os.SEEK_SET)
        with os.fdopen(kept, "rb") as file:
            text = file.read()
        sys.stderr.buffer.write(text)
        sys.stderr.buffer.flush()
        log.extend(text.decode(errors="replace").splitlines())


def load_failure(weights: str, log: list[str]) -> str:
    """One line for people from llama.cpp's log: the first error is the cause, the later ones its consequences."""
    errors = [line.partition(" E ")[2].strip() for line in log if " E " in line]
    cause = errors[0].partition(": ")[2] or errors[0] if errors else "it did not say why"
    lowered = " ".join(errors).lower()
    if "insufficient memory" in lowered or "failed to allocate" in lowered:
        mend = "lower context or slots, or choose a smaller model"
    else:
        mend = "check that the weights are whole and that this version of llama.cpp knows their architecture"
    return f"llama.cpp cannot load {weights} ({cause}); {mend}"


# -- parameters by name --------------------------------------------------------------------------------------------


def apply(params: object, values: Mapping[str, Value]) -> None:
    """Sets each value on ``params``, a ``CommonParams``.

    Raises ``PenstockError`` (BAD_DEPLOYMENT) for a name that it has not, with the nearest it has, and for a value
    of another type.
    """
    for name, value in values.items():
        holder = params
        *path, last = name.split(".")
        for step in path:
            holder = getattr(holder, _known(holder, step, name))
        current = getattr(holder, _known(holder, last, name))
        try:
            setattr(holder, last, _fitting(current, value))
        except (TypeError, ValueError, OverflowError) as exc:
            raise PenstockError(
                BAD_DEPLOYMENT, f"params.{name}: {value!r} does not fit ({exc}); its value is {current!r} by default"
            ) from exc


def _known(holder: object, step: str, name: str) -> str:
    names = [each for each in dir(holder) if not each.startswith("_")]
    if step in names:
        return step
    nearest = difflib.get_close_matches(step, names, n=1, cutoff=0.0)
    path = ".".join([*name.split(".")[: name.split(".").index(step)], *nearest])
    raise PenstockError(
        BAD_DEPLOYMENT, f"params.{name}: llama.cpp has no parameter {step!r}; the nearest is {path!r}"
    )


def _fitting(current: object, value: Value) -> object:
    """``value`` as the type of ``current``; the members of an enumeration go by their names or by the end of one."""
    if isinstance(current, enum.Enum):
        kind = type(current)
        if isinstance(value, str):
            for member in kind:
                if member.name.lower() == value.lower() or member.name.lower().endswith(f"_{value.lower()}"):
                    return member
            raise ValueError(f"it is one of {', '.join(member.name for member in kind)}")
        return kind(value)
    if not isinstance(current, _SCALARS):
        raise TypeError("it is not a single value")
    if isinstance(current, bool) is not isinstance(value, bool) or isinstance(current, str) is not isinstance(
        value, str
    ):
        raise TypeError(f"it is of type {type(current).__name__}")
    return value


# -- the machine ---------------------------------------------------------------------------------------------------


def machine() -> Machine:
    """The cores and the memory that this process may use, a control group's limits included."""
    cores = len(os.sched_getaffinity(0))
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdecimal() and period.strip().isdecimal():
        cores = min(cores, max(1, int(quota) // int(period)))
    free = _NO_LIMIT
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) << 10
    limit, used = _read("/sys/fs/cgroup/memory.max").strip(), _read("/sys/fs/cgroup/memory.current").strip()
    if limit.isdecimal() and used.isdecimal():
        free = min(free, max(0, int(limit) - int(used)))
    return Machine(cores=cores, memory=free)


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        # Not every kernel has every file; what is not limited is not said.
        return ""


if __name__ == "__main__":
    main()
