"""Charts and the overview: whose numbers, over which time, and what is not known."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from penstock.control.observed.points import told_until
from penstock.control.observed.standing import Live, ServiceStanding
from penstock.core.errors import INVALID_VALUE, NOT_FOUND, STORE_UNAVAILABLE, PenstockError
from penstock.core.series import Alert, Fed
from penstock.observe.series import Folding
from penstock.store import SeriesStore
from penstock.store.forgetful_series import ForgetfulSeries
from tests.control.accounts.office import NOW, Office, actor, record

UNTIL = NOW - NOW % 10


def seen(office: Office, *ends: tuple[str, float, dict[str, Any]], told: float = UNTIL, gateway: str = "g") -> None:
    """Requests of a project that ended at a time."""
    records = [
        record(project, f"{project}-{at}-{n}", at=at - 1.0, **changes)
        for n, (project, at, changes) in enumerate(ends)
    ]
    office.series.append_series(Folding(gateway).fold(records), Fed(gateway=gateway, until=told))


async def test_points_are_by_time_and_group_and_know_until_when_all_is_told(here: Office) -> None:
    seen(
        here,
        ("red", UNTIL - 25, {"service": "a"}),
        ("red", UNTIL - 24, {"service": "a", "status": 500, "ending": "failed", "code": "upstream_failed"}),
        ("blue", UNTIL - 5, {"service": "b", "stream": True, "first_chunk_s": 0.2}),
        told=UNTIL - 10,
    )
    found = await here.do("series.list", step="10", by="service,project", since=str(UNTIL - 30), until=str(UNTIL))
    first, last = found["data"]
    assert (first["at"], first["step_s"], first["group"]) == (UNTIL - 30, 10.0, {"service": "a", "project": "red"})
    assert (first["requests"], first["failed"], first["codes"]) == (2, 1, {"upstream_failed": 1})
    assert first["cost"] == "0.005"
    assert first["duration"]["p50"] == pytest.approx(1000, rel=0.01)
    assert first["first_chunk"] is None
    assert [each["known"] for each in (first, last)] == [True, False]
    assert last["first_chunk"]["count"] == 1
    assert last["tokens_per_s"] == pytest.approx(5.0)
    page = await here.do("series.list", step="10", by="service", since=str(UNTIL - 30), limit="1")
    rest = await here.do("series.list", step="10", by="service", since=str(UNTIL - 30), after=page["next"])
    assert [each["group"]["service"] for each in page["data"] + rest["data"]] == ["a", "b"]
    assert rest["next"] is None
    for name, value in (("step", "15"), ("step", "0"), ("by", "weather"), ("since", "0"), ("after", "x")):
        error = await here.refused("series.list", **{name: value})
        assert error.fault is INVALID_VALUE


async def test_who_may_not_see_the_projects_sees_the_charts_of_its_own_key(here: Office) -> None:
    seen(here, ("red", UNTIL - 5, {}), ("red", UNTIL - 5, {"key_id": "other"}), ("blue", UNTIL - 5, {}))
    since = str(UNTIL - 60)

    async def counted(who: object, **query: str) -> int:
        found = await here.do("series.list", as_=who, since=since, **query)
        return sum(each["requests"] for each in found["data"])

    own = actor("developer", key_id="red-key")
    assert await counted(actor("viewer", everywhere=True)) == 3
    assert await counted(actor("viewer")) == 2
    assert await counted(own) == 1
    for query in ({"project": "blue"}, {"key": "other"}):
        assert (await here.refused("series.list", as_=own, **query)).fault is NOT_FOUND
    view = await here.do("overview.get", as_=own)
    assert view["total"]["requests"] == 1


async def test_the_overview_compares_with_the_window_before(here: Office) -> None:
    here.live = Live(
        gateway="g",
        services=[
            ServiceStanding(service="chat", ready=True, state="ready"),
            ServiceStanding(service="idle", ready=False, state="starting"),
        ],
        in_flight=4,
        queued=1,
    )
    seen(
        here,
        *[("red", UNTIL - 5 - n, {}) for n in range(10)],
        *[("red", UNTIL - 3600 - 5 - n, {}) for n in range(4)],
        ("red", UNTIL - 7200 - 5, {}),
        ("red", UNTIL - 5, {"service": "gone"}),
        told=UNTIL + 3,
    )
    view = await here.do("overview.get")
    assert (view["since"], view["until"], view["stale_since"]) == (UNTIL - 3600, UNTIL, None)
    assert (view["total"]["requests"], view["before"]["requests"], view["total"]["known"]) == (11, 4, True)
    chat, gone, idle = view["services"]
    assert (chat["now"]["requests"], chat["before"]["requests"], chat["state"]) == (10, 4, "ready")
    assert (gone["state"], gone["ready"], gone["now"]["requests"]) == ("unknown", False, 1)
    assert (idle["now"]["requests"], idle["now"]["known"], idle["now"]["duration"]) == (0, True, None)
    assert (view["in_flight"], view["queued"]) == (4, 1)
    assert view["gateways"] == [{"id": "g", "alive": False, "told_until": UNTIL + 3, "shed": 0}]
    project = await here.do("overview.get", as_=actor("owner"))
    assert (project["in_flight"], project["total"]["requests"]) == (None, 11)
    assert (await here.refused("overview.get", window="2h")).param == "window"


@pytest.mark.parametrize("window", ["1m", "5m", "15m", "1h", "6h", "24h"])
async def test_a_window_counts_what_ended_in_it_and_nothing_else(here: Office, window: str) -> None:
    length = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "6h": 21600, "24h": 86400}[window]
    until = UNTIL - 70.0
    edges = [until - length, until - 10, until - length - 10, until, until - 2 * length, until - 2 * length - 10]
    seen(here, *[("red", at + 5, {}) for at in edges])
    view = await here.do("overview.get", window=window, until=str(until))
    assert (view["total"]["requests"], view["before"]["requests"]) == (2, 2)


async def test_what_nobody_has_told_is_unknown_and_not_zero(here: Office) -> None:
    view = await here.do("overview.get")
    assert (view["total"], view["before"], view["services"]) == (None, None, [])
    seen(here, ("red", UNTIL - 500, {}), told=UNTIL - 400)
    view = await here.do("overview.get", window="5m")
    # All that is known is older than the window.
    assert (view["total"], view["until"], view["stale_since"]) == (None, UNTIL, UNTIL - 400)
    assert view["before"]["known"] is False


class _Away(ForgetfulSeries):
    def fed(self) -> list[Fed]:
        raise PenstockError(STORE_UNAVAILABLE, "away")


async def test_while_the_store_is_away_it_says_what_the_gateway_knows_by_itself(here: Office) -> None:
    here.live = Live(services=[ServiceStanding(service="chat", ready=True, state="ready")], stale_since=NOW - 20)
    store: SeriesStore = _Away()
    here.administration._sources = replace(here.sources(), series=store)
    view = await here.do("overview.get")
    assert (view["total"], view["stale_since"]) == (None, NOW - 20)
    assert view["services"][0]["state"] == "ready"
    assert view["services"][0]["now"] is None


async def test_alerts_and_changes_are_on_it_for_who_may_see_them(full: Office) -> None:
    alert = Alert(id="a", kind="burn", severity="page", text="It burns", since=NOW - 9, changed_at=NOW - 9)
    full.alerts.put_alerts([alert], {})
    view = await full.do("overview.get")
    assert [each["id"] for each in view["alerts"]] == ["a"]
    assert "Key red-key was made" in {each["text"] for each in view["changes"]}
    assert (await full.do("overview.get", as_=actor("developer")))["alerts"] == []


def test_all_is_known_until_the_gateway_that_is_furthest_behind() -> None:
    fed = [Fed(gateway="a", until=10.0), Fed(gateway="b", until=7.0), Fed(gateway="dead", until=1.0)]
    assert told_until(fed, ("a", "b")) == 7.0
    assert told_until(fed, ("a", "b", "new")) is None
    assert told_until(fed, ()) == 1.0
    assert told_until((), ()) is None
