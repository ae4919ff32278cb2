"""Whatever is done to a valid chain is found, and nothing is found in a valid one."""

from __future__ import annotations

import hashlib
import math
import tracemalloc
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core.usage import Act, Finding, Head
from penstock.store.audit_chain import (
    GENESIS,
    Link,
    follow,
    redacted_by,
    redaction_target,
    runs,
    sign_head,
)
from penstock.store.audit_verify import MOST, verify_chain
from tests.store.chains import KEY, KEYS, act, contents, edited, grow, redact, renumbered, rewritten, signed

words = st.text(st.characters(exclude_categories=()), max_size=5)
acts = st.builds(
    Act,
    at=st.floats(allow_nan=False),
    kind=st.sampled_from(["administrative", "content"]),
    actor=words,
    project=words,
    action=words,
    target=words,
    content=st.binary(max_size=5),
)


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[Link], list[Head]]:
    """A valid chain of at least 3 rows with heads, one of them at its end."""
    links = grow([], *draw(st.lists(acts, min_size=3, max_size=9)))
    heads = draw(st.sets(st.integers(1, len(links))))
    for _ in range(draw(st.integers(0, 2))):
        left = contents(links)
        if left:
            links = redact(links, sorted(draw(st.sets(st.sampled_from(left), min_size=1))))
        links = grow(links, *draw(st.lists(acts, max_size=2)))
    return links, signed(links, *heads, len(links))


def check(links: list[Link], heads: list[Head]) -> list[Finding]:
    by_number = sorted(links, key=lambda link: link.row.number)
    return verify_chain(by_number, sorted(heads, key=lambda head: head.number), KEYS)


def flip(data: bytes, at: int) -> bytes:
    return bytes(byte ^ 1 if i == at % len(data) else byte for i, byte in enumerate(data)) if data else b"!"


def mutated(links: list[Link], heads: list[Head], draw: st.DrawFn) -> tuple[list[Link], list[Head]]:
    """The chain after one change that somebody might make who can write the database and has no key."""
    i = draw(st.integers(0, len(links) - 1))
    link, row = links[i], links[i].row
    head = draw(st.sampled_from(heads))
    others = [each for each in heads if each != head]
    put = lambda *new: [*links[:i], *new, *links[i + 1 :]]  # noqa: E731
    field = draw(st.sampled_from(["at", "kind", "actor", "project", "action", "target", "outcome", "address", "id"]))
    old = row.id if field == "id" else getattr(row.act, field)
    other = draw(acts)
    changed = edited(link, **{field: (old + 1 if abs(old) < 1e15 else 0.0) if field == "at" else old + "x"})
    forged = next(follow(links[i - 1].row.digest if i else GENESIS, i, [("forged", other)]))
    thief = Ed25519PrivateKey.from_private_bytes(b"t" * 32)
    j = draw(st.integers(0, len(links) - 1).filter(lambda j: j != i))
    swapped = [links[{i: j, j: i}.get(k, k)] for k in range(len(links))]
    ways = {
        "edit": lambda: (put(changed), heads),
        "edit, digest made to fit": lambda: (
            [*links[:i], rewritten([*links[:i], changed], i)[i], *links[i + 1 :]],
            heads,
        ),
        "edit, all made to fit": lambda: (rewritten(put(changed), i), heads),
        "digest": lambda: (put(edited(link, digest=flip(row.digest, j))), heads),
        "previous": lambda: (put(edited(link, previous=flip(row.previous, j))), heads),
        "content digest": lambda: (put(edited(link, content_digest=flip(row.content_digest, j))), heads),
        "number": lambda: (put(edited(link, number=draw(st.sampled_from([-7, 0, len(links) + 1, 900])))), heads),
        "remove": lambda: (put(), heads),
        "remove and renumber": lambda: (renumbered(put()), heads),
        "remove, all made to fit": lambda: (rewritten(put(), i), heads),
        "insert": lambda: (renumbered(put(forged, link)), heads),
        "insert rubbish": lambda: (renumbered(put(edited(forged, digest=flip(row.digest, j)), link)), heads),
        "insert, all made to fit": lambda: (rewritten(put(forged, link), i), heads),
        "insert a copy": lambda: (renumbered([*links[:j], link, *links[j:]]), heads),
        "swap": lambda: (renumbered(swapped), heads),
        "swap, all made to fit": lambda: (rewritten(swapped, min(i, j)), heads),
        "cut": lambda: (links[:i], heads),
        "renumber": lambda: ([edited(each, number=each.row.number + 1) for each in links], heads),
        "redacted by": lambda: (put(edited(link, redacted_by=(row.redacted_by or 0) + 1)), heads),
        "head number": lambda: (links, [*others, replace(head, number=head.number + draw(st.sampled_from([-1, 1])))]),
        "head digest": lambda: (links, [*others, replace(head, digest=flip(head.digest, j))]),
        "head time": lambda: (links, [*others, replace(head, at=head.at + 1)]),
        "head signature": lambda: (links, [*others, replace(head, signature=flip(head.signature, j))]),
        "head forged": lambda: (links, [*others, sign_head(thief, head.number, head.digest, head.at)]),
        "head forged, key's name put in": lambda: (
            links,
            [*others, replace(sign_head(thief, head.number, head.digest, head.at), key=head.key)],
        ),
    }
    if link.salt is not None:
        salt, content = link.salt, row.act.content
        shifted = Link(edited(link, content=salt[-1:] + content).row, salt[:-1])
        ways |= {
            "content": lambda: (put(edited(link, content=flip(content, j))), heads),
            "content gone": lambda: (put(Link(edited(link, content=b"").row, None)), heads),
            "content emptied": lambda: (put(edited(link, content=b"")), heads),
            "salt": lambda: (put(Link(row, flip(salt, j))), heads),
            "salt into content": lambda: (put(shifted), heads),
            "redacted by nobody": lambda: (
                put(Link(edited(link, content=b"", redacted_by=len(links)).row, None)),
                heads,
            ),
        }
    else:
        ways["content put in"] = lambda: (put(Link(edited(link, content=b"!").row, b"s" * 32)), heads)
    if row.redacted_by is not None:
        ways["redaction unsaid"] = lambda: (put(edited(link, redacted_by=None)), heads)
    return ways[draw(st.sampled_from(sorted(ways)))]()


@given(chains())
@settings(max_examples=150, deadline=None)
def test_a_valid_chain_has_no_finding(made: tuple[list[Link], list[Head]]) -> None:
    links, heads = made
    assert check(links, heads) == []
    assert check(links, []) == []
    assert check(links, [*heads, *heads]) == []


@given(st.data())
@settings(max_examples=600, deadline=None)
def test_any_one_change_is_found(data: st.DataObject) -> None:
    links, heads = data.draw(chains())
    new_links, new_heads = mutated(links, heads, data.draw)
    if (new_links, sorted(new_heads, key=repr)) != (links, sorted(heads, key=repr)):
        assert check(new_links, new_heads)


# -- the name of what was done is right in the plain cases -------------------------------------------------------


@pytest.fixture
def links() -> list[Link]:
    return grow([], *(act(float(i), content=b'{"n":%d}' % i) for i in range(1, 11)))


def faults(found: list[Finding]) -> list[tuple[int, str]]:
    return [(each.number, each.fault) for each in found]


def test_an_edited_row(links: list[Link]) -> None:
    assert faults(check([*links[:4], edited(links[4], actor="mallory"), *links[5:]], [])) == [(5, "edited")]


def test_a_row_edited_with_all_digests_made_to_fit_is_found_by_the_head(links: list[Link]) -> None:
    forged = rewritten([*links[:4], edited(links[4], actor="mallory"), *links[5:]], 4)
    assert check(forged, []) == []
    assert faults(check(forged, signed(links, 3, 10))) == [(10, "edited")]


@pytest.mark.parametrize("tidy", [list, renumbered])
def test_a_removed_row(links: list[Link], tidy: type[list[Link]]) -> None:
    assert faults(check(tidy([*links[:4], *links[6:]]), []))[0][1] == "removed"
    assert len(check(tidy([*links[:4], *links[6:]]), [])) == 1


def test_the_first_row_removed(links: list[Link]) -> None:
    assert faults(check(links[1:], [])) == [(2, "removed")]
    assert check(links[1:], [])[0].about == "row 1 is gone"


def test_an_inserted_row(links: list[Link]) -> None:
    forged = next(follow(links[3].row.digest, 4, [("new", act(4.5))]))
    assert faults(check(renumbered([*links[:4], forged, *links[4:]]), [])) == [(5, "inserted")]
    assert faults(check(renumbered([*links[:4], edited(forged, actor="m"), *links[4:]]), [])) == [(5, "inserted")]
    assert faults(check(renumbered([*links[:7], links[2], *links[7:]]), [])) == [(8, "inserted")]


def test_reordered_rows(links: list[Link]) -> None:
    swapped = renumbered([*links[:4], links[5], links[4], *links[6:]])
    assert faults(check(swapped, [])) == [(6, "reordered")]
    moved = renumbered([links[0], *links[2:], links[1]])
    assert faults(check(moved, [])) == [(10, "reordered")]


def test_a_cut_tail(links: list[Link]) -> None:
    assert faults(check(links[:6], signed(links, 3, 10))) == [(7, "cut")]
    assert faults(check([], signed(links, 10))) == [(1, "cut")]
    assert check(links[:6], signed(links, 3, 6)) == []


def test_a_cut_tail_with_others_grown_in_its_place(links: list[Link]) -> None:
    other = grow(links[:6], *(act(50.0) for _ in range(8)))
    assert faults(check(other, signed(links, 3, 10))) == [(10, "edited")]


def test_heads_that_cannot_be_believed(links: list[Link]) -> None:
    thief = sign_head(Ed25519PrivateKey.generate(), 10, links[-1].row.digest, 1.0)
    (found,) = check(links, [thief])
    assert found.fault == "head"
    assert "not known here" in found.about
    assert faults(check(links, [replace(signed(links, 4)[0], at=0.0)])) == [(4, "head")]


def test_content_that_is_gone_or_altered(links: list[Link]) -> None:
    gone = Link(edited(links[4], content=b"").row, None)
    assert faults(check([*links[:4], gone, *links[5:]], [])) == [(5, "content")]
    assert faults(check([*links[:4], edited(links[4], content=b"{}"), *links[5:]], [])) == [(5, "content")]
    redacted = redact(links, [2, 3, 5])
    assert check(redacted, signed(redacted, 11)) == []
    # The redaction names 2, 3 and 5; somebody lets 4 vanish under its name.
    stolen = Link(edited(links[3], content=b"", redacted_by=11).row, None)
    assert faults(check([*redacted[:3], stolen, *redacted[4:]], [])) == [(2, "content")]


def test_a_redaction_that_never_came(links: list[Link]) -> None:
    redacted = redact(links, [2, 3])
    assert faults(check(redacted[:10], [])) == [(2, "content")]


def test_only_an_administrative_act_redacts() -> None:
    target = redaction_target([3, 7, 8, 9, 3])
    assert target == "redacts:3,7-9"
    assert redacted_by(act(target=target)) == [(3, 3), (7, 9)]
    assert redacted_by(replace(act(target=target), kind="content")) == ()
    for other in ("", "keys", "redacts:", "redacts:x", "redacts:1-", "redacts:-1", "redacts:1-2-3"):
        assert redacted_by(act(target=other)) in ((), [(1, 1)]), other


@given(st.sets(st.integers(0, 40)))
def test_runs_are_their_numbers(numbers: set[int]) -> None:
    assert [n for first, last in runs(sorted(numbers)) for n in range(first, last + 1)] == sorted(numbers)


def test_the_digest_is_the_one_that_is_written_down() -> None:
    """By hand, from the words of the module: somebody else's verifier must come to the same."""
    (link,) = follow(GENESIS, 0, [("a", Act(at=1.5, actor="é", project="p", action="keys.create", content=b"c"))])
    assert link.salt is not None
    assert len(link.salt) == 32
    sealed = hashlib.sha256(b"penstock audit content 1\0" + link.salt + b"c").digest()
    assert link.row.content_digest == sealed
    words = ["a", "administrative", "é", "p", "keys.create", "", "ok", "", ""]
    told = b"".join(len(w.encode()).to_bytes(4, "big") + w.encode() for w in words)
    row = b"penstock audit row 1\0" + bytes(32) + sealed + bytes.fromhex("3ff8000000000000") + told
    assert link.row.digest == hashlib.sha256(row + (1).to_bytes(8, "big")).digest()
    head = sign_head(KEY, 1, link.row.digest, 2.5)
    stated = b"penstock audit head 1\0" + (1).to_bytes(8, "big") + link.row.digest + bytes.fromhex("4004000000000000")
    KEY.public_key().verify(head.signature, stated)
    assert head.key == hashlib.sha256(KEY.public_key().public_bytes_raw()).hexdigest()[:16]


def test_a_ruined_chain_is_not_told_without_end(links: list[Link]) -> None:
    ruined = [edited(links[4], number=n, actor=str(n)) for n in range(1, 2 * MOST)]
    assert MOST <= len(check(ruined, [])) < MOST + 10


def test_a_time_that_is_no_number_is_a_finding_and_no_crash(links: list[Link]) -> None:
    assert faults(check([*links[:9], edited(links[9], at=math.nan)], [])) == [(10, "edited")]


def test_it_holds_one_row_at_a_time() -> None:
    def many(count: int) -> Iterator[Link]:
        previous = GENESIS
        for number in range(count):
            (link,) = follow(previous, number, [(str(number), act(content=b"x" * 1000))])
            previous = link.row.digest
            yield link

    tracemalloc.start()
    try:
        assert verify_chain(many(3000), [], KEYS) == []
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
