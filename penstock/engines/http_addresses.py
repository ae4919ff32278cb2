"""From a name to a socket: the addresses of a host, and the first of them that answers.

Source: RFC 8305 (happy eyeballs), without its cache: a name is looked up for each connection, so that one which has
moved is followed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

Address = tuple[int, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]
"""An address family, and what its sockets call an address."""
Resolver = Callable[[str, int], Awaitable[Sequence[Address]]]
"""From host and port to at least one address, the preferred first. Raises ``OSError``."""
AFTER_S = 0.25
"""What one address gets before the next is tried beside it, as RFC 8305 recommends."""


async def looked_up(host: str, port: int) -> Sequence[Address]:
    """The machine's own resolver, asked anew each time. Raises ``OSError`` (``socket.gaierror``)."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


async def connected(addresses: Sequence[Address]) -> socket.socket:
    """A connection to one of the addresses: each is tried when the one before has failed, or after ``AFTER_S``.

    Raises ``OSError``, the first that an attempt ended in, when all have failed. Nothing is left open then, nor when
    cancelled. Has no time limit of its own.
    """
    if len(addresses) == 1:
        return await _connected(addresses[0])
    loop = asyncio.get_running_loop()
    untried = interleaved(addresses)
    running: set[asyncio.Task[socket.socket]] = set()
    failure: OSError | None = None
    try:
        while untried or running:
            if untried:
                running.add(loop.create_task(_connected(untried.pop(0))))
            done, _ = await asyncio.wait(
                running, timeout=AFTER_S if untried else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                running.discard(task)
                try:
                    return task.result()
                except OSError as error:
                    failure = failure or error
    finally:
        for task in running:
            task.cancel()
        for late in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(late, socket.socket):
                late.close()
    assert failure is not None
    raise failure


def interleaved(addresses: Sequence[Address]) -> list[Address]:
    """The same addresses with families taking turns, the first one's first; RFC 8305, section 4."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    rest = [address for address in addresses if address[0] != addresses[0][0]]
    mixed: list[Address] = []
    for place in range(max(len(first), len(rest))):
        mixed += first[place : place + 1] + rest[place : place + 1]
    return mixed


async def _connected(address: Address) -> socket.socket:
    family, where = address
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock
