"""Lot: which release of a service a request has drawn, and what is done with the request for its rollout's sake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from penstock.core.chat import Call
from penstock.core.errors import NO_REPLICA, NOT_FOUND, PERMISSION_DENIED, PenstockError
from penstock.core.identity import Principal
from penstock.core.policy import Terms
from penstock.core.releases import Mirror, Range
from penstock.core.serving import Assignment, Service, Watched
from penstock.gateway.directory import forbidden, narrowed
from penstock.routing.assignment import chosen, hashed, matches, placed, sampled, shares

FORCE = b"x-penstock-release"
_CONVERSATION = b"x-penstock-conversation"
_MOST_SHOWN = 8

_T = TypeVar("_T")


class Lot(msgspec.Struct, frozen=True, kw_only=True):
    """``service`` is the variant that its release makes, as far as the key may use it. ``unit`` is a hash of whom it
    was drawn for, empty where the client named the release. The request is scored where ``watched`` is set, unless
    ``recorded`` is false: then only beside a copy. It is copied where ``mirror`` is set; ``mirrored`` is the variant
    that the copy goes to."""

    service: Service
    unit: str = ""
    watched: Watched | None = None
    recorded: bool = True
    mirror: Mirror | None = None
    mirrored: Service | None = None

    @property
    def concerned(self) -> bool:
        """Whether anything is done with the request for a rollout's sake."""
        return self.watched is not None or self.mirror is not None


class _Metadata(msgspec.Struct, frozen=True):
    conversation_id: str | None = None


class _Conversation(msgspec.Struct, frozen=True):
    id: str = ""


def draw(service: Service, assignment: Assignment, call: Call, principal: Principal, terms: Terms) -> Lot:
    """The same unit draws the same release for as long as the split gives it that. Raises ``PenstockError``:
    PERMISSION_DENIED and NOT_FOUND where the client names a release, MODEL_FORBIDDEN where the key may use none of
    the models behind the service, NO_REPLICA where the release cannot be served here at all."""
    headers = terms.headers
    if FORCE in headers:
        return Lot(service=named(service, assignment.variants, headers, principal))
    hash = hashed(assignment.salt, unit_of(assignment, call, principal, headers))
    segment = assignment.segment
    inside = segment is None or matches(segment, headers, principal.key_id, principal.project)
    ranges = assignment.inside if inside and assignment.inside else assignment.ranges
    release = chosen(ranges, placed(hash))
    variant = assignment.variants.get(release)
    if variant is None:
        raise PenstockError(
            NO_REPLICA,
            f"The release '{release}' of service '{service.name}' cannot be served here; the gateway's log says why. "
            f"Another can take its place: penstock rollback {service.name}",
            retry_after=1.0,
        )
    if principal.models is not None:
        allowed = narrowed(variant, principal.models)
        if allowed is None:
            # It has no say in the rollout: it is not in the arm that it was drawn for.
            return Lot(service=_allowed(service, assignment, ranges, principal.models), unit=hash.hex())
        variant = allowed
    if inside is assignment.outside or principal.purpose == "internal":
        return Lot(service=variant, unit=hash.hex())
    at = sampled(hash)
    mirror, mirrored = assignment.mirror, None
    if mirror is not None and at < mirror.share and release != mirror.release:
        mirrored = assignment.variants.get(mirror.release)
        if mirrored is not None and principal.models is not None:
            mirrored = narrowed(mirrored, principal.models)
    watched, recorded = assignment.watched, True
    if watched is not None and release != watched.candidate:
        recorded = at < watched.share
        paired = mirror is not None and mirrored is not None and mirror.release == watched.candidate
        if release != watched.champion or not (recorded or paired):
            watched = None
    return Lot(
        service=variant,
        unit=hash.hex(),
        watched=watched,
        recorded=recorded,
        mirror=mirror if mirrored is not None else None,
        mirrored=mirrored,
    )


def unit_of(assignment: Assignment, call: Call, principal: Principal, headers: Mapping[bytes, bytes]) -> str:
    """Whom a request is drawn for, as its assignment has it: the user that the client names (one of its project), or
    whom the key acts for, else the conversation, else the request itself."""
    if assignment.sticky == "user":
        if call.user:
            return f"user\0{principal.project}\0{call.user}"
        if principal.user:
            return f"person\0{principal.user}"
    if assignment.sticky != "request" and (conversation := _conversation(call, headers)):
        return f"conversation\0{principal.project}\0{conversation}"
    return f"request\0{call.request_id}"


def _conversation(call: Call, headers: Mapping[bytes, bytes]) -> str:
    """By the header ``x-penstock-conversation``, else ``metadata.conversation_id``, else ``conversation`` (an id, or
    an object with one) of the request; empty: it names none."""
    if named := headers.get(_CONVERSATION, b"").strip():
        return named.decode("latin-1")
    if (metadata := call.fields.get("metadata")) is not None:
        found = _read(metadata, _Metadata)
        if found is not None and found.conversation_id:
            return found.conversation_id
    if (given := call.fields.get("conversation")) is not None:
        read = _read(given, str) or _read(given, _Conversation)
        return read.id if isinstance(read, _Conversation) else read or ""
    return ""


def _read(raw: msgspec.Raw, kind: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def named(
    service: Service, variants: Mapping[str, Service], headers: Mapping[bytes, bytes], principal: Principal
) -> Service:
    """The variant of the release that the client wants by the header ``FORCE``, whoever else gets it. Raises
    ``PenstockError``: PERMISSION_DENIED, NOT_FOUND, MODEL_FORBIDDEN."""
    release = headers[FORCE].decode("latin-1").strip()
    if not principal.may("releases:write"):
        raise PenstockError(
            PERMISSION_DENIED,
            f"The role '{principal.role}' of this key does not allow choosing a release ('releases:write'). Leave "
            "the header 'x-penstock-release' out, or use a key whose role does, such as an operator's.",
            param="x-penstock-release",
        )
    variant = variants.get(release)
    if variant is None:
        some = ", ".join(f"'{each}'" for each in list(variants)[:_MOST_SHOWN]) or "none"
        raise PenstockError(
            NOT_FOUND,
            f"The service '{service.name}' has no release '{release[:80]}' that is loaded. These are: {some}. "
            f"penstock release history {service.name} lists them all.",
            param="x-penstock-release",
        )
    if principal.models is None:
        return variant
    allowed = narrowed(variant, principal.models)
    if allowed is None:
        raise forbidden(service)
    return allowed


def _allowed(service: Service, assignment: Assignment, ranges: Sequence[Range], models: frozenset[str]) -> Service:
    """The release with the largest share among those that a key for these models may use."""
    had = shares(ranges)
    for release in sorted(had, key=lambda each: -had[each]):
        variant = assignment.variants.get(release)
        if variant is not None and (allowed := narrowed(variant, models)) is not None:
            return allowed
    raise forbidden(service)
