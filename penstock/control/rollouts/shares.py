"""What a rollout does to a split: who gets how much, what stays loaded, what is copied. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

from msgspec.structs import replace

from penstock.core.releases import WHOLE, Mirror, Plan, Range, Split, Warm
from penstock.routing.assignment import resplit

Standing = Mapping[str, Set[str]]
"""The releases that each gateway which is alive can serve right now."""


def percent(share: int) -> str:
    """Millionths as people write them: ``12.5 %``."""
    return f"{share * 100 / WHOLE:g} %"


def whole(release: str) -> tuple[Range, ...]:
    """Everybody gets it."""
    return (Range(WHOLE, release),)


def holder(ranges: Sequence[Range]) -> str | None:
    """The one release that has all; None: there are several, or none."""
    held = {each.release for each in ranges}
    return held.pop() if len(held) == 1 else None


def served(split: Split) -> frozenset[str]:
    """What somebody gets now."""
    return frozenset(each.release for each in (*split.ranges, *split.inside))


def audience(split: Split, plan: Plan) -> tuple[Range, ...]:
    """The ranges of those whom the rollout is about."""
    return split.inside if plan.segment is not None else split.ranges


def ready_everywhere(standing: Standing, release: str) -> bool:
    """Whether every gateway that is alive, and there is one, can serve it right now."""
    return bool(standing) and all(release in ready for ready in standing.values())


def waiting_for(standing: Standing, release: str) -> str:
    """How far loading has come, for people."""
    if not standing:
        return "no gateway is alive"
    behind = sorted(gateway for gateway, ready in standing.items() if release not in ready)
    return f"ready on {len(standing) - len(behind)} of {len(standing)} gateways"


def warmed(split: Split, release: str, until: float | None) -> tuple[Warm, ...]:
    """``release`` stays loaded until then; it is the newest."""
    return (*(each for each in split.warm if each.release != release), Warm(release, until))


def cooled(split: Split, release: str) -> tuple[Warm, ...]:
    """``release`` is kept for nobody."""
    return tuple(each for each in split.warm if each.release != release)


def swept(split: Split, now: float) -> Split | None:
    """Without what was kept warm long enough; None: there is none such."""
    left = tuple(each for each in split.warm if each.until is None or each.until > now)
    return replace(split, warm=left, changed_at=now) if left != split.warm else None


def begun(split: Split, plan: Plan, rollout: str, now: float) -> Split:
    """The split as a rollout takes it over. Each release that is served has all of those it serves, so that a new
    salt moves nobody."""
    return replace(
        split,
        salt=rollout,
        sticky=plan.sticky,
        segment=plan.segment if plan.segment is not None else split.segment,
        inside=whole(plan.champion) if plan.segment is not None else split.inside,
        rollout=rollout,
        changed_at=now,
    )


def stepped(split: Split, plan: Plan, share: int, now: float) -> Split:
    """The candidate has ``share`` of its audience, and its copies where the plan has any."""
    wanted = {plan.champion: WHOLE - share, plan.candidate: share}
    moved = resplit(audience(split, plan), {release: part for release, part in wanted.items() if part})
    mirror = _mirror(plan)
    return _about(replace(split, mirror=mirror, changed_at=now), plan, moved)


def taken_over(split: Split, plan: Plan, now: float, *, everyone: bool = False) -> Split:
    """The candidate has the place of the champion, which stays loaded for a while; with ``everyone`` in and outside
    the rollout's segment."""
    until = None if plan.keep_warm_s is None else now + plan.keep_warm_s
    over = replace(split, warm=cooled(split, plan.candidate), mirror=None, rollout="", changed_at=now)
    if everyone:
        over = replace(over, ranges=whole(plan.candidate), segment=None, inside=())
    else:
        over = merged(_about(over, plan, whole(plan.candidate)))
    return replace(over, warm=warmed(over, plan.champion, until)) if plan.champion not in served(over) else over


def given_back(split: Split, plan: Plan, now: float) -> Split:
    """The champion has all of it again."""
    over = replace(split, mirror=None, rollout="", changed_at=now)
    return merged(_about(over, plan, whole(plan.champion))) if plan.preset != "rollback" else over


def switched(split: Split, to: str, until: float | None, now: float) -> Split:
    """Everybody gets ``to`` at once. What they had stays loaded ``until`` then."""
    before = [each.release for each in (*split.inside, *split.ranges) if each.release != to]
    over = replace(
        split,
        ranges=whole(to),
        segment=None,
        inside=(),
        mirror=None,
        warm=cooled(split, to),
        rollout="",
        changed_at=now,
    )
    for release in before:
        over = replace(over, warm=warmed(over, release, until))
    return over


def merged(split: Split) -> Split:
    """Without a segment that gets what everybody gets."""
    same = holder(split.inside)
    return replace(split, segment=None, inside=()) if same and same == holder(split.ranges) else split


def _about(split: Split, plan: Plan, ranges: tuple[Range, ...]) -> Split:
    return replace(split, inside=ranges) if plan.segment is not None else replace(split, ranges=ranges)


def _mirror(plan: Plan) -> Mirror | None:
    if not plan.mirror_share:
        return None
    return Mirror(release=plan.candidate, share=plan.mirror_share, budget_nano=plan.mirror_budget_nano)
