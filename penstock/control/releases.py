"""What is served, from the deployment file and from the store together. Pure.

The file gives each service its first release. From the first split on, the store says who gets which release of it,
and which models must run for that; the file still says how the service is queued, retried and called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from penstock.control.accounts.versions import MASKED
from penstock.core.accounts import Directory
from penstock.core.releases import ENDED, WHOLE, ModelVersion, Range, Release, Rollout, Served, Split
from penstock.core.serving import Assignment, Deployment, ReplicaState, Service, Watched

CHAMPIONS = 9
"""How many units of the champion are scored for one of the candidate, where there are so many."""
_TOLD = 20
"""Releases of a service, the newest, of which a gateway says whether it can serve them at once."""


class Composition(msgspec.Struct, frozen=True, kw_only=True):
    """``services`` as they are served; ``beside`` are models that must run beside those of the file, each of another
    name; ``refused`` says why a release that is wanted cannot be served."""

    services: Mapping[str, Service]
    beside: tuple[ModelVersion, ...] = ()
    refused: Mapping[str, str] = {}


def composed(services: Mapping[str, Service], served: Served, directory: Directory, now: float) -> Composition:
    """``services`` and ``served`` are what the file says. A split of a service that the file does not have waits for
    it to come back."""
    releases = {each.id: each for each in directory.releases}
    versions = {each.id: each for each in directory.models}
    prompts = {each.id: each.source for each in (*directory.prompts, *served.prompts.values())}
    found = dict(services)
    beside: dict[str, ModelVersion] = {}
    refused: dict[str, str] = {}
    for split in directory.splits:
        service = services.get(split.service)
        if service is None:
            continue
        running = _running(split, directory.rollouts)
        variants: dict[str, Service] = {}
        for id in _wanted(split, running, now):
            release = releases.get(id)
            if release is None:
                refused[id] = "the store does not have it"
                continue
            why = _placed(release, served, versions, beside)
            if release.prompt and release.prompt not in prompts:
                why = f"the store does not have its prompt {release.prompt}"
            if why:
                refused[id] = why
            variants[id] = _variant(service, release, prompts.get(release.prompt, b""))
        found[split.service] = msgspec.structs.replace(service, assignment=_assignment(split, running, variants))
    return Composition(services=found, beside=tuple(beside.values()), refused=refused)


def contradicted(before: Served, after: Served, directory: Directory) -> Sequence[str]:
    """A line for each service of which a new deployment file says something else than the one before, though the
    store owns its split. ``before`` is the file that is served; empty at a start."""
    lines: list[str] = []
    for split in directory.splits:
        new, old = after.services.get(split.service), before.services.get(split.service)
        if new is None or new.id in (split.origin, main(split.ranges), None if old is None else old.id):
            continue
        lines.append(
            f"service {split.service}: its releases are the store's ({_told(split)}), and this file says otherwise. "
            "Leave its model, prompt and defaults as they were, and bring the change in as a release: penstock "
            f"release create {split.service}"
        )
    return lines


def displaced(after: Served, directory: Directory, now: float, *, warm: bool = True) -> Sequence[str]:
    """A line for each model that a release still needs, and that a new deployment file has another of under its name;
    or lacks, though a secret that was written into it is kept nowhere else and somebody gets the release. ``warm``:
    of releases that nobody gets and that are only kept loaded, too."""
    lines: dict[str, str] = {}
    releases = {each.id: each for each in directory.releases}
    masked = {each.id for each in directory.models if MASKED in each.source}
    for split in directory.splits:
        if split.service not in after.services:
            continue
        running = _running(split, directory.rollouts)
        live = set(_wanted(msgspec.structs.replace(split, warm=()), running, now))
        for id in _wanted(split, running, now):
            if id not in live and not warm:
                continue
            go = f"let go of it (penstock split warm {split.service} {id} --for 0)"
            mend = "roll that release back" if id in live else go
            name, _, digest = releases[id].model.rpartition("@") if id in releases else ("", "", "")
            there = after.models.get(name)
            if there is not None and there.digest != digest:
                lines[name] = (
                    f"model {name}: {id} of service {split.service} is served by it as it was ({name}@{digest}). Add "
                    f"the new one under another name, or first {mend}"
                )
            elif there is None and id in live and releases[id].model in masked:
                lines[name] = (
                    f"model {name}: {id} of service {split.service} is served by it, and a secret that was written "
                    f"into it is kept in this file alone. Leave it in the file, or first {mend}"
                )
    return tuple(lines.values())


def ready(composition: Composition, served: Served, directory: Directory, deployment: Deployment) -> tuple[str, ...]:
    """The releases that this gateway could serve at once, among those that are live and the newest of each service:
    a copy of their model is ready."""
    beside = {each.name: each.digest for each in composition.beside}
    found: set[str] = set()
    counts: dict[str, int] = {}
    live = {
        id for service in composition.services.values() if service.assignment for id in service.assignment.variants
    }
    for release in sorted(directory.releases, key=lambda each: -each.created_at):
        counts[release.service] = counts.get(release.service, 0) + 1
        if counts[release.service] > _TOLD and release.id not in live:
            continue
        if release.id in composition.refused or release.service not in composition.services:
            continue
        name, _, digest = release.model.rpartition("@")
        there = served.models.get(name)
        if digest != (beside.get(name) if there is None else there.digest):
            continue
        if any(each.state is ReplicaState.READY for each in deployment.replicas.get(name, ())):
            found.add(release.id)
    return tuple(sorted(found))


def main(ranges: Sequence[Range]) -> str:
    """The release that most get."""
    shares = _shares(ranges)
    return max(shares, key=lambda release: shares[release], default="")


def scored_share(candidate: int, champion: int) -> int:
    """Which share of the champion's units is scored, in millionths, where these are the shares of the traffic."""
    return WHOLE if champion <= CHAMPIONS * candidate else CHAMPIONS * candidate * WHOLE // champion


def _running(split: Split, rollouts: Sequence[Rollout]) -> Rollout | None:
    return next((each for each in rollouts if each.id == split.rollout and each.state not in ENDED), None)


def _wanted(split: Split, rollout: Rollout | None, now: float) -> Iterator[str]:
    """The releases that must be loaded, each once."""
    ids = [each.release for each in (*split.ranges, *split.inside)]
    if split.mirror is not None:
        ids.append(split.mirror.release)
    if rollout is not None:
        ids += [rollout.plan.candidate, rollout.plan.champion]
    ids += [each.release for each in split.warm if each.until is None or each.until > now]
    yield from dict.fromkeys(id for id in ids if id)


def _placed(
    release: Release, served: Served, versions: Mapping[str, ModelVersion], beside: dict[str, ModelVersion]
) -> str:
    """Has the release's model run beside the file's where it must; why it cannot be served."""
    name, _, digest = release.model.rpartition("@")
    there = served.models.get(name) or beside.get(name)
    if there is None:
        version = versions.get(release.model)
        if version is None:
            return f"the store does not have its model {release.model}"
        beside[name] = version
    elif there.digest != digest:
        return f"its model {release.model} has become {there.id}"
    return ""


def _variant(service: Service, release: Release, prompt: bytes) -> Service:
    name = release.model.rpartition("@")[0]
    return msgspec.structs.replace(
        service,
        models=(name, *(each for each in service.models[1:] if each != name)),
        release=release.id,
        prompt=prompt,
        defaults=release.defaults,
        assignment=None,
    )


def _assignment(split: Split, rollout: Rollout | None, variants: Mapping[str, Service]) -> Assignment:
    watched = None
    outside = rollout is not None and rollout.plan.segment is None and split.segment is not None
    if rollout is not None and rollout.plan.measures and rollout.state != "loading":
        plan = rollout.plan
        shares = _shares(split.ranges if outside else split.inside or split.ranges)
        watched = Watched(
            rollout=rollout.id,
            candidate=plan.candidate,
            champion=plan.champion,
            share=scored_share(shares.get(plan.candidate, 0), shares.get(plan.champion, 0)),
            measures=plan.measures,
        )
    return Assignment(
        ranges=split.ranges,
        salt=split.salt,
        sticky=split.sticky,
        variants=variants,
        segment=split.segment,
        inside=split.inside,
        mirror=split.mirror,
        watched=watched,
        outside=outside,
    )


def _shares(ranges: Sequence[Range]) -> dict[str, int]:
    found: dict[str, int] = {}
    begin = 0
    for each in ranges:
        found[each.release] = found.get(each.release, 0) + each.end - begin
        begin = each.end
    return found


def _told(split: Split) -> str:
    return ", ".join(f"{release} {share / 10_000:g} %" for release, share in _shares(split.ranges).items())
