"""Chains of the audit, made by hand: for tests of what is found when somebody lays hands on them."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from penstock.core.usage import Act, AuditRow, Head
from penstock.store.audit_chain import GENESIS, NOTHING, Link, Written, follow, key_name, redaction_target, sign_head

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
KEYS = {key_name(KEY.public_key()): KEY.public_key()}


def act(at: float = 1.0, *, content: bytes = b"", action: str = "keys.create", target: str = "") -> Act:
    return Act(at=at, actor="admin", project="default", action=action, target=target, content=content)


def grow(links: Sequence[Link], *acts: Act) -> list[Link]:
    number, last = (links[-1].row.number, links[-1].row.digest) if links else (0, GENESIS)
    return [*links, *follow(last, number, ((f"id{number + i}", each) for i, each in enumerate(acts)))]


def redact(links: Sequence[Link], numbers: Sequence[int]) -> list[Link]:
    """The chain with these contents gone and the row that says so."""
    by = len(links) + 1
    gone = [
        Link(replace(link.row, act=replace(link.row.act, content=b""), redacted_by=by), None)
        if link.row.number in numbers
        else link
        for link in links
    ]
    return grow(gone, act(99.0, action="audit.redact", target=redaction_target(numbers), content=b'"why"'))


def signed(links: Sequence[Link], *numbers: int) -> list[Head]:
    return [sign_head(KEY, number, links[number - 1].row.digest, 5.0 + number) for number in sorted(set(numbers))]


def edited(link: Link, **changes: object) -> Link:
    """Fields of the row or of its act, with the digests as they were."""
    row = {name: value for name, value in changes.items() if name in AuditRow.__struct_fields__}
    rest = {name: value for name, value in changes.items() if name not in row}
    return Link(replace(link.row, act=replace(link.row.act, **rest), **row), link.salt)


def rewritten(links: Sequence[Link], start: int) -> list[Link]:
    """All rows from index ``start`` on with numbers and digests made to fit again."""
    done = list(links[:start])
    for link in links[start:]:
        row = link.row
        previous = done[-1].row.digest if done else GENESIS
        number = len(done) + 1
        digest = Written(previous, row.content_digest, row.id, row.act).at(number)
        done.append(Link(replace(row, number=number, previous=previous, digest=digest), link.salt))
    return done


def renumbered(links: Sequence[Link]) -> list[Link]:
    """With numbers from 1 on and everything else as it was."""
    return [Link(replace(link.row, number=i), link.salt) for i, link in enumerate(links, 1)]


def contents(links: Sequence[Link]) -> list[int]:
    """The numbers of rows that still have one."""
    return [link.row.number for link in links if link.row.content_digest != NOTHING and link.salt is not None]
