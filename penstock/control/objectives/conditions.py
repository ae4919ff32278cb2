"""What may want somebody: conditions that hold, do not hold, or of which nobody knows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from penstock.core.accounts import EVERYWHERE, Budget, Directory, SubjectKind
from penstock.core.money import dollars, period
from penstock.core.series import Severity
from penstock.core.serving import Deployment, ReplicaState

Kind = Literal["burn", "budget", "replica", "store", "shed", "delivery", "quality"]
Spent = Callable[[SubjectKind, str, float], Mapping[str, int]]
"""As ``LedgerStore.spent``."""

_OWNED = ("replica", "store", "shed", "delivery")


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """``id`` as in ``core.series.Alert``. ``holds`` None: it is not known, and what was stays. It must hold for
    ``after_s`` to be an alert, and not hold for ``clear_s`` to be over."""

    id: str
    kind: Kind
    severity: Severity
    text: str
    holds: bool | None
    service: str = ""
    project: str = ""
    value: float = 0.0
    limit: float = 0.0
    after_s: float = 0.0
    clear_s: float = 60.0


def owner_of(id: str) -> str:
    """The gateway that alone knows of it; empty: all of a store see the same."""
    kind, _, rest = id.partition("/")
    return rest.partition("/")[0] if kind in _OWNED else ""


def budgets(directory: Directory, spent: Spent, now: float) -> Iterator[Condition]:
    """Budgets of which so much is spent that ``warn_percent`` wants to be told, and those that are spent whole. One
    condition for each subject that comes near; nothing of those that do not."""
    known: dict[tuple[str, str, float], Mapping[str, int]] = {}
    projects = _projects(directory)
    for budget in directory.budgets:
        begin, _ = period(budget.period, now)
        service = budget.subject if budget.kind == "service" and budget.subject != EVERYWHERE else budget.service
        asked = (budget.kind, service, begin)
        if asked not in known:
            known[asked] = spent(budget.kind, service, begin)
        for subject, nano in _subjects(directory, budget, known[asked]):
            yield from _near(budget, subject, nano, projects)


def _near(budget: Budget, subject: str, nano: int, projects: Mapping[tuple[str, str], str]) -> Iterator[Condition]:
    if not budget.amount_nano:
        return
    percent = 100.0 * nano / budget.amount_nano
    whom = "the whole gateway" if budget.kind == "global" else f"{budget.kind} '{subject}'"
    per = "in all" if budget.period == "total" else f"a {budget.period}"
    about = f"{dollars(nano)} of ${dollars(budget.amount_nano)} {per} of {whom}"
    about += f" at service '{budget.service}'" if budget.service else ""
    warn = [each for each in budget.warn_percent if each < 100]
    project = projects.get((budget.kind, subject), "")
    service = subject if budget.kind == "service" else budget.service
    for name, bound in (*((f"{each}", float(each)) for each in warn), ("spent", 100.0)):
        if percent >= bound:
            over = "is spent: requests under it are refused" if name == "spent" else "is spent"
            yield Condition(
                id=f"budget/{budget.id}/{subject or 'all'}/{name}",
                kind="budget",
                severity="ticket",
                service=service,
                project=project,
                text=f"${about} ({percent:.0f} %) {over}.",
                value=percent,
                limit=bound,
                holds=True,
            )


def _subjects(directory: Directory, budget: Budget, spent: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    if budget.kind == "global":
        yield "", spent.get("", 0)
    elif budget.subject != EVERYWHERE:
        yield budget.subject, spent.get(budget.subject, 0)
    else:
        # One that is set on a single subject takes the place of that on each.
        own = {
            each.subject
            for each in directory.budgets
            if (each.kind, each.service, each.period) == (budget.kind, budget.service, budget.period)
        }
        yield from ((subject, nano) for subject, nano in spent.items() if subject and subject not in own)


def _projects(directory: Directory) -> Mapping[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {("project", each.id): each.id for each in directory.projects}
    found |= {("key", each.id): each.project for each in directory.keys if each.project != EVERYWHERE}
    found |= {("team", each.id): each.project for each in directory.teams}
    for user in directory.users:
        homes = {membership.project for membership in user.memberships}
        if len(homes) == 1 and EVERYWHERE not in homes:
            found["user", user.id] = homes.pop()
    return found


def replicas(gateway: str, deployment: Deployment) -> Iterator[Condition]:
    """Replicas that are down for a while, or given up. It is a page where the model has no other that is ready."""
    for model, ours in deployment.replicas.items():
        left = any(each.state is ReplicaState.READY for each in ours)
        services = [name for name, service in deployment.services.items() if model in service.models]
        for replica in ours:
            gone = replica.state is ReplicaState.FAILED
            rest = "others of the model are ready" if left else "no replica of the model is ready"
            how = "was given up" if gone else "is down"
            text = f"Replica '{replica.id}' of model '{model}' on gateway '{gateway}' {how}; {rest}."
            severities: tuple[tuple[Severity, bool], ...] = (("page", not left), ("ticket", True))
            for severity, so in severities:
                yield Condition(
                    id=f"replica/{gateway}/{replica.id}/{severity}",
                    kind="replica",
                    severity=severity,
                    service=services[0] if len(services) == 1 else "",
                    text=f"{text} {replica.reason}".strip(),
                    holds=so and (gone or replica.state is ReplicaState.DOWN),
                    after_s=0.0 if gone else 60.0,
                )


def store(gateway: str, away_since: float | None, now: float) -> Condition:
    """The store does not answer."""
    return Condition(
        id=f"store/{gateway}",
        kind="store",
        severity="page",
        text=f"The store has not answered gateway '{gateway}' for {max(0.0, now - (away_since or now)):.0f} s. "
        "Requests are served, and what they use waits in the journal; when it is full, they are refused.",
        value=0.0 if away_since is None else max(0.0, now - away_since),
        limit=30.0,
        holds=away_since is not None,
        after_s=30.0,
    )


def shed(gateway: str, lost: int | None) -> Condition:
    """How many records were lost since the last look, None: nobody knows."""
    return Condition(
        id=f"shed/{gateway}",
        kind="shed",
        severity="ticket",
        text=f"Gateway '{gateway}' has lost records of requests, as they came faster than they could be written, or "
        "the store was away for too long; charts and log lack them. Usage and limits are not touched.",
        value=float(lost or 0),
        holds=None if lost is None else lost > 0,
        clear_s=600.0,
    )


def delivery(gateway: str, failing: Mapping[str, str], names: Sequence[str]) -> Iterator[Condition]:
    """Receivers that could not be told of an alert. ``failing``: why, by the receiver's name."""
    for name in names:
        yield Condition(
            id=f"delivery/{gateway}/{name.replace(' ', '-')}",
            kind="delivery",
            severity="ticket",
            text=f"Gateway '{gateway}' could not tell {name} of an alert: {failing.get(name, 'it has since')}.",
            holds=name in failing,
            clear_s=0.0,
        )


def by_id(conditions: Iterable[Condition]) -> dict[str, Condition]:
    """The last of each id."""
    return {each.id: each for each in conditions}
