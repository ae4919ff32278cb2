"""What every ``AlertStore`` promises. An adapter's tests subclass ``AlertContract`` and say how one is made."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from penstock.core.series import Alert, Silence
from penstock.store import AlertStore

NOON = 1_700_000_000.25


def alert(id: str = "slo/chat/latency/page", **changes: Any) -> Alert:
    fields: dict[str, Any] = {"kind": "burn", "severity": "page", "text": "It burns.", "since": NOON}
    return Alert(id=id, **{"changed_at": NOON} | fields | changes)


def silence(id: str, **changes: Any) -> Silence:
    return Silence(id=id, **{"pattern": "slo/*", "created_at": NOON, "until": NOON + 60} | changes)


class AlertContract:
    def make(self) -> AlertStore:
        """A new, empty one."""
        raise NotImplementedError

    @pytest.fixture
    def store(self) -> AlertStore:
        return self.make()

    def test_an_alert_comes_back_whole(self, store: AlertStore) -> None:
        one = alert(
            "日本 \"'%;--",
            service="chat",
            project="red",
            value=0.1,
            limit=14.4,
            silenced_by="s",
            notified_at=NOON + 1,
        )
        assert store.put_alerts([one], {one.id: 0.0})
        assert list(store.alerts(NOON)) == [one]

    def test_those_that_hold_and_those_that_ended_lately_newest_first(self, store: AlertStore) -> None:
        made = [alert(str(n), since=NOON + n, resolved_at=None if n % 2 else NOON + 100 + n) for n in range(6)]
        assert store.put_alerts(made, {})
        assert [each.id for each in store.alerts(NOON + 102)] == ["5", "4", "3", "2", "1"]
        assert [each.id for each in store.alerts(NOON + 1000)] == ["5", "3", "1"]

    def test_it_is_changed_only_by_who_knows_how_it_is(self, store: AlertStore) -> None:
        first = alert()
        assert store.put_alerts([first], {first.id: 0.0})
        changed = alert(changed_at=NOON + 5, value=2.0)
        for wrong in ({}, {first.id: 0.0}, {first.id: NOON + 1}):
            assert not store.put_alerts([changed, alert("new")], {"new": 0.0, **wrong})
            assert list(store.alerts(NOON)) == [first]
        assert store.put_alerts([changed, alert("new")], {first.id: NOON})
        assert [each.id for each in store.alerts(NOON)] == ["new", first.id]
        assert store.alerts(NOON)[1] == changed

    def test_one_that_is_over_may_come_again(self, store: AlertStore) -> None:
        over = alert(changed_at=NOON + 9, resolved_at=NOON + 9)
        assert store.put_alerts([alert()], {})
        assert store.put_alerts([over], {over.id: NOON})
        again = alert(since=NOON + 20, changed_at=NOON + 20)
        assert not store.put_alerts([again], {again.id: NOON + 9})
        assert store.put_alerts([again], {again.id: 0.0})
        assert list(store.alerts(NOON)) == [again, over]

    def test_of_many_that_do_it_at_once_one_does_it(self, store: AlertStore) -> None:
        start = threading.Barrier(4)

        def put(who: int) -> bool:
            start.wait(10)
            return store.put_alerts([alert(since=NOON + who)], {alert().id: 0.0})

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(put, range(4))) == 1
        assert len(store.alerts(NOON)) == 1

    def test_silences(self, store: AlertStore) -> None:
        made = [
            silence("b"),
            silence("a", created_at=NOON - 5, reason="日本", by="key_1"),
            silence("c", until=NOON + 5),
        ]
        for each in made:
            store.put_silence(each)
        assert list(store.silences(NOON)) == [made[1], made[0], made[2]]
        assert [each.id for each in store.silences(NOON + 5)] == ["a", "b"]
        store.put_silence(msgspec.structs.replace(made[1], until=NOON))
        assert [each.id for each in store.silences(NOON)] == ["b", "c"]

    def test_texts_that_no_database_takes(self, store: AlertStore) -> None:
        odd = alert("a\0", text="\ud800")
        assert store.put_alerts([odd], {})
        assert len(store.alerts(NOON)) == 1
        assert store.put_alerts([msgspec.structs.replace(odd, changed_at=NOON + 1)], {odd.id: NOON})
        assert [each.changed_at for each in store.alerts(NOON)] == [NOON + 1]
        store.put_silence(silence("s\0", reason="\ud800"))
        assert len(store.silences(NOON)) == 1

    def test_forgetting(self, store: AlertStore) -> None:
        store.put_alerts([alert(str(n), resolved_at=NOON + n if n else None) for n in range(5)], {})
        store.put_silence(silence("old"))
        store.put_silence(silence("new", until=NOON + 90))
        assert store.forget_alerts(NOON + 3) == 2
        assert sorted(each.id for each in store.alerts(0.0)) == ["0", "3", "4"]
        assert store.forget_alerts(NOON + 61) == 3
        assert [each.id for each in store.silences(0.0)] == ["new"]
