"""The operations on rollouts and splits."""

from __future__ import annotations

import msgspec

from penstock.control.accounts import rollout_preflight, rollout_seen, rollouts, splits
from penstock.control.accounts.operation import (
    BASE,
    Operation,
    Parameter,
    acting,
    changing,
    creating,
    getting,
    listing,
    of_directory,
)
from penstock.control.accounts.rollout_preflight import PreflightView
from penstock.control.accounts.rollout_request import StartRollout
from penstock.control.accounts.rollout_seen import CourseView, PairView
from penstock.control.accounts.rollout_shown import RolloutView, SplitView


def _whole(operation: Operation) -> Operation:
    """Whom a segment names is nothing for one project to see."""
    return msgspec.structs.replace(operation, everywhere=True)


ROLLED: tuple[Operation, ...] = (
    _whole(
        listing(
            "rollouts",
            RolloutView,
            of_directory(rollouts.listed),
            Parameter("service", "Only of this service."),
            Parameter("state", "Only in this state; `running` is each that has not ended, `ended` the others."),
            about="The rollouts, newest first",
        )
    ),
    creating(
        "rollouts",
        "rollout",
        StartRollout,
        RolloutView,
        rollouts.start,
        everywhere=True,
        summary="Bring a release in, in the place of the one that a service has",
    ),
    Operation(
        name="rollouts.preflight",
        method="POST",
        path=f"{BASE}/rollouts/preflight",
        permissions=("releases:write",),
        everywhere=True,
        summary="What a rollout would be, and how long until it would be decided; nothing moves",
        request=StartRollout,
        answer=PreflightView,
        reads=rollout_preflight.ahead,
    ),
    _whole(getting("rollouts", "rollout, how its gates stand and all that was decided", RolloutView, rollouts.one)),
    Operation(
        name="rollouts.course",
        method="GET",
        path=f"{BASE}/rollouts/{{id}}/course",
        permissions=("releases:read",),
        everywhere=True,
        summary="How the difference in each gate of a rollout came to be known",
        answer=CourseView,
        reads=rollout_seen.course,
    ),
    Operation(
        name="rollouts.pairs",
        method="GET",
        path=f"{BASE}/rollouts/{{id}}/pairs",
        permissions=("releases:read",),
        everywhere=True,
        summary="Requests of which the candidate's answer fell most behind, the worst first",
        answer=PairView,
        listed=True,
        query=(
            Parameter("metric", "In this metric of a gate. Default: that of the first."),
            Parameter("limit", "How many, 1 to 50. Default: 50.", "integer"),
        ),
        reads=rollout_seen.pairs,
    ),
    acting(
        "rollouts",
        "approve",
        "Promote the candidate of a rollout that asks",
        RolloutView,
        rollouts.approve,
        request=rollouts.Approve,
        everywhere=True,
    ),
    acting(
        "rollouts",
        "pause",
        "Take no step and promote nothing until it is resumed; gates still roll back",
        RolloutView,
        rollouts.pause,
        everywhere=True,
    ),
    acting(
        "rollouts", "resume", "Go on with a rollout that was paused", RolloutView, rollouts.resume, everywhere=True
    ),
    acting(
        "rollouts",
        "abort",
        "End a rollout; the release before has all again",
        RolloutView,
        rollouts.abort,
        everywhere=True,
    ),
    _whole(listing("splits", SplitView, of_directory(splits.listed), about="Who gets which release, by service")),
    _whole(getting("splits", "service's releases and who gets them", SplitView, of_directory(splits.one))),
    msgspec.structs.replace(
        changing("splits", "split", splits.SetSplit, SplitView, splits.change, everywhere=True),
        summary="Set by hand who gets which release of a service",
    ),
    msgspec.structs.replace(
        acting(
            "splits",
            "warm",
            "Keep a release of a service loaded for a while, though nobody gets it",
            SplitView,
            splits.warm,
            request=splits.KeepWarm,
            everywhere=True,
        ),
        optional=False,
    ),
    Operation(
        name="services.back",
        method="GET",
        path=f"{BASE}/services/{{id}}/rollback",
        permissions=("releases:read",),
        everywhere=True,
        summary="What a rollback of a service would do now; nothing moves",
        answer=splits.BackView,
        query=(Parameter("to", "The release that everybody would get. Default: the one before."),),
        reads=of_directory(splits.ahead),
    ),
    Operation(
        name="services.rollback",
        method="POST",
        path=f"{BASE}/services/{{id}}/rollback",
        permissions=("releases:write",),
        everywhere=True,
        summary="Give everybody the release that a service had before, or another; if need be it loads first",
        request=splits.RollBack,
        optional=True,
        answer=RolloutView,
        writes=splits.take_back,
    ),
)
