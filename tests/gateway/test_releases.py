"""The way of a request whose service several releases share: what it is served by, what is told of it, and where it
stands in the ledger."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from penstock.core.errors import NOT_FOUND, PERMISSION_DENIED, UPSTREAM_FAILED, Fault, PenstockError
from penstock.core.identity import Principal
from penstock.core.policy import Policy, Queue, Terms
from penstock.core.releases import WHOLE, Range
from penstock.core.serving import Deployment, Model, Replica, ReplicaState, Service
from penstock.gateway.directory import listed, readiness
from penstock.gateway.plan import room
from penstock.gateway.snapshot import Admission
from tests.gateway.doubles import Samples, ScriptedEngine, call, gateway, snapshot
from tests.gateway.releasing import ALL, CANDIDATE, CHAMPION, Street, asked, assignment, said, shared, user_of

CHAMPIONS, CANDIDATES = user_of(CHAMPION), user_of(CANDIDATE)
DEVELOPER = Principal(key_id="k", project="red", role="developer", permissions=frozenset({"call"}))
OPERATOR = msgspec.structs.replace(DEVELOPER, permissions=frozenset({"call", "releases:write"}))


def engines(**more: ScriptedEngine) -> dict[str, ScriptedEngine]:
    return {"main": ScriptedEngine(said("old")), "next": ScriptedEngine(said("new")), **more}


@pytest.mark.parametrize(("role", "fault"), [(OPERATOR, NOT_FOUND), (DEVELOPER, PERMISSION_DENIED)])
async def test_who_wants_a_release_is_never_answered_by_a_service_that_has_none(
    role: Principal, fault: Fault
) -> None:
    street = Street([Service("chat", ("main",))], engines())
    with pytest.raises(PenstockError) as refused:
        await street.door.chat(
            asked("ada"), Admission(street.admission.snapshot, role), Terms(headers={b"x-penstock-release": b"rel_b"})
        )
    assert (refused.value.fault, refused.value.param) == (fault, "x-penstock-release")


@pytest.mark.parametrize(
    ("user", "release", "model"), [(CHAMPIONS, CHAMPION, "main"), (CANDIDATES, CANDIDATE, "next")]
)
async def test_a_request_is_served_by_its_release_which_is_told(user: str, release: str, model: str) -> None:
    street = Street([shared()], engines())
    reply = await street.door.chat(asked(user), street.admission)
    assert (reply.headers["x-penstock-release"], reply.headers["x-penstock-model"]) == (release, model)
    while await reply.read():
        pass
    await reply.aclose()
    assert reply.summary is not None
    assert reply.summary.release == release
    assert [(row.release, row.model, row.service, row.purpose) for row in street.rows()] == [
        (release, model, "chat", "client")
    ]
    assert street.meter.total("penstock_requests_assigned", release) == 1
    assert street.scores() == []


async def test_a_release_brings_its_prompt_and_its_defaults() -> None:
    of = assignment(ranges=ALL)
    mine = msgspec.structs.replace(of.variants[CHAMPION], defaults=b'{"temperature":0.5}')
    street = Street([shared(ranges=ALL, variants={CHAMPION: mine})], engines())
    await street.ask()
    assert bytes(street.engines["main"].started[0][0].fields["temperature"]) == b"0.5"


async def test_a_failure_says_whose_it_is() -> None:
    failing = ScriptedEngine(PenstockError(UPSTREAM_FAILED, "500"))
    street = Street([shared()], {"main": failing, "next": ScriptedEngine()})
    with pytest.raises(PenstockError) as failed:
        await street.door.chat(asked(CHAMPIONS), street.admission)
    assert failed.value.headers["x-penstock-release"] == CHAMPION


async def test_a_service_with_one_release_says_nothing_of_it() -> None:
    street = Street([Service("chat", ("main",))], engines())
    reply = await street.door.chat(asked(CHAMPIONS), street.admission)
    assert "x-penstock-release" not in reply.headers
    await reply.aclose()
    assert [row.release for row in street.rows()] == [""]


async def test_a_request_keeps_the_release_that_it_began_with() -> None:
    """The split is changed while it is answered."""
    held = asyncio.Event()
    street = Street([shared()], engines(main=ScriptedEngine([*said("old")[:1], held])))
    reply = await street.door.chat(asked(CHAMPIONS), street.admission)
    street.snapshot = snapshot([shared(ranges=(Range(WHOLE, CANDIDATE),))], engines())
    held.set()
    while await reply.read():
        pass
    await reply.aclose()
    assert [row.release for row in street.rows()] == [CHAMPION]


# -- names and readiness -------------------------------------------------------------------------------------------


def ready(service: Service, **states: ReplicaState) -> tuple[bool, str]:
    of = snapshot([service], {name: ScriptedEngine() for name in ("main", "next", "spare")}, states)
    told = readiness(of.deployment)
    return told.ready, told.services["chat"]


def test_it_is_ready_when_every_release_with_a_share_can_answer() -> None:
    starting, failed = ReplicaState.STARTING, ReplicaState.FAILED
    assert ready(shared()) == (True, "ready")
    assert ready(shared(), next=failed) == (True, "partly")
    assert ready(shared(), main=starting) == (True, "partly")
    assert ready(shared(), main=starting, next=failed) == (False, "starting")
    assert ready(shared(ranges=ALL), next=failed) == (True, "ready")
    spare = msgspec.structs.replace(assignment().variants[CANDIDATE], models=("next", "spare"))
    both = shared(variants={**assignment().variants, CANDIDATE: spare})
    assert ready(both, next=failed) == (True, "fallback")
    assert ready(both, next=failed, main=starting) == (True, "partly")


def test_a_release_that_is_not_here_is_not_ready() -> None:
    one = {CHAMPION: assignment().variants[CHAMPION]}
    assert ready(shared(variants=one)) == (True, "partly")
    assert ready(shared(variants={})) == (False, "failed")


@pytest.mark.parametrize(
    ("models", "is_listed"),
    [(None, True), (frozenset({"main"}), True), (frozenset({"next"}), True), (frozenset({"spare"}), False)],
)
def test_a_key_sees_what_any_live_release_lets_it_use(models: frozenset[str] | None, is_listed: bool) -> None:
    who = Principal(key_id="k", project="p", role="developer", permissions=frozenset({"call"}), models=models)
    of = snapshot([shared()], engines())
    admission = Admission(of, who)
    assert [each.name for each in listed(admission)] == (["chat"] if is_listed else [])
    door = gateway(of, Samples())
    if is_listed:
        assert door.service("chat", admission).name == "chat"
    else:
        with pytest.raises(PenstockError, match="none of the models"):
            door.service("chat", admission)


# -- places --------------------------------------------------------------------------------------------------------


def deployment(service: Service, **slots: int | None) -> Deployment:
    return Deployment(
        version=1,
        models={name: Model(name, "scripted", name, b"") for name in slots},
        services={service.name: service},
        replicas={name: (Replica(f"{name}-0", name, "http://up", slots=count),) for name, count in slots.items()},
    )


def test_each_model_that_a_release_brings_along_has_its_own_places() -> None:
    service = shared()
    assert service.assignment is not None
    here = deployment(service, main=4, next=2)
    variants = service.assignment.variants
    assert room(variants[CHAMPION], here) == ("chat", 4)
    assert room(variants[CANDIDATE], here) == ("chat@next", 2)
    # A release with another prompt and the same model shares the places of that.
    assert room(msgspec.structs.replace(variants[CANDIDATE], models=("main",)), here) == ("chat", 4)
    assert room(Service("chat", ("main",)), here) == ("chat", 4)
    assert room(variants[CANDIDATE], deployment(service, main=4, next=None)) == ("chat", None)


def test_a_bound_of_the_service_holds_for_all_its_releases_together() -> None:
    bound = Policy(queue=Queue(concurrency=3))
    variants = {name: msgspec.structs.replace(each, policy=bound) for name, each in assignment().variants.items()}
    here = deployment(shared(variants=variants), main=4, next=2)
    assert {room(each, here) for each in variants.values()} == {("chat", 3)}


async def test_nothing_of_it_is_looked_at_where_a_service_has_one_release() -> None:
    """``call`` has no header and no user that could be asked for."""
    door = gateway(snapshot([Service("chat", ("main",))], engines()), Samples())
    reply = await door.chat(call(), door.admit("key"))
    await reply.aclose()
    assert reply.summary is not None
    assert reply.summary.release == ""
