"""What every audit promises. An adapter's tests subclass ``AuditContract`` and say how one is made."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from penstock.core.usage import Act, AuditQuery
from penstock.store import AuditStore

WHY = Act(at=1000.0, actor="admin", project="default", action="audit.redact", content=b'"asked for by law"')


def act(at: float = 1.0, **changes: Any) -> Act:
    fields = {"actor": "admin", "project": "red", "action": "keys.create", "content": b'{"id":"k"}'} | changes
    return Act(at=at, **fields)


class AuditContract:
    def make(self) -> AuditStore:
        """A new, empty audit."""
        raise NotImplementedError

    @pytest.fixture
    def audit(self) -> AuditStore:
        return self.make()

    def test_an_empty_one_is_well(self, audit: AuditStore) -> None:
        assert audit.acts(AuditQuery(), None, 10) == []
        assert audit.head() is None
        assert audit.verify([]) == []
        assert audit.append_acts([]) == 0
        assert audit.redact([1, 2], WHY) == 0
        assert audit.expire("content", 1e12, WHY) == 0
        assert audit.acts(AuditQuery(), None, 10) == []

    def test_acts_come_back_whole_newest_first(self, audit: AuditStore) -> None:
        acts = [
            act(1.25, kind="content", target="t", outcome="refused", address="::1", request_id="日本'"),
            act(0.5, content=b""),
            act(2.0, content=bytes(range(256)) * 100),
        ]
        assert audit.append_acts([(f"id{n}", each) for n, each in enumerate(acts, 1)]) == 3
        rows = audit.acts(AuditQuery(), None, 10)
        assert [(row.number, row.id, row.act) for row in rows] == [(n, f"id{n}", acts[n - 1]) for n in (3, 2, 1)]
        assert [row.number for row in audit.acts(AuditQuery(), None, 2)] == [3, 2]
        assert [row.number for row in audit.acts(AuditQuery(), 3, 1)] == [2]
        assert audit.acts(AuditQuery(), 1, 5) == []
        assert rows[0].previous == rows[1].digest
        assert audit.verify([]) == []

    def test_writing_twice_is_once(self, audit: AuditStore) -> None:
        assert audit.append_acts([("a", act(1.0)), ("b", act(2.0)), ("a", act(9.0))]) == 2
        assert audit.append_acts([("b", act(9.0)), ("c", act(3.0)), ("a", act(1.0))]) == 1
        rows = audit.acts(AuditQuery(), None, 10)
        assert [row.number for row in rows] == [3, 2, 1]
        assert {row.id: row.act.at for row in rows} == {"a": 1.0, "b": 2.0, "c": 3.0}
        assert audit.verify([]) == []

    def test_many_at_once(self, audit: AuditStore) -> None:
        acts = [(str(n), act(float(n))) for n in range(2500)]
        assert audit.append_acts(acts) == 2500
        assert audit.append_acts([*acts[1000:], ("new", act())]) == 1
        assert audit.verify([]) == []

    def test_texts_that_no_database_takes(self, audit: AuditStore) -> None:
        strange = act(actor="\0a", target="\ud800", request_id="r\0", content=b"\0\xff")
        assert audit.append_acts([("\0", strange), ("good", act())]) == 2
        assert audit.append_acts([("\0", strange)]) == 0
        assert audit.verify([]) == []
        (row,) = audit.acts(AuditQuery(request_id="r\0"), None, 10)
        assert (row.act.actor, row.act.content) == ("\ufffda", b"\0\xff")

    def test_a_query_narrows(self, audit: AuditStore) -> None:
        odd = act(5.0, project="blue", actor="k1", kind="content", action="keys%x.y", request_id="r")
        audit.append_acts([("even", act(3.0)), ("odd", odd)])

        def found(**asked: Any) -> list[str]:
            return [row.id for row in audit.acts(AuditQuery(**asked), None, 10)]

        for field in ("project", "actor", "kind", "request_id", "action"):
            assert found(**{field: getattr(odd, field)}) == ["odd"]
        assert found(since=5.0) == ["odd"]
        assert found(until=5.0) == ["even"]
        assert found(action="keys.*") == ["even"]
        assert found(action="keys*") == ["odd", "even"]
        assert found(action="*") == ["odd", "even"]
        assert found(action="KEYS.*") == []
        assert found(action="keys.create", project="blue") == []

    def test_a_head_is_signed_when_the_chain_has_grown(self, audit: AuditStore) -> None:
        audit.append_acts([("a", act())])
        first = audit.head()
        assert first is not None
        assert first.number == 1
        assert audit.head() == first
        audit.append_acts([("b", act()), ("c", act())])
        second = audit.head()
        assert second is not None
        assert second.number == 3
        assert second.digest == audit.acts(AuditQuery(), None, 1)[0].digest
        assert audit.verify([first, second]) == []

    def test_heads_kept_elsewhere_are_believed_or_found(self, audit: AuditStore) -> None:
        audit.append_acts([("a", act()), ("b", act())])
        head = audit.head()
        assert head is not None
        assert [each.fault for each in audit.verify([replace(head, number=5)])] == ["head"]
        assert [each.fault for each in audit.verify([replace(head, key="00")])] == ["head"]
        other = self.make_another([("a", act()), ("x", act()), ("y", act())])
        assert sorted(each.fault for each in audit.verify([other])) == ["cut"]

    def make_another(self, acts: list[tuple[str, Act]]) -> Any:
        """The head, signed by the same gateway, of another audit that has these acts."""
        raise NotImplementedError

    def test_redaction_empties_content_and_keeps_the_chain_whole(self, audit: AuditStore) -> None:
        audit.append_acts([(str(n), act(float(n))) for n in range(1, 6)] + [("none", act(6.0, content=b""))])
        before = audit.head()
        assert before is not None
        assert audit.redact([2, 4, 4, 6, 77], WHY) == 2
        rows = {row.number: row for row in audit.acts(AuditQuery(), None, 10)}
        assert {n: row.redacted_by for n, row in rows.items()} == {
            1: None,
            2: 7,
            3: None,
            4: 7,
            5: None,
            6: None,
            7: None,
        }
        assert rows[2].act == replace(act(2.0), content=b"")
        assert rows[3].act == act(3.0)
        assert rows[7].act == replace(WHY, target="redacts:2,4")
        assert audit.redact([2, 4], WHY) == 0
        assert len(audit.acts(AuditQuery(), None, 10)) == 7
        # What a redaction says may be redacted too; what it names stays.
        assert audit.redact([7, 1], replace(WHY, target="of the caller")) == 2
        assert audit.acts(AuditQuery(), None, 1)[0].act.target == "redacts:1,7"
        assert audit.verify([before]) == []
        assert audit.head() is not None
        assert audit.verify([before]) == []

    def test_a_caller_cannot_make_a_redaction_of_the_wrong_kind(self, audit: AuditStore) -> None:
        audit.append_acts([("a", act())])
        assert audit.redact([1], replace(WHY, kind="content")) == 1
        assert audit.verify([]) == []

    def test_many_rows_are_redacted_by_several(self, audit: AuditStore) -> None:
        audit.append_acts([(str(n), act(float(n))) for n in range(2300)])
        assert audit.redact(range(1, 2301, 2), WHY) == 1150
        assert audit.verify([]) == []

    def test_expiry_is_by_kind_and_age(self, audit: AuditStore) -> None:
        kinds = ("content", "administrative")
        audit.append_acts([(f"{kind}{n}", act(float(n), kind=kind)) for n in range(1, 1501) for kind in kinds])
        why = replace(WHY, action="audit.expire", at=0.0)
        assert audit.expire("content", 1401.0, why) == 1400
        assert audit.expire("content", 1401.0, why) == 0
        rows = audit.acts(AuditQuery(kind="content"), None, 5000)
        assert sorted(row.act.at for row in rows if row.act.content) == [float(n) for n in range(1401, 1501)]
        assert all(row.act.content for row in audit.acts(AuditQuery(), None, 5000) if row.act.kind != "content")
        # It does not eat what it writes itself.
        assert audit.expire("administrative", 5000.0, why) == 1502
        assert audit.verify([]) == []
