"""What one part of the deployment file promises another, and the forms that some texts must have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

from penstock.caches.config import CacheSettings
from penstock.config.deployment import NAME
from penstock.config.mistakes import Path, suggestion
from penstock.config.prompts import REFERENCE
from penstock.config.typed import Reading
from penstock.core.errors import PenstockError
from penstock.engines.config import EngineSettings
from penstock.gateway.config import ServiceSettings
from penstock.prompts.config import defaults_wrong
from penstock.weights import address

_URL_CHARS = re.compile(r"[!-~]+")


def cross_check(
    reading: Reading,
    models: Mapping[str, EngineSettings],
    services: Mapping[str, ServiceSettings],
    cache: CacheSettings,
    prompts: Sequence[str] | None,
) -> None:
    """Notes every mistake between the parts. ``models`` and ``services`` are those that are good in themselves,
    ``prompts`` the names in the folder of prompts, None: only the store knows which there are."""
    for name, engine in models.items():
        for field, form in _FORMS.items():
            value = getattr(engine, field, None)
            if isinstance(value, str):
                _check_form(reading, ("models", name, field), value, form)
        if _changeable(getattr(engine, "weights", None)) and not getattr(engine, "sha256", None):
            reading.note(
                ("models", name, "weights"), "plain http: can be changed on its way; use https:, or add `sha256`"
            )
    known = reading.names(("models",))
    for name, service in services.items():
        _check_models(reading, name, service, known)
        _check_prompt(reading, name, service, prompts)
        for member, wrong in defaults_wrong(service.defaults).items():
            reading.note(("services", name, "defaults", member), wrong)
        _check_history(reading, name, services)
        _check_cache(reading, name, services, models)
    if cache.redis is not None:
        _check_form(reading, ("cache", "redis", "url"), cache.redis.url, _redis_url)
    _check_aliases(reading, services)


def _check_form(reading: Reading, path: Path, value: str, form: Callable[[str], str]) -> None:
    wrong = form(value)
    if wrong and reading.secret(path):
        # The form's own words may repeat the value.
        wrong = f"does not have the right form once `{reading.shown(path, value)}` is filled in"
    if wrong:
        reading.note(path, wrong)


def _check_models(reading: Reading, name: str, service: ServiceSettings, known: list[str]) -> None:
    at: Path = ("services", name)
    named: list[tuple[Path, str]] = [((*at, "model"), service.model)]
    named += [((*at, "fallback", index), model) for index, model in enumerate(service.fallback)]
    seen: set[str] = set()
    for path, model in named:
        if known and model not in known:
            shown = reading.shown(path, model)
            reading.note(path, f"there is no model `{shown}`; {suggestion(model, known)}")
        elif model in seen:
            reading.note(path, f"`{reading.shown(path, model)}` is named before; remove it here")
        seen.add(model)


def _check_prompt(reading: Reading, name: str, service: ServiceSettings, known: Sequence[str] | None) -> None:
    path: Path = ("services", name, "prompt")
    named, shown = service.prompt, reading.shown(path, service.prompt)
    if not named:
        return
    if not REFERENCE.match(named):
        reading.note(path, f"`{shown}` is no prompt's name; write NAME, NAME@DIGEST or NAME@ALIAS")
    elif known is not None and named not in known and "@" not in named:
        hint = suggestion(named, known) if known else "the folder of prompts has none, or is not there"
        reading.note(path, f"there is no prompt `{shown}`; {hint}")


def _check_history(reading: Reading, name: str, services: Mapping[str, ServiceSettings]) -> None:
    history = services[name].history
    path: Path = ("services", name, "history")
    if history is None:
        return
    by, shown = history.summariser, reading.shown((*path, "summariser"), history.summariser)
    if history.policy == "trim":
        if by:
            reading.note((*path, "summariser"), "is for `policy: summarise`; write that, or remove it")
        return
    if not by:
        reading.note(path, "lacks the key `summariser`; name the service that writes summaries")
        return
    if history.summary_tokens * 2 > history.tokens:
        reading.note((*path, "summary_tokens"), "must be at most half of `tokens`")
    known = _names(services)
    if by not in known:
        _check_service(reading, (*path, "summariser"), by, services)
    elif (other := services[known[by]].history) is not None and other.policy == "summarise":
        reading.note((*path, "summariser"), f"`{shown}` has its own conversations summarised; name one that does not")


def _task(named: str, services: Mapping[str, ServiceSettings], models: Mapping[str, EngineSettings]) -> str | None:
    """What the first model of the service is for, as far as its section says."""
    service = services.get(_names(services).get(named, ""))
    model = None if service is None else models.get(service.model)
    return getattr(model, "task", None)


def _check_cache(
    reading: Reading, name: str, services: Mapping[str, ServiceSettings], models: Mapping[str, EngineSettings]
) -> None:
    cache = services[name].cache
    if cache is None or cache.semantic is None:
        return
    path: Path = ("services", name, "cache", "semantic")
    embedder = cache.semantic.embedder
    _check_service(reading, (*path, "embedder"), embedder, services)
    if (found := _task(embedder, services, models)) not in (None, "embedding"):
        shown = reading.shown((*path, "embedder"), embedder)
        reading.note((*path, "embedder"), f"`{shown}` is for {found}; name a service whose model embeds")
    agreement, at = cache.semantic.agreement, (*path, "agreement", "judge")
    if agreement.check == "judge":
        judge = agreement.judge or ""
        _check_service(reading, at, judge, services)
        if (found := _task(judge, services, models)) not in (None, "chat"):
            reading.note(at, f"`{reading.shown(at, judge)}` is for {found}; name a service that chats")
    elif agreement.judge is not None:
        reading.note(at, "is for `check: judge`; write that, or remove it")


def _check_service(reading: Reading, path: Path, named: str, services: Mapping[str, ServiceSettings]) -> None:
    """That there is one of this name, if only one with mistakes of its own."""
    known = _names(services)
    if named not in known and named not in reading.names(("services",)):
        shown = reading.shown(path, named)
        reading.note(path, f"there is no service `{shown}`; {suggestion(named, list(known))}")


def _names(services: Mapping[str, ServiceSettings]) -> Mapping[str, str]:
    """All names that the services have, and whose each is."""
    return {alias: service for service, each in services.items() for alias in (service, *each.aliases)}


def _check_aliases(reading: Reading, services: Mapping[str, ServiceSettings]) -> None:
    owners = {name: name for name in reading.names(("services",))}
    for name, path, alias in _aliases(services):
        shown = reading.shown(path, alias)
        if not re.search(NAME, alias):
            hint = "; to catch every other name, call a service `*`" if alias == "*" else ""
            reading.note(path, f"`{shown}` is no name: letters, digits and . _ - / : make one{hint}")
        elif alias in owners:
            owner = owners[alias]
            whose = "given twice" if owner == name else f"already a name of the service `{owner}`"
            reading.note(path, f"`{shown}` is {whose}; remove it here")
        else:
            owners[alias] = name


def _aliases(services: Mapping[str, ServiceSettings]) -> Iterator[tuple[str, Path, str]]:
    for name, service in services.items():
        for index, alias in enumerate(service.aliases):
            yield name, ("services", name, "aliases", index), alias


def _weights(value: str) -> str:
    try:
        address.parse(value)
    except PenstockError as error:
        return error.message
    return ""


def _changeable(weights: object) -> bool:
    """Whether somebody on the way could change these weights unseen."""
    try:
        place = address.parse(weights) if isinstance(weights, str) else None
    except PenstockError:
        return False
    return isinstance(place, address.Web) and not place.trusted_wire


def _http_url(value: str) -> str:
    """Never repeats the value: a URL may hold a password."""
    mend = "must be an http:// or https:// URL, such as http://127.0.0.1:8000/v1"
    try:
        url = urlsplit(value)
        good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return mend
    return "" if good and _URL_CHARS.fullmatch(value) else mend


def _redis_url(value: str) -> str:
    """Never repeats the value, either."""
    mend = "must be the URL of a Redis: redis://HOST:PORT/NUMBER, rediss:// with TLS, or unix:///PATH"
    try:
        url = urlsplit(value)
        good = (
            bool(url.path)
            if url.scheme == "unix"
            # Of another path redis-py would make database 0.
            else url.scheme in ("redis", "rediss")
            and bool(url.hostname)
            and url.port != 0
            and (not url.path.strip("/") or url.path[1:].isdecimal())
        )
    except ValueError:
        return mend
    return "" if good and _URL_CHARS.fullmatch(value) else mend


def _sha256(value: str) -> str:
    try:
        address.sha256_digest(value)
    except PenstockError as error:
        return error.message
    return ""


_FORMS: Mapping[str, Callable[[str], str]] = {
    "weights": _weights,
    "base_url": _http_url,
    "proxy": _http_url,
    "sha256": _sha256,
}
"""The form of a text, by the name that every engine gives such a field."""
