"""An administrative request that is sent again is carried out once, wherever and however often it arrives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.e2e.access.house import Admin, Answer, deployment, id_of, known_to_all, shared
from tests.e2e.running import Penstock, running

CROWD = 20


@contextmanager
def one() -> Iterator[Sequence[Penstock]]:
    with running(deployment(server={"workers": 2, "access_log": "off"})) as server:
        yield [server]


@contextmanager
def two() -> Iterator[Sequence[Penstock]]:
    with shared() as house:
        yield house.gateways


def at_once(gateways: Sequence[Penstock], path: str, body: object, idempotency_key: str) -> list[Answer]:
    """The same request from many clients, spread over the gateways, with one person's key."""
    key = gateways[0].key
    clients = [Admin(gateways[number % len(gateways)], key) for number in range(CROWD)]
    with ThreadPoolExecutor(CROWD) as pool:
        sent = [pool.submit(each.ask, "POST", path, body, idempotency_key=idempotency_key) for each in clients]
        return [each.result() for each in sent]


def acts(admin: Admin, action: str) -> int:
    return sum(row["action"] == action for row in admin.get("/audit?limit=200")["data"])


@pytest.mark.parametrize("house", [one, two], ids=["one gateway", "two gateways"])
def test_the_same_request_twice_or_twenty_times_at_once_is_one(house) -> None:
    with house() as gateways:
        admin = Admin(gateways[0])
        elsewhere = Admin(gateways[-1], gateways[0].key)
        known_to_all(gateways, gateways[0].key)
        admin.post("/projects", {"id": "red"})
        before = acts(admin, "keys.create")

        asked = {"project": "red", "name": "nightly"}
        first = admin.ask("POST", "/keys", asked, idempotency_key="first")
        again = elsewhere.ask("POST", "/keys", asked, idempotency_key="first")
        assert (first.status, again.status) == (201, 201)
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        assert again.json == first.json, "the secret is told again"
        secret = first.json["secret"]
        known_to_all(gateways, secret)
        assert acts(admin, "keys.create") == before + 1

        # Another request under the same key is refused; the same one under none, or another, is another.
        other = elsewhere.ask("POST", "/keys", asked | {"name": "other"}, idempotency_key="first")
        assert (other.status, other.code) == (409, "idempotency_conflict")
        assert (
            elsewhere.ask("POST", "/projects", {"id": "blue"}, idempotency_key="first").code == "idempotency_conflict"
        )
        assert admin.ask("POST", "/keys", asked, idempotency_key="second").json["secret"] != secret
        assert admin.ask("POST", "/keys", asked).json["secret"] != secret

        told = at_once(gateways, "/keys", {"project": "red", "name": "crowd"}, "crowd")
        statuses = Counter(each.status for each in told)
        secrets = {each.json["secret"] for each in told if each.status == 201}
        replayed = sum("idempotent-replayed" in each.headers for each in told)
        print(
            f"\n{CROWD} at once at {len(gateways)} gateways: {dict(statuses)}, {replayed} told again, {len(secrets)} secret"
        )
        assert statuses == {201: CROWD}
        assert replayed == CROWD - 1
        (crowd,) = secrets
        known_to_all(gateways, crowd)
        assert sum(each["name"] == "crowd" for each in admin.get("/keys?limit=200")["data"]) == 1

        # So is a rotation: all are told one new secret, and the one before is in its grace.
        rotated = at_once(gateways, f"/keys/{id_of(crowd)}/rotate", {"grace_s": 60}, "rotate")
        (new,) = {each.json["secret"] for each in rotated}
        assert new != crowd
        known_to_all(gateways, new, crowd)
        # What a later rotation has made untrue is not told again.
        assert admin.ask("POST", f"/keys/{id_of(crowd)}/rotate", {"grace_s": 0}).status == 200
        assert (
            admin.ask("POST", f"/keys/{id_of(crowd)}/rotate", {"grace_s": 60}, idempotency_key="rotate").code
            == "conflict"
        )

        made = at_once(
            gateways, "/limits", {"kind": "project", "subject": "red", "metric": "requests", "amount": 9}, "l"
        )
        assert len({each.json["id"] for each in made}) == 1
        assert len(admin.get("/limits")["data"]) == 1
        chosen = at_once(gateways, "/projects", {"id": "chosen"}, "chosen")
        assert Counter(each.status for each in chosen) == {201: CROWD}
        assert len({each.body for each in chosen}) == 1
        # Without a key, all but one stand in the way of themselves.
        bare = at_once(gateways, "/projects", {"id": "green"}, "")
        assert Counter(each.status for each in bare) == {201: 1, 409: CROWD - 1}

        # A key is its sender's alone.
        member = Admin(gateways[0], admin.key("red", role="admin"))
        mine = member.ask("POST", "/keys", asked, idempotency_key="first")
        assert mine.status == 201
        assert "idempotent-replayed" not in mine.headers
        assert mine.json["secret"] != secret
