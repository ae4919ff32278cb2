"""Inside: requests that the gateway makes of itself, through the same way as those of clients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from penstock.caches.embeddings import Vector
from penstock.core.chat import Call
from penstock.core.identity import Principal
from penstock.core.policy import Priority, Terms
from penstock.gateway.capture import Transcript
from penstock.gateway.recollection import Recollection
from penstock.gateway.reply import Reply
from penstock.gateway.settle import Summary

NOBODY = "_internal"
"""In the place of a key and of a project in the ledger. No key and no project can be called so."""


class Ask(Protocol):
    """The gateway, as itself. ``keeping``: what is to keep the answer, beside whoever reads it. Raises
    ``PenstockError`` as ``Gateway.chat`` does."""

    async def __call__(
        self,
        call: Call,
        principal: Principal,
        terms: Terms = ...,
        over: Callable[[Summary], None] | None = ...,
        keeping: Recollection | None = ...,
    ) -> Reply: ...


class Embed(Protocol):
    """Embeds as the gateway itself, through the cache of embeddings."""

    async def __call__(
        self,
        service: str,
        texts: Sequence[str],
        models: frozenset[str] | None,
        *,
        name: str = ...,
        subject: str = ...,
    ) -> tuple[Vector, ...]:
        """The vector that the service gives each text, in order; ``models`` are those that may be used, None: any.
        ``name`` begins the ids of what is asked for it. What is made is forgotten with the person ``subject``, a
        ``subject_digest``. Raises ``PenstockError``."""


def inner(models: frozenset[str] | None = None) -> Principal:
    """The gateway itself. ``models`` are those that whoever it asks for may use, None: any."""
    return Principal(
        key_id=NOBODY,
        project=NOBODY,
        role="internal",
        permissions=frozenset({"call", "releases:write"}),
        models=models,
        priority=Priority.LOW,
        purpose="internal",
    )


def size_of(call: Call) -> int:
    """Bytes that the call holds."""
    return sum(memoryview(value).nbytes for value in call.fields.values())


async def read(reply: Reply, into: Transcript | None = None) -> bytes:
    """Reads the answer to its end, and closes it; the last chunk, which is the whole answer where it is not streamed.
    Raises ``PenstockError`` when it breaks."""
    last = b""
    try:
        while chunks := await reply.read():
            last = chunks[-1]
            if into is not None:
                into.take(chunks)
    finally:
        await reply.aclose()
    return last
