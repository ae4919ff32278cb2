"""Model, prompt and defaults go back together, on every gateway, in less than a second, and nobody notices."""

from __future__ import annotations

import time
from statistics import median

import pytest

from tests.e2e.access.house import Admin, House, shared
from tests.e2e.releases.echo import Echo
from tests.e2e.releases.house import Crowd, released, sides, whole
from tests.e2e.running import wait_until

WITHIN_S = 1.0


def back_and_forth(house: House, echo: Echo, times: int) -> None:
    admins = [Admin(each) for each in house.gateways]
    left, right = released(admins[0])
    side = {left: "left", right: "right"}
    crowd = Crowd(house.gateways, house.gateways[0].key)
    took: list[float] = []

    def all_get(release: str, since: float) -> None:
        wait_until(lambda: {each.release for each in crowd.since(since)[-40:]} == {release}, 20, house.said)

    with crowd.asking():
        for warm in (left, right, left):
            # Each stays warm from here on.
            admins[0].post("/services/chat/rollback", {"to": warm})
            all_get(warm, time.monotonic())
        for number in range(times):
            to, before = (right, left) if number % 2 == 0 else (left, right)
            all_get(before, 0.0)
            began = time.monotonic()
            admins[number % 2].post("/services/chat/rollback", {"to": to})
            asked = time.monotonic()
            all_get(to, asked)
            late = [each.began for each in crowd.since(began) if each.release == before]
            took.append(max([*late, asked]) - began)
    assert set(crowd.statuses()) == {200}, crowd.statuses()
    mixed = [each for each in crowd.told if each.release in side and each.text != whole(side[each.release])]
    assert not mixed, mixed[:3]
    print(
        f"\n{times} rollbacks of model, prompt and defaults over {len(house.gateways)} gateways under {len(crowd.told)} "
        f"requests without an error: the last of the release before was let in {median(took):.3f} s after the command "
        f"began (median), {max(took):.3f} s at most"
    )
    assert max(took) < WITHIN_S


def test_a_rollback_reaches_two_gateways_within_a_second() -> None:
    with Echo() as echo, shared(workers=1, **sides(echo.url)) as house:
        back_and_forth(house, echo, 6)


@pytest.mark.slow
def test_fifty_rollbacks_under_load() -> None:
    with Echo() as echo, shared(workers=2, **sides(echo.url)) as house:
        back_and_forth(house, echo, 50)
