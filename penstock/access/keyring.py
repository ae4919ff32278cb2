"""Whose key was presented, and whether it may be used now: every key of one directory, under every pepper."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Callable, Mapping, Sequence

import msgspec

from penstock.access.keys import digest
from penstock.access.peppers import Pepper
from penstock.access.roles import permissions_of
from penstock.access.sessions import MARK_BYTES, Seals
from penstock.core.accounts import EVERYWHERE, Directory, KeyRecord
from penstock.core.errors import INVALID_API_KEY, INVALID_TOKEN, KEY_EXPIRED, KEY_REVOKED, PenstockError
from penstock.core.identity import Principal
from penstock.core.policy import Priority
from penstock.core.usage import Used

DEFAULT_PROJECT = "default"
"""Where a key of EVERYWHERE spends."""

PRIORITIES: Mapping[str, Priority] = {"high": Priority.HIGH, "normal": Priority.NORMAL, "low": Priority.LOW}
"""What records call them."""

_TELL_EVERY_S = 60.0
# One key may be presented in several spellings, with blanks around it say.
_SPARE_SPELLINGS = 10_000
_NOTHING = frozenset[str]()


class UnknownKid(PenstockError):
    """A token is signed by a key of ``issuer`` that is not among those known here. The issuer may have changed its
    keys since they were fetched: fetch them, and check again, once."""

    __slots__ = ("issuer", "kid")

    def __init__(self, issuer: str, kid: str) -> None:
        super().__init__(
            INVALID_TOKEN,
            f"The token is signed by the key {kid[:80]!r}, which {issuer} does not list. Get a new token from it.",
        )
        self.issuer = issuer
        self.kid = kid


class _Match(msgspec.Struct, frozen=True):
    """A presented text that was right. It is until ``until``; ``moved`` is what to tell of it beside its use."""

    record: KeyRecord
    principal: Principal
    until: float
    moved: tuple[bytes, str, bytes]


class Keyring:
    """Every key of one directory. To find one is a dictionary look-up, and the first time an HMAC for each pepper.

    ``now`` is in seconds since the epoch and decides expiry and grace, exactly: a time is over when it is reached.
    ``on_use`` hears of a key's use at most once a minute, and not again of what ``before``, the keyring that this
    one replaces, has told. ``verify_token`` takes what has the form of a JWT; None: such a text is a key like any.

    How long a search takes tells nothing about a key but that it is right: digests under a secret pepper are looked
    up, and texts by a hash that is secret to this process.
    """

    __slots__ = (
        "_by_digest",
        "_by_id",
        "_most_seen",
        "_now",
        "_on_use",
        "_peppers",
        "_projects",
        "_roles",
        "_seen",
        "_told",
        "_users",
        "_verify",
        "seals",
    )

    def __init__(
        self,
        directory: Directory,
        peppers: Sequence[Pepper],
        now: Callable[[], float],
        on_use: Callable[[Used], None],
        verify_token: Callable[[str], Principal] | None = None,
        before: Keyring | None = None,
    ) -> None:
        self._projects = {each.id: each for each in directory.projects}
        self._users = {each.id: each for each in directory.users}
        self._roles = directory.roles
        self._peppers = tuple(peppers)
        self.seals = Seals(self._peppers)
        self._now = now
        self._on_use = on_use
        self._verify = verify_token
        # A digest that is current takes the place of one that was.
        self._by_digest = {
            **{each.previous_digest: each for each in directory.keys if each.previous_digest is not None},
            **{each.digest: each for each in directory.keys},
        }
        self._by_id = {each.id: each for each in directory.keys}
        told: dict[str, float] = {} if before is None else before._told
        self._told: dict[str, float] = {key: at for key, at in told.items() if key in self._by_id}
        # By the key as it was presented. Only keys that are right get in.
        self._seen: dict[str, _Match] = {}
        self._most_seen = len(self._by_digest) + _SPARE_SPELLINGS

    def find(self, presented: str) -> Principal:
        """Whose key, or token, this is.

        Raises ``PenstockError``: ``INVALID_API_KEY`` when it is nobody's; ``KEY_EXPIRED`` when its time, or its grace
        after a rotation, is over; ``KEY_REVOKED`` when it was revoked, or its project or user is no more; and what
        ``verify_token`` raises. What was presented is in no message.
        """
        now = self._now()
        match = self._seen.get(presented)
        if match is None or now >= match.until:
            if self._verify is not None and is_token(presented):
                return self._verify(presented.strip())
            match = self._matching(presented, now)
            if len(self._seen) < self._most_seen:
                self._seen[presented] = match
        self._used(match.record.id, now, match.moved)
        return match.principal

    def find_id(self, key_id: str, mark: bytes) -> Principal:
        """Whose key has this id, for somebody who once showed its secret: ``mark`` was its ``mark_of`` then.

        Raises ``PenstockError`` as ``find`` does, ``KEY_REVOKED`` too when the key has another secret by now.
        """
        now = self._now()
        record = self._by_id.get(key_id)
        if record is None:
            raise PenstockError(
                INVALID_API_KEY, f"There is no API key '{key_id[:64]}' any more. Sign in with another."
            )
        if why := self._refusal(record, True, _until(record, True), now):
            raise why
        marks = [mark[at : at + MARK_BYTES] for at in range(0, len(mark), MARK_BYTES)]
        if not any(hmac.compare_digest(each, _mark(record.digest)) for each in marks):
            raise PenstockError(KEY_REVOKED, f"The API key '{key_id}' has a new secret. Sign in with that one.")
        self._used(key_id, now, (b"", "", b""))
        return self._principal(record)

    def mark_of(self, presented: str) -> bytes:
        """What a key's secret is known by, and no longer when it gets another one. It is the same under each pepper
        that is known now: a key moves from one to another by being used."""
        return b"".join(_mark(digest(pepper.secret, presented)) for pepper in self._peppers)

    def _used(self, key_id: str, now: float, moved: tuple[bytes, str, bytes]) -> None:
        if now - self._told.get(key_id, -math.inf) >= _TELL_EVERY_S:
            self._told[key_id] = now
            self._on_use(Used(key_id, now, *moved))

    def _matching(self, presented: str, now: float) -> _Match:
        for pepper in self._peppers:
            hashed = digest(pepper.secret, presented)
            record = self._by_digest.get(hashed)
            if record is None:
                continue
            current = hashed == record.digest
            until = _until(record, current)
            if why := self._refusal(record, current, until, now):
                raise why
            newest = self._peppers[0]
            moved = (b"", "", b"")
            if pepper is not newest:
                moved = (digest(newest.secret, presented), newest.name, hashed)
            return _Match(record, self._principal(record), until, moved)
        raise PenstockError(
            INVALID_API_KEY,
            "The API key is not valid here: it is mistyped, was removed, or belongs to another gateway. List keys "
            "with 'penstock keys list', make one with 'penstock keys create'; the first admin key is in the file "
            "'credentials' of the gateway's home folder ($PENSTOCK_HOME).",
        )

    def _refusal(self, record: KeyRecord, current: bool, until: float, now: float) -> PenstockError | None:
        named = f"The API key '{record.id}'"
        if record.revoked_at is not None:
            return PenstockError(KEY_REVOKED, f"{named} was revoked. Ask the owner of its project for a new one.")
        if record.project != EVERYWHERE:
            project = self._projects.get(record.project)
            if project is None or project.archived_at is not None:
                return PenstockError(
                    KEY_REVOKED,
                    f"{named} belongs to the project '{record.project}', which is archived. Use a key of another "
                    "project, or have an admin restore this one.",
                )
        if record.user:
            user = self._users.get(record.user)
            if user is None or user.disabled_at is not None:
                return PenstockError(
                    KEY_REVOKED,
                    f"{named} acts for the user '{record.user}', who is disabled. Use a key of somebody else, or "
                    "have an admin enable the user.",
                )
        if now < until:
            return None
        if not current and (record.expires_at is None or now < record.expires_at):
            return PenstockError(
                KEY_EXPIRED, f"{named} was rotated, and the grace of its old secret is over. Use the new secret."
            )
        return PenstockError(KEY_EXPIRED, f"{named} has expired. Ask the owner of its project for a new one.")

    def _principal(self, record: KeyRecord) -> Principal:
        everywhere = record.project == EVERYWHERE
        best = Priority.HIGH if everywhere else PRIORITIES[self._projects[record.project].priority]
        spends = self._projects.get(DEFAULT_PROJECT if everywhere else record.project)
        scopes = record.scopes
        return Principal(
            key_id=record.id,
            project=DEFAULT_PROJECT if everywhere else record.project,
            role=record.role,
            permissions=permissions_of(record.role, self._roles) or _NOTHING,
            everywhere=everywhere,
            user=record.user,
            team=record.team,
            services=_bound(scopes.services),
            models=_bound(scopes.models),
            endpoints=_bound(scopes.endpoints),
            tools=_bound(scopes.tools),
            networks=scopes.networks,
            priority=max(best, PRIORITIES[record.priority]) if record.priority else best,
            capture="" if spends is None else spends.capture,
            log="" if spends is None else spends.log,
        )


def is_token(presented: str) -> bool:
    """Whether it has the form of a signed JWT: three parts with dots between, the first beginning as ``{"`` does in
    base64url (RFC 7515, 7.1)."""
    text = presented.strip()
    return text.startswith("eyJ") and text.count(".") == 2


def _mark(hashed: bytes) -> bytes:
    return hashlib.sha256(b"penstock mark" + hashed).digest()[:MARK_BYTES]


def _until(record: KeyRecord, current: bool) -> float:
    """When it is no longer valid: of an old secret, when its grace is over too."""
    end = math.inf if record.expires_at is None else record.expires_at
    return end if current else min(end, record.previous_until or 0.0)


def _bound(names: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
