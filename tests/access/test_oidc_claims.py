"""What the holder of a token may do: as its user here, else as it claims."""

from __future__ import annotations

import msgspec
import pytest

from penstock.access.config import Issuer
from penstock.access.oidc_claims import People
from penstock.core.accounts import EVERYWHERE, Membership, Role
from penstock.core.errors import INVALID_TOKEN, KEY_REVOKED, Fault, PenstockError
from penstock.core.identity import Principal
from penstock.core.policy import Priority
from tests.access.people import NOW, directory, user

ID = "https://id.example"


def issuer(**fields: object) -> Issuer:
    return Issuer(issuer=ID, audience="penstock", **fields)  # type: ignore[arg-type]


def known(name: str, *memberships: Membership, **fields: object) -> People:
    return People(directory(users=(user(name, *memberships, issuer=ID, subject="ann", **fields),)))


def who(claims: dict[str, object], people: People | None = None, **fields: object) -> Principal:
    return (people or People(directory())).principal({"iss": ID, "sub": "ann", **claims}, issuer(**fields))


def refused(claims: dict[str, object], said: str, people: People | None = None, **fields: object) -> Fault:
    with pytest.raises(PenstockError, match=said) as caught:
        who(claims, people, **fields)
    return caught.value.fault


RED = {"project": "red", "role": "developer"}


def test_claims_are_taken_as_they_are_or_mapped() -> None:
    found = who(RED)
    assert (found.project, found.role, found.user, found.key_id) == ("red", "developer", f"{ID}#ann", f"jwt:{ID}#ann")
    mapped = who({"project": "R-7", "role": "Devs"}, projects={"R-7": "red"}, roles={"Devs": "viewer"})
    assert (mapped.project, mapped.role) == ("red", "viewer")
    assert who({"role": "viewer"}, default_project="vip").priority is Priority.HIGH
    assert who({"project": "blue"}, default_role="billing").may("prices:write")


def test_claims_are_found_by_their_whole_name_or_inside_objects() -> None:
    claims = {"app": {"project": "red"}, "https://app.example/roles": ["none such", "viewer"], "mail": "a@b.example"}
    names = {"project_claim": "app.project", "role_claim": "https://app.example/roles", "user_claim": "mail"}
    found = who(claims, **names)
    assert (found.project, found.role, found.user) == ("red", "viewer", f"{ID}#a@b.example")
    assert refused({"app": "red", "role": "viewer"}, "no claim 'app.project'", project_claim="app.project")


@pytest.mark.parametrize(
    ("claims", "fields", "said"),
    [
        ({"role": "viewer"}, {}, "no claim 'project'"),
        ({"project": "red"}, {}, "names no role"),
        ({"project": "green", "role": "viewer"}, {}, "'green', which is not here"),
        ({"project": "red", "role": "boss"}, {}, "'boss'.*names no role"),
        ({"project": "red", "role": ["boss", 7]}, {}, "names no role"),
        ({"project": "red", "role": {"x": 1}}, {"default_role": "viewer"}, "names no role"),
        ({"project": "red", "role": "viewer"}, {"roles": {"Devs": "viewer"}}, "names no role"),
        ({"project": "red", "role": "viewer"}, {"projects": {"R-7": "red"}}, "names no project"),
        ({"project": ["red"], "role": "viewer"}, {}, "names no project"),
        ({"project": "", "role": "viewer"}, {"default_project": "red"}, "names no project"),
        ({"sub": "", **RED}, {}, "must name its user"),
        ({"sub": 7, **RED}, {}, "must name its user"),
        ({"sub": "a\nb", **RED}, {}, "must name its user"),
        ({"sub": "\ud800", **RED}, {}, "must name its user"),
        ({"sub": "a" * 256, **RED}, {}, "must name its user"),
        (RED, {"user_claim": "email"}, "claim 'email'"),
        ({"email": "x@y", "email_verified": False, **RED}, {"user_claim": "email"}, "not verified"),
        ({"squad": "sea", **RED}, {"team_claim": "squad"}, "names no team of the project 'red'"),
        ({"squad": ["ops"], **RED}, {"team_claim": "squad"}, "names no team"),
    ],
)
def test_what_is_missing_or_unknown_is_refused_by_name(
    claims: dict[str, object], fields: dict[str, object], said: str
) -> None:
    assert refused(claims, said, **fields) is INVALID_TOKEN


def test_a_team_is_taken_where_it_is_of_the_project() -> None:
    assert who({"squad": "ops", **RED}, team_claim="squad").team == "ops"
    assert who(RED, team_claim="squad").team == ""


def test_an_archived_project_takes_its_tokens_along() -> None:
    assert refused({"project": "gone", "role": "viewer"}, "archived") is KEY_REVOKED


def test_a_token_alone_never_gets_everything() -> None:
    star = {"project": EVERYWHERE, "role": "owner"}
    assert refused(star, "names no project") is INVALID_TOKEN
    assert refused(star, "names no project", projects={"R-7": "red"}) is INVALID_TOKEN
    found = who({"project": "staff", "role": "owner"}, projects={"staff": EVERYWHERE})
    assert (found.project, found.everywhere, found.priority) == ("default", True, Priority.HIGH)


def test_a_custom_role_is_known() -> None:
    people = People(msgspec.structs.replace(directory(), roles=(Role(name="caller", permissions=("call",)),)))
    assert who({"project": "red", "role": ["boss", "caller"]}, people).permissions == {"call"}


def test_a_user_here_is_what_it_is_here_whatever_the_token_says() -> None:
    people = known("ann-here", Membership("blue", "viewer", "sea"))
    found = who({"role": "owner"}, people)
    assert (found.user, found.key_id, found.project) == ("ann-here", "jwt:ann-here", "blue")
    assert (found.role, found.team, found.priority) == ("viewer", "sea", Priority.LOW)
    assert who({"project": "blue", "role": "owner"}, people).role == "viewer"
    assert refused(RED, "'ann-here' has no role in the project 'red'.*'blue'", people) is INVALID_TOKEN


def test_a_user_of_another_issuer_or_without_one_is_somebody_else() -> None:
    for fields in ({"issuer": "https://other.example", "subject": "ann"}, {"subject": "ann"}, {"issuer": ID}):
        people = People(directory(users=(user("ann", Membership(EVERYWHERE, "owner"), **fields),)))
        assert who(RED, people).user == f"{ID}#ann"


def test_of_several_memberships_the_token_chooses_one() -> None:
    people = known("ann", Membership("red", "admin"), Membership("blue", "viewer"))
    assert who({"project": "blue"}, people).role == "viewer"
    assert who({"project": "R-7"}, people, projects={"R-7": "red"}).role == "admin"
    assert who({}, people, default_project="red").role == "admin"
    assert refused({}, "to say in the token which project", people) is INVALID_TOKEN
    assert refused({}, "Its projects: none", known("ann")) is INVALID_TOKEN


def test_who_is_everywhere_may_name_where_to_spend() -> None:
    people = known("ann", Membership(EVERYWHERE, "operator"), Membership("red", "viewer"))
    at_large = who({}, people)
    assert (at_large.project, at_large.everywhere, at_large.role) == ("default", True, "operator")
    in_blue = who({"project": "blue"}, people)
    assert (in_blue.project, in_blue.everywhere, in_blue.priority) == ("blue", True, Priority.HIGH)
    in_red = who({"project": "red"}, people)
    assert (in_red.project, in_red.everywhere, in_red.role) == ("red", False, "viewer")
    assert refused({"project": "green"}, "which is not here", people) is INVALID_TOKEN


def test_a_disabled_user_is_refused() -> None:
    people = known("ann", Membership("red", "admin"), disabled_at=NOW)
    assert refused(RED, "is disabled", people) is KEY_REVOKED


def test_a_role_that_is_no_more_allows_nothing() -> None:
    assert who({}, known("ann", Membership("red", "was-one"))).permissions == frozenset()
