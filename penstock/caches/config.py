"""What the deployment file may say of caches: where answers and embeddings are kept. Which are is a policy of each
service (``core.caching``)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Deadline = Annotated[float, msgspec.Meta(gt=0, le=60)]
Place = Annotated[str, msgspec.Meta(pattern=r"^s3://[^/\s]+(/\S*)?$")]


class RedisSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Redis (7 or later) or Valkey that gateways share. Give it `maxmemory` and a policy such as `allkeys-lfu`."""

    url: str
    """Where it is: `redis://HOST:PORT/NUMBER`, `rediss://` with TLS, `unix:///PATH`. With a password in it, it is
    best taken from outside: `${NAME}`."""
    namespace: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "penstock"
    """What its keys begin with. Gateways of one store share it; others need one of their own."""
    read_s: Deadline = 0.05
    """How long a request waits for it; then it is a miss."""
    write_s: Deadline = 1.0
    """How long a write may take; nobody waits for it."""

    def __repr__(self) -> str:
        # The URL may hold a password.
        return f"RedisSettings(namespace={self.namespace!r})"


class S3Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An S3-compatible store for what is asked rarely; needs `penstock[s3]`, and the `AWS_*` variables."""

    place: Place
    """Where: `s3://BUCKET/PREFIX`. Gateways of one store share it; others need one of their own."""
    read_s: Deadline = 0.5
    """How long a request waits for it; then it is a miss."""
    write_s: Deadline = 20.0
    """How long a write may take; nobody waits for it."""


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where answers and embeddings are kept: each is looked for in memory, then Redis, then S3. What does not answer
    in time, or gives damaged bytes, is a miss, and is passed over for a while."""

    memory: Annotated[int, msgspec.Meta(ge=0, le=1 << 40, extra={"form": "size"})] = 64 << 20
    """Bytes of memory, of each worker by itself; 0: none."""
    redis: RedisSettings | None = None
    """A Redis. Default: none."""
    s3: S3Settings | None = None
    """An S3-compatible store. Default: none."""
    semantic_index: Literal["own", "shared"] = "own"
    """Whose answers may serve other questions (`semantic` of a service): `own`, those that this gateway was taught;
    `shared`, also those of all gateways that share the Redis, which tell one another there."""
    semantic_memory: Annotated[int, msgspec.Meta(ge=1 << 20, le=1 << 40, extra={"form": "size"})] = 512 << 20
    """Bytes of memory, in the supervisor, of all answers that may serve other questions, about 3 KiB and the answer
    each."""
    compress_from: Annotated[int, msgspec.Meta(ge=0, le=1 << 30, extra={"form": "size"})] = 1024
    """Size from which entries in Redis and S3 are compressed."""
    write_queue: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1024
    """Entries that may wait to be written to each of Redis and S3; one more is shed, and counted."""
    write_queue_bytes: Annotated[int, msgspec.Meta(ge=1 << 20, le=1 << 40, extra={"form": "size"})] = 32 << 20
    """How large they may be together."""

    def __post_init__(self) -> None:
        if self.semantic_index == "shared" and self.redis is None:
            raise ValueError("`semantic_index: shared` lacks `redis`: name the Redis by which gateways share answers")
