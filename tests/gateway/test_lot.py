"""Which release a request draws: the same unit the same, whoever it is; and what is done for a rollout's sake."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from penstock.core.errors import MODEL_FORBIDDEN, NO_REPLICA, NOT_FOUND, PERMISSION_DENIED, PenstockError
from penstock.core.identity import Principal
from penstock.core.policy import Terms
from penstock.core.releases import WHOLE, Range, Segment
from penstock.core.serving import Assignment, Service
from penstock.gateway.inside import inner
from penstock.gateway.lot import Lot, draw, unit_of
from tests.gateway.doubles import OWNER
from tests.gateway.releasing import ALL, CANDIDATE, CHAMPION, asked, assignment, mirrored, shared, user_of, watched

SOMEBODY = Principal(key_id="k1", project="red", role="developer", permissions=frozenset({"call"}))
OPERATOR = msgspec.structs.replace(SOMEBODY, permissions=frozenset({"call", "releases:write"}))


def drawn(
    of: Assignment,
    who: Principal = SOMEBODY,
    user: str | None = None,
    id: str = "r1",
    more: bytes = b"{}",
    **headers: str,
) -> Lot:
    said = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return draw(Service("chat", ("main",), assignment=of), of, asked(user, id, more=more), who, Terms(headers=said))


def test_a_user_keeps_its_release_and_the_users_are_shared_out() -> None:
    first = {f"u{n}": drawn(assignment(), user=f"u{n}", id=f"a{n}").service.release for n in range(2000)}
    again = {f"u{n}": drawn(assignment(), user=f"u{n}", id=f"b{n}").service.release for n in range(2000)}
    assert first == again
    assert 900 < Counter(first.values())[CHAMPION] < 1100


@pytest.mark.parametrize(
    ("sticky", "same", "unlike"),
    [
        ("user", {"user": "ada", "x_penstock_conversation": "c1"}, {"user": "bob", "x_penstock_conversation": "c1"}),
        ("user", {"x_penstock_conversation": "c1"}, {"x_penstock_conversation": "c2"}),
        ("conversation", {"user": "ada", "x_penstock_conversation": "c1"}, {"user": "ada", "x_penstock_conversation": "c2"}),
        ("conversation", {"more": b'{"metadata":{"conversation_id":"c1"}}'}, {"more": b'{"metadata":{"conversation_id":"c2"}}'}),
        ("conversation", {"more": b'{"conversation":"c1"}'}, {"more": b'{"conversation":"c2"}'}),
        ("conversation", {"more": b'{"conversation":{"id":"c1"}}'}, {"more": b'{"conversation":{"id":"c2"}}'}),
    ],
)  # fmt: skip
def test_what_the_unit_is(sticky: str, same: dict[str, str], unlike: dict[str, str]) -> None:
    of = assignment(sticky=sticky)
    one, other = drawn(of, id="r1", **same), drawn(of, id="r2", **same)  # type: ignore[arg-type]
    assert one.unit == other.unit
    assert len(one.unit) == 32
    assert drawn(of, id="r1", **unlike).unit != one.unit  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "more", [b"{}", b'{"metadata":{"conversation_id":7}}', b'{"metadata":[]}', b'{"conversation":7}']
)
@pytest.mark.parametrize("sticky", ["user", "conversation", "request"])
def test_who_names_nobody_is_drawn_for_by_the_request(sticky: str, more: bytes) -> None:
    of = assignment(sticky=sticky)
    assert drawn(of, id="r1", more=more).unit == drawn(of, id="r1", more=more).unit
    assert drawn(of, id="r1", more=more).unit != drawn(of, id="r2", more=more).unit


def test_whom_the_key_acts_for_is_the_unit_where_the_client_names_no_user() -> None:
    ada = msgspec.structs.replace(SOMEBODY, user="ada")
    assert drawn(assignment(), ada, id="r1").unit == drawn(assignment(), ada, id="r2").unit
    assert drawn(assignment(), ada, user="ada", id="r1").unit != drawn(assignment(), ada, id="r1").unit


def test_one_name_in_two_projects_is_two_users() -> None:
    blue = msgspec.structs.replace(SOMEBODY, project="blue")
    assert unit_of(assignment(), asked("ada"), blue, {}) != unit_of(assignment(), asked("ada"), SOMEBODY, {})


def test_only_a_segment_has_the_rollout() -> None:
    of = assignment(
        ranges=ALL, inside=(Range(WHOLE, CANDIDATE),), segment=Segment(projects=("red",)), watched=watched(),
        mirror=mirrored(),
    )  # fmt: skip
    inside = drawn(of)
    assert inside.service.release == CANDIDATE
    assert inside.watched == of.watched
    outside = drawn(of, msgspec.structs.replace(SOMEBODY, project="blue"))
    assert outside.service.release == CHAMPION
    assert not outside.concerned


def test_a_rollout_for_the_others_is_scored_by_them_and_not_by_a_segment_that_has_its_release_already() -> None:
    of = assignment(
        inside=(Range(WHOLE, CANDIDATE),), segment=Segment(projects=("red",)), watched=watched(), mirror=mirrored(),
        outside=True,
    )  # fmt: skip
    for n in range(20):
        assert not drawn(of, user=f"u{n}").concerned
        assert drawn(of, msgspec.structs.replace(SOMEBODY, project="blue"), user=f"u{n}").watched == of.watched


def test_both_arms_are_recorded_and_only_a_share_of_the_champions_units() -> None:
    of = assignment(watched=watched(share=WHOLE // 4))
    lots = [drawn(of, user=f"u{n}") for n in range(4000)]
    recorded = Counter(lot.service.release for lot in lots if lot.watched is not None)
    assert recorded[CANDIDATE] == sum(lot.service.release == CANDIDATE for lot in lots)
    assert 420 < recorded[CHAMPION] < 580
    assert [lot.watched is None for lot in lots] == [drawn(of, user=f"u{n}").watched is None for n in range(4000)]


def test_who_is_in_neither_arm_is_not_scored() -> None:
    of = assignment(ranges=(Range(WHOLE, "rel_c"),), watched=watched())
    of = msgspec.structs.replace(of, variants={**of.variants, "rel_c": Service("chat", ("main",), release="rel_c")})
    assert drawn(of).watched is None


def test_a_mirrored_champion_is_scored_beside_its_copy_alone() -> None:
    of = assignment(ranges=ALL, watched=watched(share=0), mirror=mirrored(share=WHOLE // 2))
    lots = [drawn(of, user=f"u{n}") for n in range(2000)]
    assert 900 < sum(lot.mirror is not None for lot in lots) < 1100
    assert all((lot.watched is not None) == (lot.mirror is not None) for lot in lots)
    assert not any(lot.recorded for lot in lots)
    assert {lot.mirrored.release for lot in lots if lot.mirrored is not None} == {CANDIDATE}


@pytest.mark.parametrize("named", [CHAMPION, CANDIDATE])
def test_who_may_change_releases_may_name_one_and_is_not_scored(named: str) -> None:
    lot = drawn(assignment(watched=watched(), mirror=mirrored()), OPERATOR, x_penstock_release=named)
    assert lot.service.release == named
    assert not lot.concerned


@pytest.mark.parametrize(
    ("who", "named", "fault"), [(SOMEBODY, CANDIDATE, PERMISSION_DENIED), (OPERATOR, "rel_x", NOT_FOUND)]
)
def test_others_may_not_and_what_is_not_there_is_not_found(who: Principal, named: str, fault: object) -> None:
    with pytest.raises(PenstockError) as refused:
        drawn(assignment(), who, x_penstock_release=named)
    assert refused.value.fault is fault
    assert refused.value.param == "x-penstock-release"


def test_a_key_for_some_models_gets_a_release_of_them_and_no_say() -> None:
    of = assignment(watched=watched(), mirror=mirrored())
    main_only = msgspec.structs.replace(SOMEBODY, models=frozenset({"main"}))
    lots = [drawn(of, main_only, user=f"u{n}") for n in range(100)]
    assert {lot.service.models for lot in lots} == {("main",)}
    # Those who draw the champion are in its arm; no copy goes where the key may not.
    assert {lot.service.release for lot in lots if lot.watched is not None} == {CHAMPION}
    assert 20 < sum(lot.watched is not None for lot in lots) < 80
    assert all(lot.mirror is None for lot in lots)
    with pytest.raises(PenstockError) as refused:
        drawn(of, msgspec.structs.replace(SOMEBODY, models=frozenset({"other"})))
    assert refused.value.fault is MODEL_FORBIDDEN
    with pytest.raises(PenstockError) as refused:
        drawn(of, msgspec.structs.replace(OPERATOR, models=frozenset({"main"})), x_penstock_release=CANDIDATE)
    assert refused.value.fault is MODEL_FORBIDDEN


def test_a_fallback_that_a_key_may_not_use_is_left_out_of_the_variant() -> None:
    of = assignment()
    wide = msgspec.structs.replace(of.variants[CHAMPION], models=("main", "spare"))
    of = msgspec.structs.replace(of, ranges=ALL, variants={CHAMPION: wide})
    assert drawn(of, msgspec.structs.replace(SOMEBODY, models=frozenset({"spare"}))).service.models == ("spare",)


def test_what_the_gateway_asks_for_itself_is_neither_scored_nor_copied() -> None:
    of = assignment(watched=watched(), mirror=mirrored())
    assert not drawn(of, inner()).concerned


def test_a_release_that_cannot_be_served_here_is_told_with_the_mend() -> None:
    of = msgspec.structs.replace(assignment(ranges=ALL), variants={})
    with pytest.raises(PenstockError, match="penstock rollback chat") as refused:
        drawn(of)
    assert refused.value.fault is NO_REPLICA


def test_somebody_of_either_arm_can_be_found() -> None:
    service = shared()
    assert service.assignment is not None
    for release in (CHAMPION, CANDIDATE):
        lot = draw(service, service.assignment, asked(user_of(release)), OWNER, Terms())
        assert lot.service.release == release
