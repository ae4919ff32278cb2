"""What an administrative act did, in a short sentence: what a chart is marked with. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from penstock.core.usage import Act


class _Thing(msgspec.Struct, frozen=True):
    """What is of use here of the things that people change, as answers show them."""

    name: str = ""
    service: str = ""
    candidate: str = ""
    kind: str = ""
    subject: str = ""
    metric: str = ""
    per: str = ""
    period: str = ""
    amount: int | str = "?"
    scope: str = ""
    value: str = ""
    shares: dict[str, float] = {}


class Told(msgspec.Struct, frozen=True):
    """``kind`` as in ``ChangeView``. Seeing it takes ``permission``; ``common``: what belongs to no project concerns
    each of them."""

    kind: str
    service: str
    text: str
    permission: str
    common: bool


class _Content(msgspec.Struct, frozen=True):
    """What contents of acts hold, as far as it is of use here: what people did, what a rollout's loop did, what a
    deployment file changed."""

    before: _Thing | None = None
    after: _Thing | None = None
    reason: str = ""
    split: _Thing | None = None
    changed: tuple[str, ...] = ()


class _Kind(msgspec.Struct, frozen=True):
    kind: str
    permission: str
    common: bool = False


_KINDS: Mapping[str, _Kind] = {
    "releases": _Kind("release", "releases:read", common=True),
    "services": _Kind("release", "releases:read", common=True),
    "splits": _Kind("release", "releases:read"),
    "rollouts": _Kind("rollout", "releases:read"),
    "models": _Kind("release", "releases:read"),
    "prompts": _Kind("release", "releases:read"),
    "aliases": _Kind("release", "releases:read"),
    "keys": _Kind("key", "keys:read"),
    "limits": _Kind("limit", "limits:read"),
    "budgets": _Kind("limit", "budgets:read"),
    "prices": _Kind("other", "prices:read"),
    "deployment": _Kind("deployment", "deployment:read"),
    "replicas": _Kind("replica", "live:read"),
    "projects": _Kind("other", "projects:read"),
    "silences": _Kind("other", "alerts:read"),
    "caches": _Kind("other", "caches:read"),
}
"""By the first word of an action. What is not here changes nothing that a chart shows."""

KINDS = tuple(sorted({each.kind for each in _KINDS.values()}))


def told(act: Act) -> Told | None:
    """None of an act that is no change of how requests go, that was refused, or that is somebody's reading."""
    area, _, verb = act.action.partition(".")
    kind = _KINDS.get(area)
    if kind is None or act.outcome != "ok" or verb in _READING:
        return None
    content = _read(act.content)
    said = content.after or content.before or content.split or _Thing()
    if area == "caches" and said.scope in _SINGLE:
        return None
    words = _WORDS.get(area, _plain)
    return Told(
        kind=kind.kind,
        service=_service(area, act, said),
        text=words(act, verb, said, content),
        permission=kind.permission,
        common=kind.common,
    )


def _service(area: str, act: Act, said: _Thing) -> str:
    if area == "caches":
        return said.value if said.scope == "service" else ""
    return act.target if area in ("splits", "services") else said.service


_SINGLE = ("key", "subject")
"""What an invalidation is of that no chart shows."""
_READING = frozenset({"read_content", "denied", "preflight"})
_PAST = {
    "create": "made",
    "change": "changed",
    "delete": "removed",
    "revoke": "revoked",
    "rotate": "rotated",
    "archive": "archived",
    "restore": "restored",
    "push": "pushed",
    "put": "set",
    "move": "moved",
    "start": "started",
    "load": "loaded",
    "step": "took a step",
    "hold": "holds",
    "ask": "asks for a decision",
    "pause": "paused",
    "resume": "resumed",
    "approve": "approved",
    "promote": "promoted its candidate",
    "rollback": "rolled back",
    "abort": "aborted",
    "fail": "failed",
    "end": "ended",
    "warm": "kept warm",
}


def _plain(act: Act, verb: str, said: _Thing, _: _Content) -> str:
    area = act.action.partition(".")[0]
    one = {"aliases": "alias", "prices": "price"}.get(area, area.removesuffix("s"))
    return f"{one.capitalize()} {act.target} was {_PAST.get(verb, verb)}"


def _key(act: Act, verb: str, said: _Thing, _: _Content) -> str:
    return f"Key {act.target}{f' ({said.name})' if said.name else ''} was {_PAST.get(verb, verb)}"


def _cache(_: Act, __: str, said: _Thing, ___: _Content) -> str:
    if not said.scope:
        return "Answers in caches were invalidated"
    which = f" of the {said.scope} {said.value}" if said.value else ""
    return f"All answers{which} in caches were invalidated"


def _limit(act: Act, verb: str, said: _Thing, content: _Content) -> str:
    on = _subject(said)
    before, after = _amount(content.before), _amount(content.after)
    if verb == "change" and before != after:
        return f"Limit on {on} went from {before} to {after}"
    return f"Limit of {_amount(said)} on {on} was {_PAST.get(verb, verb)}"


def _budget(act: Act, verb: str, said: _Thing, content: _Content) -> str:
    on = _subject(said)
    before, after = _dollars(content.before), _dollars(content.after)
    if verb == "change" and before != after:
        return f"Budget of {on} went from {before} to {after}"
    return f"Budget of {_dollars(said)} for {on} was {_PAST.get(verb, verb)}"


def _rollout(act: Act, verb: str, said: _Thing, content: _Content) -> str:
    of = f"of {said.candidate} " if said.candidate else ""
    if content.reason:
        return f"Rollout {act.target} {of}{_PAST.get(verb, verb)}: {content.reason.rstrip('.')}"
    was = "" if verb in ("fail", "end", "step", "hold", "ask", "promote", "rollback") else "was "
    return f"Rollout {act.target} {of}{was}{_PAST.get('start' if verb == 'create' else verb, verb)}"


def _split(act: Act, verb: str, said: _Thing, _: _Content) -> str:
    if verb == "warm":
        return f"A release of {act.target} was kept warm, or let go"
    if not said.shares:
        return f"The split of {act.target} was changed"
    given = ", ".join(f"{release} {share:g} %" for release, share in said.shares.items())
    return f"The split of {act.target} was set to {given}"


def _service_words(act: Act, verb: str, said: _Thing, _: _Content) -> str:
    if verb != "rollback":
        return f"{act.target} was {_PAST.get(verb, verb)}"
    return f"{act.target} was rolled back{f' to {said.candidate}' if said.candidate else ''}"


def _release(act: Act, verb: str, said: _Thing, _: _Content) -> str:
    return f"Release {act.target}{f' of {said.service}' if said.service else ''} was {_PAST.get(verb, verb)}"


def _deployment(act: Act, verb: str, _: _Thing, content: _Content) -> str:
    if not content.changed:
        return "A deployment file was applied"
    more = f" and {len(content.changed) - 1} more" if len(content.changed) > 1 else ""
    return f"Deployment: {content.changed[0]}{more}"


_WORDS: Mapping[str, Callable[[Act, str, _Thing, _Content], str]] = {
    "keys": _key,
    "limits": _limit,
    "budgets": _budget,
    "rollouts": _rollout,
    "splits": _split,
    "services": _service_words,
    "releases": _release,
    "deployment": _deployment,
    "caches": _cache,
}


def _read(content: bytes) -> _Content:
    try:
        return msgspec.json.decode(content, type=_Content) if content else _Content()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Of another version of Penstock, or redacted.
        return _Content()


def _subject(said: _Thing) -> str:
    one = f"each {said.kind}" if said.subject == "*" else f"{said.kind} {said.subject}"
    on = said.kind if said.kind == "global" else one
    return f"{on} at {said.service}" if said.service else on


def _amount(said: _Thing | None) -> str:
    if said is None:
        return "nothing"
    return f"{said.amount} {said.metric.replace('_', ' ')}{f' a {said.per}' if said.per else ''}"


def _dollars(said: _Thing | None) -> str:
    if said is None:
        return "nothing"
    return f"${said.amount} {'in all' if said.period == 'total' else f'a {said.period}'}"
