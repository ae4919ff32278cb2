"""What forms do: the right operation with the right body, refusals in place, secrets once."""

from __future__ import annotations

import json
from collections.abc import Mapping

import msgspec
import pytest

from penstock.core.administration import Actor, Answer, Ask
from penstock.core.errors import CONFLICT, INVALID_VALUE, PenstockError
from tests.edge.console.canned import Admin, Told, actor, ask
from tests.edge.console.pages.paper import stage, told
from tests.edge.console.pages.paper_served import OLD
from tests.edge.console.pages.test_rendering import ROUTES

POSTS = tuple(route for route in ROUTES if route.method == "POST")


async def sent(
    path: str, form: Mapping[str, str], pages: Mapping[str, Told] | None = None, who: Actor | None = None
) -> tuple[Answer, list[Ask]]:
    admin = Admin({**told(), **(pages or {})})
    asked = msgspec.structs.replace(ask(path, method="POST", who=who), form={"once": "o1", **form})
    answer = await stage().answer(admin, asked)
    return answer, admin.asked


def written(asked: list[Ask]) -> tuple[str, str, object]:
    """The first that changes something: its name, its target, its body."""
    found = next(each for each in asked if not each.operation.endswith((".list", ".get", ".sums", ".back", ".head")))
    return found.operation, found.target, json.loads(found.body) if found.body else None


KEY = {"project": "red", "role": "developer", "name": "batch", "services": "chat, embed", "networks": "10.0.0.0/8"}
DONE: tuple[tuple[str, Mapping[str, str], tuple[str, str, object]], ...] = (
    ("/services/chat/rollback", {"to": OLD}, ("services.rollback", "chat", {"to": OLD})),
    ("/services/chat/rollback", {}, ("services.rollback", "chat", {})),
    ("/rollouts/roll_1/pause", {}, ("rollouts.pause", "roll_1", None)),
    ("/rollouts/roll_1/resume", {}, ("rollouts.resume", "roll_1", None)),
    ("/rollouts/roll_1/approve", {"everyone": "yes"}, ("rollouts.approve", "roll_1", {"everyone": True})),
    ("/rollouts/roll_1/approve", {}, ("rollouts.approve", "roll_1", {"everyone": False})),
    ("/rollouts/roll_1/abort", {}, ("rollouts.abort", "roll_1", None)),
    (
        "/limits",
        {"kind": "project", "subject": "red", "metric": "tokens", "per": "day", "amount": "20 000"},
        (
            "limits.create",
            "",
            {"kind": "project", "subject": "red", "service": "", "metric": "tokens", "per": "day", "amount": 20000},
        ),
    ),
    (
        "/limits",
        {"kind": "key", "metric": "concurrent", "per": "minute", "amount": "4"},
        (
            "limits.create",
            "",
            {"kind": "key", "subject": "*", "service": "", "metric": "concurrent", "per": "", "amount": 4},
        ),
    ),
    (
        "/budgets",
        {"kind": "team", "subject": "t1", "amount": "$1,250.50", "period": "week", "warn": "50, 90"},
        (
            "budgets.create",
            "",
            {
                "kind": "team",
                "subject": "t1",
                "service": "",
                "period": "week",
                "amount": "1250.50",
                "warn_percent": [50, 90],
            },
        ),
    ),
    ("/limits/lim_1/change", {"amount": "9"}, ("limits.change", "lim_1", {"amount": 9})),
    ("/budgets/bud_1/change", {"amount": "9.5"}, ("budgets.change", "bud_1", {"amount": "9.5"})),
    ("/limits/lim_1/remove", {}, ("limits.delete", "lim_1", None)),
    ("/budgets/bud_1/remove", {}, ("budgets.delete", "bud_1", None)),
    ("/keys/k1a2b3/revoke", {}, ("keys.revoke", "k1a2b3", None)),
    ("/silences/sil_1/end", {}, ("silences.delete", "sil_1", None)),
    (
        "/caches/invalidate",
        {"scope": "tag", "value": "hand book", "project": "red", "older": "3600"},
        ("caches.invalidate", "", {"scope": "tag", "value": "hand book", "project": "red", "older_than_s": 3600.0}),
    ),
    (
        "/caches/invalidate",
        {"scope": "all"},
        ("caches.invalidate", "", {"scope": "all", "value": "", "project": "", "older_than_s": 0.0}),
    ),
    (
        "/alerts",
        {"pattern": "slo/chat/*", "reason": "planned", "for_s": "14400"},
        ("silences.create", "", {"pattern": "slo/chat/*", "reason": "planned", "for_s": 14400.0}),
    ),
)


@pytest.mark.parametrize(("path", "form", "expected"), DONE)
async def test_a_form_asks_for_its_operation_and_leads_on(
    path: str, form: Mapping[str, str], expected: tuple[str, str, object]
) -> None:
    answer, asked = await sent(path, form)
    assert written(asked) == expected
    assert answer.status == 303
    assert answer.headers["location"].startswith("/console/")


async def test_a_rollback_is_then_watched_with_the_release_it_goes_to() -> None:
    answer, asked = await sent("/services/chat/rollback", {"to": OLD})
    assert answer.headers["location"].startswith(f"/console/rollbacks/roll_1?to={OLD}")
    assert next(each for each in asked if each.operation == "services.rollback").idempotency_key.startswith("o1")


async def test_a_key_is_told_once_and_kept_by_nobody() -> None:
    answer, asked = await sent("/keys/new", {**KEY, "expires": "2027-01-31"})
    operation, _, body = written(asked)
    assert operation == "keys.create"
    assert isinstance(body, dict)
    assert body["scopes"] == {"services": ["chat", "embed"], "networks": ["10.0.0.0/8"]}
    assert body["expires_at"] == 1801439999.0
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    page = answer.body.decode()
    assert 'data-copy="pk-knew-s3cr3t"' in page
    assert "shown here once" in page


async def test_a_rotated_key_is_told_with_when_the_one_before_ends() -> None:
    answer, asked = await sent("/keys/k1a2b3/rotate", {"grace": "3600"})
    assert written(asked) == ("keys.rotate", "k1a2b3", {"grace_s": 3600.0})
    assert b"pk-k1a2b3-n3w" in answer.body
    assert b"works until" in answer.body


async def test_the_audit_is_checked_and_what_is_wrong_with_it_is_listed() -> None:
    answer, asked = await sent("/audit/verify", {})
    assert written(asked)[0] == "audit.verify"
    assert answer.status == 200
    assert "The row is not what was signed." in answer.body.decode()


async def test_a_row_is_redacted_with_a_reason() -> None:
    redacted = {"redacted": 1}
    pages: dict[str, Told] = {"audit.redact": lambda _: Answer(status=200, body=msgspec.json.encode(redacted))}
    answer, asked = await sent("/audit/9/redact", {"reason": "a person asked"}, pages)
    assert written(asked) == ("audit.redact", "", {"numbers": [9], "reason": "a person asked"})
    assert answer.status == 303
    refused, asked = await sent("/audit/nine/redact", {"reason": "x"}, pages)
    assert (refused.status, asked) == (400, [])


REFUSED = PenstockError(CONFLICT, "Something of the same name stands in the way. Choose another.")
TYPED = (
    ("/keys/new", {**KEY, "name": "my <b>batch</b>"}, "keys.create", "my &lt;b&gt;batch&lt;/b&gt;"),
    ("/keys/new", KEY, "keys.create", "chat, embed"),
    (
        "/limits",
        {"kind": "user", "subject": "ann-typed", "metric": "tokens", "amount": "7"},
        "limits.create",
        "ann-typed",
    ),
    ("/budgets", {"kind": "user", "subject": "ann-typed", "amount": "7"}, "budgets.create", "ann-typed"),
    ("/limits/lim_1/change", {"amount": "31337"}, "limits.change", "31337"),
    ("/alerts", {"pattern": "slo/typed/*", "for_s": "3600"}, "silences.create", "slo/typed/*"),
    ("/services/chat/rollback", {"to": OLD}, "services.rollback", OLD),
    ("/rollouts/roll_1/pause", {}, "rollouts.pause", "Hold"),
    ("/rollouts/roll_1/abort", {}, "rollouts.abort", "End it"),
    ("/keys/k1a2b3/revoke", {}, "keys.revoke", "Revoke it"),
    ("/limits/lim_1/remove", {}, "limits.delete", "Remove it"),
    ("/silences/sil_1/end", {}, "silences.delete", "slo/vectors/*"),
    ("/audit/9/redact", {"reason": "because typed"}, "audit.redact", "because typed"),
)


@pytest.mark.parametrize(("path", "form", "operation", "kept"), TYPED)
async def test_a_refusal_is_shown_in_place_and_nothing_typed_is_lost(
    path: str, form: Mapping[str, str], operation: str, kept: str
) -> None:
    answer, _ = await sent(path, form, {operation: REFUSED})
    page = answer.body.decode()
    assert answer.status == 409
    assert REFUSED.message in page
    assert kept in page


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/limits", {"kind": "key", "metric": "tokens", "amount": "many"}),
        ("/budgets", {"kind": "key", "amount": "5", "warn": "soon"}),
        ("/keys/new", {**KEY, "expires": "someday"}),
        ("/alerts", {"pattern": "*", "for_s": "1e9"}),
    ],
)
async def test_what_cannot_be_meant_is_not_even_asked(path: str, form: Mapping[str, str]) -> None:
    answer, asked = await sent(path, form)
    assert answer.status == INVALID_VALUE.status
    assert not any(each.operation.endswith(".create") for each in asked)


@pytest.mark.parametrize("route", POSTS, ids=lambda route: route.path)
async def test_who_may_not_is_refused_though_it_was_never_offered(route: object) -> None:
    path = route.path.replace("{id}", "1")  # type: ignore[attr-defined]
    answer, asked = await sent(path, {"amount": "1", "reason": "x", "pattern": "x"}, who=actor("viewer"))
    assert answer.status == 403
    assert asked == []
