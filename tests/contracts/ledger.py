"""What every ledger promises. An adapter's tests subclass ``LedgerContract`` and say how one is made."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import asdict

from penstock.core.usage import Entry, Tokens, UsageQuery, UsageSum
from penstock.store import LedgerStore

NOON = datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC).timestamp()
DAY = 86400.0


def entry(request_id: str = "req", attempt: int = 1, **changes: Any) -> Entry:
    fields: dict[str, Any] = {
        "request_id": request_id,
        "attempt": attempt,
        "gateway": "gw",
        "received_at": NOON,
        "settled_at": NOON + 2.5,
        "project": "red",
        "key_id": "key",
        "service": "chat",
        "model": "gpt",
        "kind": "chat",
        "ending": "stop",
        "status": 200,
        "tokens": Tokens(input=10, output=5),
        "estimated": False,
        "cost_nano": 1000,
        "price": "gpt@2026-01-01",
    }
    return Entry(**fields | changes)


class LedgerContract:
    def make(self) -> LedgerStore:
        """A new, empty ledger."""
        raise NotImplementedError

    @pytest.fixture
    def ledger(self) -> LedgerStore:
        return self.make()

    def test_a_row_comes_back_whole(self, ledger: LedgerStore) -> None:
        tokens = Tokens(
            input=2**40,
            cached_read=2,
            cached_write=3,
            output=4,
            reasoning=5,
            audio_input=6,
            audio_output=7,
            images=8,
        )
        row = entry(
            "日本 \"'%;--",
            7,
            received_at=NOON + 0.123456,
            user="ann",
            team="t1",
            purpose="internal",
            tokens=tokens,
            estimated=True,
            cost_nano=10**15,
            price="",
            release="rel_1",
            cache="similar",
            saved_nano=10**15 - 1,
        )
        assert ledger.append([row]) == 1
        assert list(ledger.request(row.request_id)) == [row]
        assert list(ledger.entries(UsageQuery(), None, 10)) == [row]
        assert ledger.request("other") == []

    def test_writing_twice_is_once(self, ledger: LedgerStore) -> None:
        assert ledger.append([]) == 0
        assert ledger.append([entry("a"), entry("b"), entry("a")]) == 2
        assert ledger.append([entry("b"), entry("b", 2), entry("a")]) == 1
        assert [(each.request_id, each.attempt) for each in ledger.entries(UsageQuery(), None, 10)] == [
            ("a", 1),
            ("b", 1),
            ("b", 2),
        ]

    def test_what_is_written_is_not_changed(self, ledger: LedgerStore) -> None:
        ledger.append([entry("a", cost_nano=5)])
        assert ledger.append([entry("a", cost_nano=6)]) == 0
        assert [each.cost_nano for each in ledger.request("a")] == [5]

    def test_the_same_id_from_a_client_at_another_time_is_another_request(self, ledger: LedgerStore) -> None:
        rows = [entry("a", project="red"), entry("a", project="blue", received_at=NOON + 60)]
        assert ledger.append(rows) == 2
        assert list(ledger.request("a")) == rows
        assert list(ledger.request("a", NOON + 60.9)) == rows[1:]
        assert list(ledger.request("a", NOON + 30)) == []

    def test_many_at_once(self, ledger: LedgerStore) -> None:
        assert ledger.append([entry(str(n), received_at=NOON + n) for n in range(2345)]) == 2345
        assert ledger.append([entry(str(n), received_at=NOON + n) for n in range(2340, 2350)]) == 5

    def test_texts_and_numbers_that_no_database_takes(self, ledger: LedgerStore) -> None:
        huge = Tokens(input=10**30, output=2**63)
        rows = [entry(f"{n}\0\ud800", model="m\0", tokens=huge, cost_nano=10**40) for n in range(20)]
        assert ledger.append([*rows, entry("good")]) == 21
        assert ledger.append(rows) == 0
        (kept,) = ledger.request("1\0\ud800")
        assert (kept.model, kept.tokens.input, kept.cost_nano) == ("m\ufffd", 10**15, 10**15)
        assert ledger.sums(UsageQuery(model="m\0"), [])[0].cost_nano == 20 * 10**15
        assert len(ledger.request("good")) == 1

    def test_pages_are_in_order_and_whole(self, ledger: LedgerStore) -> None:
        rows = [entry(name, n, received_at=NOON + at) for at in (1, 0) for name in ("B", "a", "_") for n in (2, 1)]
        ledger.append(rows)
        paged: list[Entry] = []
        while page := ledger.entries(UsageQuery(), _place(paged), 5):
            assert len(page) == min(5, len(rows) - len(paged))
            paged.extend(page)
        assert paged == sorted(rows, key=lambda row: (row.received_at, row.request_id, row.attempt))

    def test_a_query_narrows(self, ledger: LedgerStore) -> None:
        odd = entry(
            "odd",
            received_at=NOON + 10,
            project="blue",
            team="t",
            user="u",
            key_id="k",
            service="s",
            model="m",
            purpose="internal",
            release="rel_1",
        )
        ledger.append([entry("even"), odd])

        def found(**asked: Any) -> list[str]:
            query = UsageQuery(**asked)
            rows = [each.request_id for each in ledger.entries(query, None, 10)]
            assert ledger.sums(query, [])[0].rows == len(rows)
            return rows

        for field in ("project", "team", "user", "key_id", "service", "model", "purpose", "release"):
            value = asdict(odd)[field]
            assert found(**{field: value}) == ["odd"]
        assert found(user="") == found(release="") == ["even"]
        assert found(project="green") == []
        assert found(since=NOON + 10) == ["odd"]
        assert found(until=NOON + 10) == ["even"]
        assert found(since=NOON, until=NOON + 10.001, purpose="client") == ["even"]

    def test_sums(self, ledger: LedgerStore) -> None:
        assert list(ledger.sums(UsageQuery(), [])) == [
            UsageSum(group=(), requests=0, rows=0, tokens=Tokens(), cost_nano=0, estimated_rows=0)
        ]
        assert list(ledger.sums(UsageQuery(), ["project"])) == []
        ledger.append(
            [
                entry("a", 1, estimated=True, tokens=Tokens(input=1, cached_write=7, images=2), cost_nano=10),
                entry(
                    "a",
                    2,
                    tokens=Tokens(input=2, output=3, reasoning=1),
                    cost_nano=20,
                    model="llama",
                    release="rel_1",
                ),
                entry("b", project="blue", cost_nano=40, received_at=NOON + DAY / 2),
                entry("c", project="Blue", cost_nano=80, received_at=NOON + DAY / 2 - 1e-6),
            ]
        )
        (whole,) = ledger.sums(UsageQuery(project="red"), [])
        assert whole == UsageSum(
            group=(),
            requests=1,
            rows=2,
            tokens=Tokens(input=3, cached_write=7, output=3, reasoning=1, images=2),
            cost_nano=30,
            estimated_rows=1,
        )
        assert _costs(ledger.sums(UsageQuery(), ["project"])) == {("Blue",): 80, ("blue",): 40, ("red",): 30}
        assert _costs(ledger.sums(UsageQuery(), ["release"])) == {("",): 130, ("rel_1",): 20}
        assert [each.group for each in ledger.sums(UsageQuery(), ["project"])] == [("Blue",), ("blue",), ("red",)]
        assert _costs(ledger.sums(UsageQuery(), ["day"])) == {("2026-11-21",): 110, ("2026-11-22",): 40}
        assert _costs(ledger.sums(UsageQuery(), ["hour", "model"])) == {
            ("2026-11-21T12", "gpt"): 10,
            ("2026-11-21T12", "llama"): 20,
            ("2026-11-21T23", "gpt"): 80,
            ("2026-11-22T00", "gpt"): 40,
        }
        for by in ("team", "user", "key", "service"):
            assert sum(_costs(ledger.sums(UsageQuery(), [by])).values()) == 150

    def test_answers_from_caches_are_counted_apart(self, ledger: LedgerStore) -> None:
        tokens = Tokens(input=100, output=50, cached_read=7)
        ledger.append(
            [
                entry("made", cost_nano=10, estimated=True),
                entry("hit", 0, cache="hit", tokens=tokens, cost_nano=2, saved_nano=8),
                entry("late", 1, received_at=NOON + 1, tokens=Tokens(input=1), cost_nano=1),
                entry("late", 0, received_at=NOON + 1, cache="fallback", tokens=tokens, cost_nano=0, saved_nano=10),
            ]
        )
        assert list(ledger.sums(UsageQuery(), [])) == [
            UsageSum(
                group=(),
                requests=3,
                rows=2,
                tokens=Tokens(input=11, output=5),
                cost_nano=13,
                estimated_rows=1,
                cached_requests=2,
                cached_tokens=Tokens(input=200, output=100, cached_read=14),
                saved_nano=18,
            )
        ]
        # Budgets pay for them, limits of requests count them; no upstream worked, so that no tokens were used.
        assert ledger.spent("project", "", NOON) == {"red": 13}
        assert list(ledger.counted("project", "", NOON, 10.0)) == [("red", NOON, 3, 11, 5)]

    def test_money_is_exact(self, ledger: LedgerStore) -> None:
        ledger.append([entry(str(n), cost_nano=10**15 - n) for n in range(40)])
        assert ledger.sums(UsageQuery(), [])[0].cost_nano == 40 * 10**15 - 780
        assert ledger.spent("global", "", 0.0) == {"": 40 * 10**15 - 780}

    def test_spent(self, ledger: LedgerStore) -> None:
        assert ledger.spent("project", "", 0.0) == {}
        assert ledger.spent("global", "", 0.0) == {}
        ledger.append(
            [
                entry("a", cost_nano=1, user="ann", team="t"),
                entry("b", cost_nano=2, project="blue", key_id="k2", service="embed"),
                entry("c", cost_nano=4, received_at=NOON - 1),
                entry("d", cost_nano=8, purpose="internal"),
            ]
        )
        assert ledger.spent("project", "", 0.0) == {"red": 5, "blue": 2}
        assert ledger.spent("project", "", NOON) == {"red": 1, "blue": 2}
        assert ledger.spent("project", "embed", 0.0) == {"blue": 2}
        assert ledger.spent("key", "", 0.0) == {"key": 5, "k2": 2}
        assert ledger.spent("user", "", 0.0) == {"ann": 1}
        assert ledger.spent("team", "", 0.0) == {"t": 1}
        assert ledger.spent("service", "", 0.0) == {"chat": 5, "embed": 2}
        assert ledger.spent("global", "", 0.0) == {"": 7}
        assert ledger.spent("global", "none", 0.0) == {}

    def test_an_id_that_a_client_chose_twice_is_two_requests(self, ledger: LedgerStore) -> None:
        ledger.append([entry("same", 1), entry("same", 2), entry("same", 1, received_at=NOON + 0.001)])
        (whole,) = ledger.sums(UsageQuery(), [])
        assert (whole.requests, whole.rows) == (2, 3)
        ((_, _, requests, _, _),) = ledger.counted("project", "", NOON, 10.0)
        assert requests == 2

    def test_counted(self, ledger: LedgerStore) -> None:
        assert list(ledger.counted("global", "", NOON, 10.0)) == []
        ledger.append(
            [
                entry("a", 1, received_at=NOON),
                entry("a", 2, received_at=NOON),
                entry("b", received_at=NOON + 9.75, user="ann"),
                entry("c", received_at=NOON + 10, project="blue", service="embed"),
                entry("d", received_at=NOON - 0.25),
            ]
        )
        assert list(ledger.counted("project", "", NOON, 10.0)) == [
            ("red", NOON, 2, 30, 15),
            ("blue", NOON + 10, 1, 10, 5),
        ]
        assert list(ledger.counted("global", "chat", NOON - 0.5, 0.5)) == [
            ("", NOON - 0.5, 1, 10, 5),
            ("", NOON, 1, 20, 10),
            ("", NOON + 9.5, 1, 10, 5),
        ]
        assert list(ledger.counted("user", "", 0.0, DAY)) == [("ann", NOON - DAY / 2, 1, 10, 5)]

    def test_a_count_that_is_not_taken_to_its_end_holds_nothing_up(self, ledger: LedgerStore) -> None:
        ledger.append([entry(str(n), received_at=NOON + n) for n in range(3000)])
        for _ in range(30):
            begun = ledger.counted("global", "", NOON, 1.0)
            assert next(begun) == ("", NOON, 1, 10, 5)
            assert isinstance(begun, Iterator)
            del begun
        ledger.append([entry("after")])

    def test_forgetting(self, ledger: LedgerStore) -> None:
        ledger.append([entry(str(n), received_at=NOON + n // 10) for n in range(100)])
        assert ledger.forget(NOON) == 0
        assert ledger.forget(NOON + 4) == 40
        assert ledger.forget(NOON + 4) == 0
        assert ledger.sums(UsageQuery(), [])[0].rows == 60
        assert ledger.entries(UsageQuery(), None, 1)[0].received_at == NOON + 4


def _place(rows: list[Entry]) -> tuple[float, str, int] | None:
    return (rows[-1].received_at, rows[-1].request_id, rows[-1].attempt) if rows else None


def _costs(sums: Any) -> dict[tuple[str, ...], int]:
    return {each.group: each.cost_nano for each in sums}
