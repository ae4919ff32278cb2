"""The way to one Redis: deadlines, a breaker, and what its failures mean. Redis 7 or later, Valkey too."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from penstock.core.clock import Clock
from penstock.core.errors import BAD_DEPLOYMENT, COUNTERS_UNAVAILABLE, PenstockError

AWAY_S = 0.25
"""After a failure nobody waits for Redis for so long; then one call tries it, while the others are still refused."""
CONNECTIONS = 32
"""Of one process, at most. A call that finds none free waits for one, within its deadline."""
_TEXT = Path(__file__).with_name("counters_redis.lua").read_text("utf-8")

Answer = int | bytes | list[int] | list[bytes | None] | None
"""What Redis may say to the commands used here."""


class EpochLost(PenstockError):
    """Redis does not hold what was counted any more: it was restarted, emptied or replaced, or has evicted something.
    Nothing was done. It counts again when the epoch has been rebuilt from the ledger."""

    def __init__(self) -> None:
        super().__init__(
            COUNTERS_UNAVAILABLE,
            "Redis has lost what was counted of limits and budgets; they are rebuilt from the ledger; try again",
        )


class Names(msgspec.Struct, frozen=True):
    """The keys of one deployment, all in one hash slot."""

    truth: str
    leases: str
    due: str
    untils: str
    presented: str
    lock: str

    @classmethod
    def of(cls, namespace: str) -> Names:
        """Those of a namespace. Raises ``PenstockError(BAD_DEPLOYMENT)`` when it is empty or has a brace."""
        if not namespace or set(namespace) & set("{}"):
            raise PenstockError(BAD_DEPLOYMENT, f"{namespace!r} is no name for keys in Redis: empty, or with a brace")
        return cls(*(f"{{{namespace}}}:{name}" for name in ("truth", "leases", "due", "untils", "presented", "lock")))


class Script(msgspec.Struct, frozen=True):
    """The counters' script for one epoch; ``sha`` is what Redis calls it."""

    epoch: str
    text: str
    sha: str

    @classmethod
    def of(cls, epoch: str) -> Script:
        """That of an epoch. Raises ``PenstockError(BAD_DEPLOYMENT)`` unless it is hexadecimal."""
        if not epoch or set(epoch) - set("0123456789abcdef"):
            raise PenstockError(BAD_DEPLOYMENT, f"{epoch!r} is no epoch of the counters; only they make one")
        text = _TEXT.replace("@EPOCH@", epoch, 1)
        return cls(epoch, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class RedisLink:
    """Calls to the Redis at a URL, each with a deadline. It connects when first called and again after a failure, by
    itself; nothing is ever sent twice. For one event loop."""

    def __init__(self, url: str, namespace: str, *, timeout_s: float, clock: Clock) -> None:
        self.names = Names.of(namespace)
        self._keys = (self.names.truth, self.names.leases, self.names.due, self.names.untils, self.names.presented)
        try:
            self._pool = BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS,
                timeout=None,
                socket_timeout=None,
                socket_connect_timeout=timeout_s,
                retry=Retry(NoBackoff(), 0),
                retry_on_error=[],
            )
        except ValueError as error:
            raise PenstockError(
                BAD_DEPLOYMENT, "`access: counters` is no URL of a Redis; write redis://HOST:PORT/NUMBER"
            ) from error
        self._client = Redis(connection_pool=self._pool)
        self._execute: Callable[..., Awaitable[Answer]] = self._client.execute_command
        self._timeout_s = timeout_s
        self._now = clock.now
        self._away_until = 0.0
        self._away = False
        self._trying = False

    async def run(self, script: Script, *arguments: str | int | float, timeout_s: float | None = None) -> Answer:
        """One operation of the counters' script, one round trip. Raises ``EpochLost`` when Redis has not the script,
        and as ``call``."""
        return await self.call("EVALSHA", script.sha, 5, *self._keys, *arguments, timeout_s=timeout_s)

    async def call(self, *command: str | int | float, timeout_s: float | None = None) -> Answer:
        """One command. Raises ``PenstockError(COUNTERS_UNAVAILABLE)`` when there is no answer in time, or there was
        none a moment ago; whether it was carried out is then unknown."""
        probing = False
        if self._away:
            if self._trying or self._now() < self._away_until:
                raise _unavailable("did not answer a moment ago and is not asked again yet")
            self._trying = probing = True
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s):
                answer = await self._execute(*command)
        except NoScriptError:
            self._away = False
            raise EpochLost from None
        except TimeoutError as error:
            await self._failed()
            raise _unavailable(f"did not answer within {timeout_s or self._timeout_s:g} s") from error
        except (RedisConnectionError, ReadOnlyError, OSError) as error:
            await self._failed()
            raise _unavailable(f"cannot be used ({type(error).__name__}: {error})") from error
        except ResponseError as error:
            self._away = False
            raise _unavailable(f"refused a command: {error}") from error
        except RedisError as error:
            await self._failed()
            raise _unavailable(f"failed ({type(error).__name__}: {error})") from error
        finally:
            if probing:
                self._trying = False
        self._away = False
        return answer

    async def _failed(self) -> None:
        self._away = True
        self._away_until = self._now() + AWAY_S
        # Connections that nobody uses are to the same server, which may be another one soon.
        await self._pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        """Closes every connection. Idempotent."""
        await self._client.aclose()
        await self._pool.disconnect()


def _unavailable(what: str) -> PenstockError:
    return PenstockError(
        COUNTERS_UNAVAILABLE, f"the Redis of `access: counters` {what}; see that it runs and can be reached"
    )
