"""Directories for tests: projects, people and keys, hashed under peppers that are known here."""

from __future__ import annotations

from penstock.access.keys import digest
from penstock.access.peppers import Pepper, named
from penstock.core.accounts import Directory, KeyRecord, Membership, Project, Team, User

NEW = named(b"n" * 32)
OLD = named(b"o" * 32)
NOW = 1_800_000_000.0


class Hand:
    """A clock that a test turns."""

    def __init__(self, at: float = NOW) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


def key(secret: str, id: str = "app", *, under: Pepper = NEW, **fields: object) -> KeyRecord:
    """The record of a key of the project ``red``, where ``fields`` say nothing else."""
    said = {"project": "red", "role": "developer", **fields}
    return KeyRecord(id=id, digest=digest(under.secret, secret), pepper=under.name, **said)  # type: ignore[arg-type]


def directory(*keys: KeyRecord, users: tuple[User, ...] = (), version: int = 1) -> Directory:
    return Directory(
        version=version,
        projects=(
            Project(id="blue", priority="low"),
            Project(id="gone", archived_at=NOW - 10),
            Project(id="red", priority="normal"),
            Project(id="vip", priority="high"),
        ),
        teams=(Team(id="ops", project="red"), Team(id="sea", project="blue")),
        users=users,
        keys=keys,
    )


def user(id: str, *memberships: Membership, **fields: object) -> User:
    return User(id=id, memberships=memberships, **fields)  # type: ignore[arg-type]
