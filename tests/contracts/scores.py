"""What every ``ScoreStore`` promises. An adapter's tests subclass ``ScoreContract`` and say how one is made."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from penstock.core.releases import Decision, Score
from penstock.core.usage import Entry
from penstock.store import LATE_S, ScoreStore, ScoreSum
from tests.contracts.ledger import NOON, entry
from tests.contracts.releases import decision


def score(request_id: str = "req", **changes: Any) -> Score:
    fields: dict[str, Any] = {
        "request_id": request_id,
        "at": NOON,
        "arrived_at": NOON + 2.5,
        "service": "chat",
        "release": "rel_b",
        "rollout": "ro1",
        "metric": "format",
        "version": "v1",
        "value": 0.5,
        "unit": "5f",
    }
    return Score(**fields | changes)


def feedback(request_id: str = "req", **changes: Any) -> Score:
    """As a client gives it."""
    given: dict[str, Any] = {"service": "", "release": "", "rollout": "", "unit": "", "metric": "thumb"}
    return score(request_id, **given | {"arrived_at": NOON + 60} | changes)


class ScoreContract:
    def make(self) -> ScoreStore:
        """A new, empty one."""
        raise NotImplementedError

    def used(self, entries: Sequence[Entry]) -> None:
        """Writes rows of the ledger."""
        raise NotImplementedError

    def decide(self, decisions: Sequence[Decision]) -> None:
        """Writes them, with a change of the directory."""
        raise NotImplementedError

    @pytest.fixture
    def store(self) -> ScoreStore:
        return self.make()

    def test_a_score_comes_back_whole(self, store: ScoreStore) -> None:
        one = score("日本 \"'%;--", value=0.1234567890123, copied=True, note="fine\nbut long", at=NOON + 0.123456)
        assert store.append_scores([one]) == 1
        assert list(store.of_request(one.request_id)) == [one]
        assert [each for _, each in store.scores("ro1", 0, 10)] == [one]
        assert list(store.of_request("other")) == []

    def test_writing_twice_is_once_and_the_first_stays(self, store: ScoreStore) -> None:
        assert store.append_scores([]) == 0
        assert store.append_scores([score("a"), score("b"), score("a")]) == 2
        assert store.append_scores([score("b", value=0.9), score("c"), score("a", note="again")]) == 1
        assert [each.request_id for _, each in store.scores("ro1", 0, 10)] == ["a", "b", "c"]
        assert [each.value for _, each in store.scores("ro1", 0, 10)] == [0.5] * 3
        others = [score("a", metric="cost"), score("a", version="v2"), score("a", release="rel_a", copied=True)]
        assert store.append_scores(others) == 3
        assert list(store.of_request("a")) == [score("a"), *others]

    def test_they_are_read_on_in_the_order_of_arrival(self, store: ScoreStore) -> None:
        store.append_scores([score(str(n)) for n in range(7)])
        store.append_scores([score("x", rollout="ro2"), score("y", rollout="")])
        store.append_scores([score(str(n)) for n in range(5, 12)])
        found: list[tuple[int, Score]] = []
        while page := store.scores("ro1", found[-1][0] if found else 0, 5):
            assert len(page) <= 5
            found += page
        assert [each.request_id for _, each in found] == [str(n) for n in range(12)]
        numbers = [number for number, _ in found]
        assert numbers == sorted(set(numbers))
        assert numbers[0] > 0
        assert [each.request_id for _, each in store.scores("ro2", 0, 5)] == ["x"]

    def test_who_reads_on_misses_none_of_those_that_many_write_at_once(self, store: ScoreStore) -> None:
        start = threading.Barrier(5)
        writing = threading.Semaphore(0)

        def write(who: int) -> int:
            start.wait(10)
            new = 0
            for turn in range(12):
                shared = [score(f"shared{turn}-{n}") for n in range(5)]
                own = [score(f"own{who}-{turn}-{n}") for n in range(5)]
                new += store.append_scores([*own, *(shared if who % 2 else reversed(shared))])
            writing.release()
            return new

        def read() -> list[tuple[int, Score]]:
            start.wait(10)
            found: list[tuple[int, Score]] = []
            ended = 0
            while True:
                ended += writing.acquire(blocking=False)
                page = store.scores("ro1", found[-1][0] if found else 0, 20)
                found += page
                if ended == 4 and not page:
                    return found

        with ThreadPoolExecutor(5) as pool:
            reading = pool.submit(read)
            assert sum(pool.map(write, range(4))) == 4 * 12 * 5 + 12 * 5
        assert len({each.request_id for _, each in reading.result()}) == len(reading.result()) == 300

    def test_texts_and_values_that_no_database_takes(self, store: ScoreStore) -> None:
        odd = [
            score("a\0\ud800", note="n\0", value=math.nan),
            score("b", value=math.inf),
            score("c", value=-1e300),
            score("d", value=1.0000001),
        ]
        assert store.append_scores([*odd, score("good")]) == 5
        assert store.append_scores(odd) == 0
        assert [each.value for _, each in store.scores("ro1", 0, 10)] == [0.0, 1.0, 0.0, 1.0, 0.5]
        (kept,) = store.of_request("a\0\ud800")
        assert kept.note == "n\ufffd"

    def test_feedback_gets_what_other_scores_of_its_request_know(self, store: ScoreStore) -> None:
        self.used([entry("a", release="rel_x", service="other")])
        store.append_scores([score("a"), score("a", release="rel_c", copied=True, unit="99"), score("b", rollout="")])
        given = [feedback("a", value=1.0, note="Good."), feedback("b")]
        assert store.append_scores(given) == 2
        assert store.of_request("a")[-1] == score("a", metric="thumb", value=1.0, note="Good.", arrived_at=NOON + 60)
        assert [each.metric for _, each in store.scores("ro1", 0, 10)] == ["format", "format", "thumb"]
        assert store.of_request("b")[-1].rollout == ""

    def test_feedback_and_scores_may_come_together(self, store: ScoreStore) -> None:
        assert store.append_scores([feedback("a"), score("a")]) == 2
        assert {each.release for each in store.of_request("a")} == {"rel_b"}

    def test_else_feedback_gets_what_the_ledger_knows(self, store: ScoreStore) -> None:
        self.used(
            [
                entry("a", 1, release="rel_a"),
                entry("a", 2, release="rel_a"),
                entry("a", 1, release="rel_c", received_at=NOON + 60),
                entry("a", 3, release="rel_i", service="judge", purpose="internal", received_at=NOON + 90),
                entry("b", release=""),
                *(entry(f"m{n}", release=f"rel_{n}", received_at=NOON + n) for n in range(1200)),
            ]
        )
        assert store.append_scores([feedback("a"), feedback("b"), feedback("nobody")]) == 3
        assert list(store.of_request("a")) == [feedback("a", service="chat", release="rel_c")]
        assert list(store.of_request("b")) == [feedback("b", service="chat")]
        assert list(store.of_request("nobody")) == [feedback("nobody")]
        assert store.append_scores([feedback(f"m{n}") for n in range(1200)]) == 1200
        assert {store.of_request(f"m{n}")[0].release for n in (0, 600, 1199)} == {"rel_0", "rel_600", "rel_1199"}

    def test_feedback_on_a_request_of_another_project_is_dropped(self, store: ScoreStore) -> None:
        foreign, own = '{"project":"blue","key":"k"}', '{"project":"red","key":"k"}'
        self.used([entry("a", release="rel_a"), entry("b", release="rel_b")])
        store.append_scores([score("b"), feedback("a", note=foreign), feedback("b", note=foreign)])
        assert list(store.of_request("a")) == []
        assert [each.metric for each in store.of_request("b")] == ["format"]
        store.append_scores([feedback("a", note=own), feedback("b", note=own)])
        assert [each.release for each in store.of_request("a")] == ["rel_a"]
        assert [each.metric for each in store.of_request("b")] == ["format", "thumb"]
        # It has overtaken its request.
        store.append_scores([feedback("c", note=foreign), feedback("d", note=own)])
        self.used([entry("c", release="rel_a"), entry("d", release="rel_a")])
        store.append_scores([score("x")])
        assert list(store.of_request("c")) == []
        assert [each.release for each in store.of_request("d")] == ["rel_a"]

    def test_feedback_that_was_given_stays_whatever_is_known_later(self, store: ScoreStore) -> None:
        assert store.append_scores([feedback("a", value=1.0), feedback("a", value=0.0)]) == 1
        assert store.append_scores([feedback("a", value=0.0)]) == 0
        later = {"arrived_at": NOON + 60 + LATE_S + 1}
        store.append_scores([score("a", **later)])
        assert store.append_scores([feedback("a", value=0.0, **later)]) == 0
        more = [feedback("a", value=0.25, version="v2", **later), feedback("a", metric="rating", **later)]
        assert store.append_scores(more) == 2
        assert store.append_scores([feedback("a", value=0.75, version="v2", **later)]) == 0
        assert [(each.metric, each.version, each.value, each.release) for each in store.of_request("a")] == [
            ("thumb", "v1", 1.0, ""),
            ("format", "v1", 0.5, "rel_b"),
            ("thumb", "v2", 0.25, "rel_b"),
            ("rating", "v1", 0.5, "rel_b"),
        ]

    def test_feedback_that_overtook_its_request_is_of_its_rollout_when_that_is_known(self, store: ScoreStore) -> None:
        """It may have come by another gateway."""
        store.append_scores([feedback("a"), feedback("b"), feedback("c"), score("x")])
        read = store.scores("ro1", 0, 10)[-1][0]
        self.used([entry("b", release="rel_a")])
        assert store.append_scores([score("a", arrived_at=NOON + 60 + LATE_S)]) == 1
        assert list(store.of_request("a"))[1:] == [score("a", metric="thumb", arrived_at=NOON + 60)]
        assert [each.metric for _, each in store.scores("ro1", read, 10)] == ["format", "thumb"]
        assert list(store.of_request("b")) == [feedback("b", service="chat", release="rel_a")]
        assert list(store.of_request("c")) == [feedback("c")]
        assert store.append_scores([feedback("a", value=0.0), feedback("b", value=0.0), score("a")]) == 0
        assert len(store.of_request("a")) == 2

    def test_summary(self, store: ScoreStore) -> None:
        assert list(store.summary("chat", "rel_b", 0.0)) == []
        store.append_scores(
            [
                score("a", value=1.0),
                score("b", value=0.25),
                score("c", value=0.0, at=NOON - 1),
                score("d", metric="cost", value=0.125),
                score("e", version="v2", value=1.0, rollout=""),
                score("f", value=0.75, copied=True),
                score("g", release="rel_a"),
                score("h", service="other"),
            ]
        )
        named = {"count": 1, "version": "v1", "copied": False}
        assert list(store.summary("chat", "rel_b", NOON)) == [
            ScoreSum(metric="cost", mean=0.125, **named),
            ScoreSum(metric="format", mean=0.625, **named | {"count": 2}),
            ScoreSum(metric="format", mean=0.75, **named | {"copied": True}),
            ScoreSum(metric="format", mean=1.0, **named | {"version": "v2"}),
        ]
        assert store.summary("chat", "rel_b", 0.0)[1].count == 3

    def test_the_worst_pairs_come_first(self, store: ScoreStore) -> None:
        values = {"a": (0.5, 0.25), "b": (1.0, 0.0), "c": (0.5, 0.5), "d": (0.0, 1.0), "e": (0.75, 0.5)}
        for name, (got, copy) in values.items():
            store.append_scores([score(name, value=got, release="rel_a")])
            store.append_scores([score(name, value=copy, copied=True)])
        store.append_scores([score("b", metric="cost", copied=True, value=0.0), score("z", copied=True, value=0.0)])
        worst = store.worst_pairs("ro1", "format", 2)
        assert [(one.request_id, one.value, copy.value) for one, copy in worst] == [("b", 1.0, 0.0), ("a", 0.5, 0.25)]
        assert all(not one.copied and copy.copied for one, copy in worst)
        assert [one.request_id for one, _ in store.worst_pairs("ro1", "format", 9)] == ["b", "a", "e"]
        assert list(store.worst_pairs("ro2", "format", 9)) == []

    def test_decisions_are_those_that_changes_made(self, store: ScoreStore) -> None:
        assert list(store.decisions("ro1")) == []
        self.decide([decision(2), decision(1), decision(1, "ro2")])
        assert list(store.decisions("ro1")) == [decision(1), decision(2)]

    def test_forgetting(self, store: ScoreStore) -> None:
        self.decide([decision(1)])
        store.append_scores([score(str(n), arrived_at=NOON + n // 10) for n in range(100)])
        last = store.scores("ro1", 0, 1000)[-1][0]
        assert store.forget_scores(NOON) == 0
        assert store.forget_scores(NOON + 4) == 40
        assert len(store.scores("ro1", 0, 1000)) == 60
        assert store.forget_scores(NOON + 99) == 60
        assert store.forget_scores(NOON + 99) == 0
        assert list(store.decisions("ro1")) == [decision(1)]
        # No number is used again.
        store.append_scores([score("after")])
        assert store.scores("ro1", 0, 1)[0][0] > last

    def test_a_request_is_erased_with_what_clients_of_its_project_said_of_it(self, store: ScoreStore) -> None:
        given = '{"project":"red"}'
        store.append_scores(
            [
                score("one", at=NOON),
                score("one", at=NOON, copied=True, metric="copied"),
                score("one", at=NOON - 900, metric="of another time"),
                feedback("one", note=given),
                feedback("one", note='{"project":"blue"}', metric="of another project"),
                score("two", at=NOON),
            ]
        )
        requests = [("one", NOON + 0.25, "red"), *((f"many-{n}", NOON, "red") for n in range(1200))]
        assert store.erase_scores(requests) == 3
        assert store.erase_scores(requests) == 0
        assert store.erase_scores([]) == 0
        assert {each.metric for each in store.of_request("one")} == {"of another time", "of another project"}
        assert len(store.of_request("two")) == 1
