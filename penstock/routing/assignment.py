"""Assignment: which release a unit gets. Pure, and the same in every process and in every version of Penstock.

A unit is hashed to one of a million places; a split cuts the places into ranges. A new split moves as few places as
its shares allow, so that whoever need not change keeps the release it has.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from operator import attrgetter

from penstock.core.releases import WHOLE, Range, Segment

MOST_RANGES = 64
"""More than any split needs. One that would have more is laid out anew, and moves more than it must."""

_end = attrgetter("end")


def hashed(salt: str, unit: str) -> bytes:
    """16 bytes that stand for the unit wherever this salt is used: BLAKE2b (RFC 7693) of the unit, keyed with the
    salt. Raises ``ValueError`` for a salt of more than 64 bytes."""
    return hashlib.blake2b(unit.encode(), digest_size=16, key=salt.encode()).digest()


def place(salt: str, unit: str) -> int:
    """Where the unit is, from 0 up to ``WHOLE``, not included: the first 8 bytes of its hash."""
    return placed(hashed(salt, unit))


def placed(unit: bytes) -> int:
    """``place``, of what ``hashed`` gave."""
    return int.from_bytes(unit[:8], "big") * WHOLE >> 64


def sampled(unit: bytes) -> int:
    """A second place, independent of the first: the other 8 bytes. Who is recorded, or copied, is drawn by it: a fair
    sample of every range."""
    return int.from_bytes(unit[8:], "big") * WHOLE >> 64


def chosen(ranges: Sequence[Range], at: int) -> str:
    """The release whose range holds the place ``at``. Raises ``IndexError`` where the ranges end before it."""
    return ranges[bisect_right(ranges, at, key=_end)].release


def shares(ranges: Sequence[Range]) -> dict[str, int]:
    """How much each release has, in millionths, in the order of their first ranges."""
    found: dict[str, int] = {}
    begin = 0
    for each in ranges:
        found[each.release] = found.get(each.release, 0) + each.end - begin
        begin = each.end
    return found


def resplit(ranges: Sequence[Range], shares: Mapping[str, int]) -> tuple[Range, ...]:
    """The ranges with which each release has its new share, in millionths; one that is not named, or has 0, has none.

    Half the sum of the differences of shares moves, and nothing else: who shrinks gives, who grows takes, first
    across the boundaries between the two. No two neighbours are of one release. Raises ``ValueError`` where shares
    are not from 0 to ``WHOLE`` or do not add up to it, and where ``ranges`` do not ascend to it.
    """
    if any(not 0 <= share <= WHOLE for share in shares.values()) or sum(shares.values()) != WHOLE:
        raise ValueError(f"The shares {dict(shares)} must each be from 0 to {WHOLE} and add up to {WHOLE}.")
    pieces = _pieces(ranges)
    surplus = dict.fromkeys([*(piece[0] for piece in pieces), *shares], 0)
    for release, size in pieces:
        surplus[release] += size
    for release, share in shares.items():
        surplus[release] -= share
    while any(surplus.values()):
        if not _crossed(pieces, surplus):
            _handed(pieces, surplus)
    if len(pieces) > MOST_RANGES:
        pieces = [(release, share) for release, share in shares.items() if share]
    return _ranges(pieces)


def matches(segment: Segment, headers: Mapping[bytes, bytes], key_id: str, project: str) -> bool:
    """Whether a request is of the segment: every kind that it names matches, by any of its values. ``headers`` are by
    lower-case name; their values are compared whole, without white space around them."""
    if segment.keys and key_id not in segment.keys:
        return False
    if segment.projects and project not in segment.projects:
        return False
    return not segment.headers or any(
        headers.get(name.encode("latin-1", "replace"), b"").strip() == value.encode("latin-1", "replace")
        for name, value in segment.headers
    )


_Piece = tuple[str, int]


def _pieces(ranges: Sequence[Range]) -> list[_Piece]:
    found: list[_Piece] = []
    begin = 0
    for each in ranges:
        if each.end <= begin:
            raise ValueError(f"The ranges must ascend, and one ends at {each.end}, the one before at {begin}.")
        found.append((each.release, each.end - begin))
        begin = each.end
    if begin != WHOLE:
        raise ValueError(f"The ranges must end at {WHOLE}, not at {begin}.")
    return found


def _crossed(pieces: list[_Piece], surplus: dict[str, int]) -> bool:
    """Moves the first boundary between one that shrinks and one that grows; False: there is none."""
    for place in range(len(pieces) - 1):
        for giver, taker in ((place, place + 1), (place + 1, place)):
            (gives, has), (takes, size) = pieces[giver], pieces[taker]
            moved = min(has, surplus[gives], -surplus[takes])
            if moved > 0:
                surplus[gives] -= moved
                surplus[takes] += moved
                pieces[giver], pieces[taker] = (gives, has - moved), (takes, size + moved)
                _merge(pieces)
                return True
    return False


def _handed(pieces: list[_Piece], surplus: dict[str, int]) -> None:
    """Cuts what one that grows lacks from the end of the last piece of one that shrinks."""
    place = next(each for each in reversed(range(len(pieces))) if surplus[pieces[each][0]] > 0)
    gives, has = pieces[place]
    takes = next(release for release, more in surplus.items() if more < 0)
    moved = min(has, surplus[gives], -surplus[takes])
    surplus[gives] -= moved
    surplus[takes] += moved
    pieces[place : place + 1] = [(gives, has - moved), (takes, moved)]
    _merge(pieces)


def _merge(pieces: list[_Piece]) -> None:
    merged: list[_Piece] = []
    for release, size in pieces:
        if merged and merged[-1][0] == release:
            merged[-1] = (release, merged[-1][1] + size)
        elif size:
            merged.append((release, size))
    pieces[:] = merged


def _ranges(pieces: Sequence[_Piece]) -> tuple[Range, ...]:
    found: list[Range] = []
    end = 0
    for release, size in pieces:
        end += size
        found.append(Range(end, release))
    return tuple(found)
