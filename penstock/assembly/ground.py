"""What one server of a home must have to itself before it starts: the home, and the port."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

from penstock.core.errors import CANNOT_START, PenstockError

BACKLOG = 2048
_FEW_FILES = 1024
_MOST_FILES = 1 << 20
_OWN_FILES = 64
"""Open in a worker that does nothing: the rest is two for each request, one to the client and one upstream."""


@contextlib.contextmanager
def sole(home: Path) -> Iterator[None]:
    """Holds the home, made where it is missing (mode 0700), so that no other server uses it meanwhile.

    The kernel lets go of it however this process ends. Raises ``PenstockError`` when another holds it, or the home
    cannot be made.
    """
    path = home / "lock"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PenstockError(
            CANNOT_START,
            f"{home} cannot be used as the home: {error.strerror}. Give this user the right to write there, "
            "or set PENSTOCK_HOME to another directory.",
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
            raise PenstockError(
                CANNOT_START,
                f"Penstock is already running with the home {home} (process {owner or 'unknown'}). Stop that one "
                "first, or set PENSTOCK_HOME to another directory.",
            ) from None
        # For people only: a full disk must not keep a server from starting.
        with contextlib.suppress(OSError):
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def open_files() -> str:
    """Lets this process and those that it starts open as many files as the system allows them.

    What to tell people when that is not many, or nothing.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < most:
        # A system may allow less than it says.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    if soft == resource.RLIM_INFINITY or soft >= _FEW_FILES:
        return ""
    return (
        f"Each process may open only {soft} files, so a worker serves about {max(0, soft - _OWN_FILES) // 2} "
        f"requests at once and refuses connections beyond; raise the hard limit (`ulimit -Hn`) to {_FEW_FILES} or "
        "more."
    )


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; whoever inherits it may accept. Raises ``PenstockError`` that names the mend."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.getaddrinfo(host or None, port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except socket.gaierror:
        said = f"there is no address {host!r}; set `server: host:` to one of this machine, such as 127.0.0.1"
    except OSError as error:
        said = _why(error, host, port)
    raise PenstockError(CANNOT_START, f"Cannot listen on {at(host, port)}: {said}.")


def at(host: str, port: int) -> str:
    """``host:port`` as a URL has it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def url(host: str, port: int, secure: bool = False) -> str:
    """Where a client on this machine finds what listens there."""
    local = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # the wildcards listen; they cannot be dialled
    return f"{'https' if secure else 'http'}://{at(local.get(host, host), port)}"


def _why(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                "something listens there already; stop that, or choose another port with PENSTOCK_PORT, --port or "
                "`server: port:`"
            )
        case errno.EACCES:
            return f"this user may not use port {port}; choose one above 1023 with PENSTOCK_PORT"
        case errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine; set `server: host:` to one that is, or to 0.0.0.0"
    return error.strerror or str(error)
