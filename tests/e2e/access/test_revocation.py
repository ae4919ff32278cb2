"""A key that is revoked works nowhere a second later, and a secret whose grace is over not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from tests.e2e.access.house import Admin, Wire, deployment, id_of, known_to_all, shared, to_each_worker
from tests.e2e.running import Penstock, running, wait_until

WORKERS = 2
REFUSED_WITHIN_S = 1.0
LARGE = 10**9


@dataclass
class Seen:
    """Of one key at one worker: when the last request that was let in was sent, when the first refusal was there."""

    served: int = 0
    let_in_at: float = 0.0
    refused_at: float = 0.0
    code: str = ""


@dataclass
class Traffic:
    """Requests with each key at each worker, round and round until all keys are refused everywhere."""

    keys: Sequence[str]
    wires: Sequence[Wire]
    seen: dict[tuple[int, str], Seen] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def flowing(self) -> Iterator[None]:
        self.seen = {(number, key): Seen() for number in range(len(self.wires)) for key in self.keys}
        with ThreadPoolExecutor(len(self.wires)) as pool:
            running = [pool.submit(self._round, number, wire) for number, wire in enumerate(self.wires)]
            try:
                yield
            finally:
                self._stop.set()
            for each in running:
                each.result()

    def _round(self, number: int, wire: Wire) -> None:
        while not self._stop.is_set():
            for key in self.keys:
                seen = self.seen[number, key]
                if seen.refused_at:
                    continue
                sent = time.monotonic()
                answer = wire.chat(key)
                if answer.status == 200:
                    seen.let_in_at, seen.served = sent, seen.served + 1
                else:
                    seen.refused_at, seen.code = time.monotonic(), answer.code

    def served(self, times: int) -> bool:
        return all(each.served >= times for each in self.seen.values())

    def refused(self) -> bool:
        return all(each.refused_at for each in self.seen.values())


def revoke_all(gateways: Sequence[Penstock], keys: Sequence[str], meanwhile: Callable[[], None]) -> tuple[float, str]:
    """Revokes all keys at the first gateway while they are in use at every worker of all; by how much the last
    request that was let in came too late."""
    with ExitStack() as held:
        wires = [wire for each in gateways for wire in to_each_worker(each, WORKERS).values()]
        for wire in wires:
            held.callback(wire.close)
        traffic = Traffic(keys, wires)
        admin = Admin(gateways[0])
        with traffic.flowing():
            wait_until(lambda: traffic.served(2), 60)
            meanwhile()
            answered = {}
            for key in keys:
                assert admin.post(f"/keys/{id_of(key)}/revoke")["revoked_at"]
                answered[key] = time.monotonic()
            wait_until(traffic.refused, 20, lambda: "\n".join(each.said() for each in gateways))
    late = max(0.0, *(seen.let_in_at - answered[key] for (_, key), seen in traffic.seen.items()))
    found = max(seen.refused_at - answered[key] for (_, key), seen in traffic.seen.items())
    assert {seen.code for seen in traffic.seen.values()} == {"key_revoked"}
    return late, (
        f"\n{len(keys)} revocations, {len(gateways)} gateways x {WORKERS} workers: let in at most {late:.3f} s after "
        f"the answer, found refused by every worker after at most {found:.3f} s"
    )


def test_revoked_keys_are_refused_by_every_worker_within_a_second() -> None:
    with running(deployment(server={"workers": WORKERS, "access_log": "off"})) as server:
        admin = Admin(server)
        admin.post("/projects", {"id": "red"})
        keys = [admin.key("red") for _ in range(20)]
        late, said = revoke_all([server], keys, lambda: None)
        print(said)
        assert late <= REFUSED_WITHIN_S
        # Those who asked heard the answer after every worker of this gateway did.
        assert late < 0.1


@pytest.mark.slow
def test_a_hundred_revocations_reach_two_gateways_within_a_second_also_without_redis() -> None:
    with shared() as house:
        admin = Admin(house.gateways[0])
        admin.post("/projects", {"id": "red"})
        admin.limit("project", "red", "requests", LARGE)
        first, second = ([admin.key("red") for _ in range(100)] for _ in range(2))
        known_to_all(house.gateways, first[-1], second[-1])
        late, said = revoke_all(house.gateways, first, lambda: None)
        print(said)
        without, said = revoke_all(house.gateways, second, house.redis.kill)
        print(said + ", with Redis stopped")
        assert max(late, without) <= REFUSED_WITHIN_S


def ends(wires: Sequence[Wire], key: str, within_s: float) -> tuple[float, float, set[str]]:
    """Asks with the key at each wire until all refuse it: when the last request that was let in was sent and when
    the first that was refused, in seconds since the epoch; and the codes."""
    let_in, refused, codes = 0.0, {}, set()
    deadline = time.monotonic() + within_s
    while len(refused) < len(wires):
        assert time.monotonic() < deadline, "the key is not refused"
        for number, wire in enumerate(wires):
            sent = time.time()
            answer = wire.get("/v1/models", key)
            if answer.status == 200:
                assert number not in refused, "let in again"
                let_in = max(let_in, sent)
            else:
                refused.setdefault(number, time.time())
                codes.add(answer.code)
    return let_in, min(refused.values()), codes


def rotated_secrets_end_on_time(gateways: Sequence[Penstock]) -> None:
    admin = Admin(gateways[0])
    admin.post("/projects", {"id": "rotating"})
    wires = [wire for each in gateways for wire in to_each_worker(each, WORKERS).values()]
    for grace_s in (1.0, 2.0):
        old = admin.key("rotating")
        known_to_all(gateways, old)
        asked = time.time()
        told = admin.post(f"/keys/{id_of(old)}/rotate", {"grace_s": grace_s})
        own = [wire.get("/v1/models", told["secret"]).status for wire in wires[:WORKERS]]
        assert own == [200] * WORKERS, "the new secret works at once where it was made"
        until = told["key"]["previous_until"]
        assert asked + grace_s <= until <= time.time() + grace_s
        last, first, codes = ends(wires, old, grace_s + 5)
        print(
            f"\ngrace {grace_s:g} s, {len(gateways)} gateways: the old secret last let in {until - last:.3f} s before "
            f"its end, first refused {first - until:+.3f} s after it"
        )
        assert last < until, "let in after its grace"
        assert first >= until, "refused within its grace"
        assert codes == {"key_expired"}
        assert all(wire.get("/v1/models", told["secret"]).status == 200 for wire in wires)
    # Without a grace it is over at once, and a revocation ends both.
    old = admin.key("rotating")
    new = admin.post(f"/keys/{id_of(old)}/rotate", {"grace_s": 0})["secret"]
    assert {wire.get("/v1/models", old).status for wire in wires[:WORKERS]} == {401}
    newer = admin.post(f"/keys/{id_of(old)}/rotate", {"grace_s": 60})["secret"]
    admin.post(f"/keys/{id_of(old)}/revoke")
    for key in (new, newer):
        wait_until(lambda: {wire.get("/v1/models", key).status for wire in wires} == {401}, 1.5)  # noqa: B023
    for wire in wires:
        wire.close()


def what_ends_a_key(gateways: Sequence[Penstock]) -> None:
    """Its expiry, its project's archiving, its user's disabling; the latter two can be undone."""
    admin = Admin(gateways[0])
    wires = [wire for each in gateways for wire in to_each_worker(each, WORKERS).values()]
    admin.post("/projects", {"id": "ending"})
    admin.post("/users", {"id": "ada", "memberships": [{"project": "ending", "role": "developer"}]})

    until = time.time() + 2.0
    key = admin.key("ending", expires_at=until)
    known_to_all(gateways, key)
    last, first, codes = ends(wires, key, 10)
    assert last < until <= first
    assert codes == {"key_expired"}

    plain, adas = admin.key("ending"), admin.key("ending", user="ada")
    known_to_all(gateways, plain, adas)
    admin.patch("/users/ada", {"disabled": True})
    answered = time.time()
    last, _, codes = ends(wires, adas, 10)
    print(f"\na disabled user's key was let in {max(0.0, last - answered):.3f} s after the answer at the most")
    assert last <= answered + REFUSED_WITHIN_S
    assert codes == {"key_revoked"}
    assert all(wire.get("/v1/models", plain).status == 200 for wire in wires)
    admin.patch("/users/ada", {"disabled": False})
    known_to_all(gateways, adas)

    admin.post("/projects/ending/archive")
    answered = time.time()
    late = 0.0
    for key in (plain, adas):
        last, _, codes = ends(wires, key, 10)
        late = max(late, last - answered)
        assert codes == {"key_revoked"}
    print(f"keys of an archived project were let in {late:.3f} s after the answer at the most")
    assert late <= REFUSED_WITHIN_S
    admin.post("/projects/ending/restore")
    known_to_all(gateways, plain, adas)
    for wire in wires:
        wire.close()


def test_what_ends_a_key_or_a_secret_does_so_on_time() -> None:
    with running(deployment(server={"workers": WORKERS, "access_log": "off"})) as server:
        rotated_secrets_end_on_time([server])
        what_ends_a_key([server])


@pytest.mark.slow
def test_what_ends_a_key_or_a_secret_does_so_on_time_at_two_gateways() -> None:
    with shared() as house:
        rotated_secrets_end_on_time(house.gateways)
        what_ends_a_key(house.gateways)
