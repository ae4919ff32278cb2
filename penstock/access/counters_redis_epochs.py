"""How counters in Redis are rebuilt when what they counted was lost, and begun in the first place.

Every gateway looks at ``epoch`` now and then, and when its counters say that theirs is lost:

1. There is none: ``begin``. One gateway gets an id, the others None; it leads, for ``LEAD_S`` at most.
2. There is one that this gateway has not presented to: it stops shipping its journal, so that the ledger gets no row
   of a lease that is open in the counters too, calls ``present`` with the leases open at that point of the journal,
   and lets its workers ``join``.
3. When all that are alive are in ``presented``, the leader asks the ledger what was spent and calls ``open``. From
   then on there are grants; leases may be settled from ``present`` on.
4. Journals are shipped again; what was settled in between is settled again, which does nothing where it was done.

A gateway that missed all of it does step 2 when it is back: its leases are then counted beside the others.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from penstock.access.counters_redis import HOLDS
from penstock.access.counters_redis_link import EpochLost, RedisLink, Script
from penstock.access.counters_tally import BUCKETS
from penstock.core.errors import BAD_DEPLOYMENT, PenstockError
from penstock.core.leases import Hold
from penstock.core.usage import Held

LEAD_S = 30.0
"""For how long a rebuild may take before another gateway may begin anew."""
_SLOW_S = 5.0
"""How long an answer is waited for here, where nobody waits for a reply."""
_AT_ONCE = 500
"""So many amounts travel in one call, so that Redis serves others in between."""

_BEGIN = """
local have = redis.call('HMGET', KEYS[1], 'epoch', 'rebuilding')
if (have[1] or '') ~= ARGV[1] or (have[2] or '') ~= ARGV[2] then
  return 0
end
local prefix = string.sub(KEYS[1], 1, -6) .. 'window:'
for _, counter in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  redis.call('UNLINK', prefix .. counter)
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
redis.call('HSET', KEYS[1], 'rebuilding', ARGV[3], 'open', 0, 'windows', 0)
redis.call('SET', KEYS[6], ARGV[3] .. ' ' .. ARGV[4], 'PX', ARGV[5])
return 1
"""


class Epoch(msgspec.Struct, frozen=True):
    """``open``: what was spent is in it, and reserves are granted."""

    id: str
    open: bool


class RedisEpochs:
    """The epochs of the Redis behind a link. Calls raise ``PenstockError(COUNTERS_UNAVAILABLE)`` when it cannot be
    reached, and ``EpochLost`` when the epoch named is not the one that is there."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def epoch(self) -> Epoch | None:
        """The one that is open or being rebuilt; None when what was counted is lost, or nothing ever was."""
        return await self._standing(*await self._said())

    async def begin(self, gateway: str) -> str | None:
        """Empties the counters and begins to rebuild them; the id of the new epoch. None when they are in order, or
        another gateway leads. One's own rebuild begins anew.

        Raises ``PenstockError(BAD_DEPLOYMENT)`` for a Redis before 7: its restarts cannot be told."""
        opened, rebuilding = await self._said()
        standing = await self._standing(opened, rebuilding)
        if standing and standing.open:
            return None
        names = self._link.names
        lock = await self._link.call("GET", names.lock, timeout_s=_SLOW_S)
        if standing and isinstance(lock, bytes):
            leading, _, leader = lock.decode().partition(" ")
            if leading == standing.id and leader != gateway:
                return None
        await self._check_version()
        script = Script.of(secrets.token_hex(8))
        await self._link.call("SCRIPT LOAD", script.text, timeout_s=_SLOW_S)
        begun = await self._link.call(
            *("EVAL", _BEGIN, 6, *msgspec.structs.astuple(names)),
            *(opened, rebuilding, script.epoch, gateway, int(LEAD_S * 1000)),
            timeout_s=_SLOW_S,
        )
        return script.epoch if begun == 1 else None

    async def present(self, gateway: str, epoch: str, leases: Iterable[tuple[str, str, Sequence[Held]]]) -> None:
        """Opens the gateway's leases (owner, lease, what it holds) in the epoch, whatever the limits, those left out
        that are open in it; then notes that the gateway has. Safe to be done again."""
        script = Script.of(epoch)
        said: list[str | int | float] = []
        for owner, lease, parts in leases:
            said += (owner, lease, len(parts))
            for held in parts:
                said += _told(held)
            if len(said) > 6 * _AT_ONCE:
                await self._run(script, "present", *said)
                said = []
        await self._run(script, "present", *said)
        await self._run(script, "presented", gateway)

    async def presented(self, epoch: str) -> frozenset[str]:
        """The gateways that have presented their leases to the epoch."""
        standing = await self.epoch()
        if standing is None or standing.id != epoch:
            raise EpochLost
        members = await self._link.call("SMEMBERS", self._link.names.presented, timeout_s=_SLOW_S)
        return frozenset(each.decode() for each in _listed(members))

    async def open(self, epoch: str, spent: Mapping[str, tuple[int, float]], past: Iterable[Held] = ()) -> None:
        """Adds what the ledger has: of KEPT counters an amount and ``until``, of SLIDING ones what was used in the
        last window (``past``). Then the epoch is open. When it fails, ``begin`` anew: part of it may have been
        added."""
        script = Script.of(epoch)
        standing = await self.epoch()
        if standing is None or standing.id != epoch or standing.open:
            raise EpochLost
        said: list[str | int | float] = []
        for held in (
            *(Held(name, Hold.KEPT, amount, 0.0, until, 0.0) for name, (amount, until) in spent.items()),
            *past,
        ):
            said += _told(held)
            if len(said) >= 6 * _AT_ONCE:
                await self._run(script, "count", *said)
                said = []
        await self._run(script, "count", *said)
        await self._run(script, "open")

    async def leases(self) -> Sequence[tuple[str, str]]:
        """Every open lease: owner and name."""
        names = await self._link.call("HKEYS", self._link.names.leases, timeout_s=_SLOW_S)
        found = (each.decode().partition("\n") for each in _listed(names))
        return tuple((owner, lease) for owner, _, lease in found)

    async def _said(self) -> tuple[str, str]:
        truth = await self._link.call("HMGET", self._link.names.truth, "epoch", "rebuilding", timeout_s=_SLOW_S)
        opened, rebuilding = ((each or b"").decode() for each in _listed(truth))
        return opened, rebuilding

    async def _standing(self, opened: str, rebuilding: str) -> Epoch | None:
        found = opened or rebuilding
        if not found:
            return None
        known = await self._link.call("SCRIPT EXISTS", Script.of(found).sha, timeout_s=_SLOW_S)
        return Epoch(found, bool(opened)) if known == [True] else None

    async def _check_version(self) -> None:
        said = await self._link.call("INFO", "server", timeout_s=_SLOW_S)
        version = str(said.get("redis_version", "0")) if isinstance(said, dict) else "0"
        if int(version.partition(".")[0]) < 7:
            raise PenstockError(
                BAD_DEPLOYMENT, f"the Redis of `access: counters` is version {version}; it must be 7 or later"
            )

    async def _run(self, script: Script, *arguments: str | int | float) -> None:
        if await self._link.run(script, *arguments, timeout_s=_SLOW_S) == b"lost":
            raise EpochLost


def _told(held: Held) -> tuple[str | int | float, ...]:
    width = repr(held.window_s * 1e6 / BUCKETS)
    return held.counter, HOLDS[held.hold], held.amount, int(held.at * 1e6), width, repr(held.until)


def _listed(answer: object) -> list[bytes]:
    return list(answer) if isinstance(answer, list | set | tuple) else []
