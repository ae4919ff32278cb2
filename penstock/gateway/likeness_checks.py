"""Whether two answers are the same, as a service's agreement has it: by their texts, their embeddings, or a judge."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from penstock.caches.embeddings import Vector
from penstock.caches.semantic import agreement
from penstock.caches.shapes import whole
from penstock.core.caching import Agreement, Entry
from penstock.core.chat import Call, Kind
from penstock.core.splice import raw
from penstock.gateway.assessing import said
from penstock.gateway.capture import Choice, Transcript
from penstock.gateway.inside import Ask, Embed, inner, read
from penstock.gateway.settle import Summary
from penstock.quality.scorers import similarity


class Compared(msgspec.Struct, frozen=True):
    """``first`` was made for the ``question``, ``second`` for another. ``embedder`` embeds for ``similarity``;
    ``name`` begins the ids of what is asked for it."""

    name: str
    question: str
    first: str
    second: str
    embedder: str
    subjects: tuple[str, str] = ("", "")
    """Whom each was made for, as ``subject_digest`` has it."""


Spent = Callable[[Call, Summary], None]
"""Hears what one request came to."""


async def same(check: Agreement, of: Compared, embed: Embed, ask: Ask, spent: Spent) -> bool:
    """Whether the second answer serves the question as the first does. Equal texts do in every check.

    Raises ``PenstockError`` and ``ValueError`` when nobody can say.
    """
    if agreement.equal(of.first, of.second):
        return True
    if check.check == "exact":
        return False
    if check.check == "similarity":
        texts = [each.strip()[: agreement.MOST_SHOWN] for each in (of.first, of.second)]
        if not all(texts):
            return False
        (first,) = await embed(of.embedder, texts[:1], None, name=f"{of.name}:made", subject=of.subjects[0])
        (second,) = await embed(of.embedder, texts[1:], None, name=f"{of.name}:kept", subject=of.subjects[1])
        return similarity(first.values(), second.values()) >= check.at_least
    return await _judged(check.judge or "", of, ask, spent)


async def _judged(judge: str, of: Compared, ask: Ask, spent: Spent) -> bool:
    messages = agreement.judge_messages(of.question, of.first, of.second)
    fields = {"model": raw(judge), "messages": raw(messages)}
    call = Call(f"{of.name}:judge", Kind.CHAT, judge, fields)
    heard = Transcript(True)
    await read(await ask(call, inner(), over=lambda summary: spent(call, summary)), heard)
    verdict = agreement.judged(said(heard.first()))
    if verdict is None:
        raise ValueError(f"the judge '{judge}' gave no verdict")
    return verdict


def unit(vector: Vector) -> bytes | None:
    """The vector at length 1, as 32-bit floats, little-endian; None: it has no direction."""
    values = vector.values()
    length = math.hypot(*values)
    if not values or not length > 0 or not math.isfinite(length):
        return None
    return Vector.of([value / length for value in values]).floats


def compact(entry: Entry) -> Entry | None:
    """The entry as one object, however it was streamed: a fraction of its size. None where its answer is no text
    alone."""
    if entry.streamed:
        try:
            entry = msgspec.structs.replace(entry, chunks=(whole(entry.chunks, entry.kind),), streamed=False)
        except (msgspec.DecodeError, RecursionError):
            return None
    return None if text_of(entry) is None else entry


def text_of(entry: Entry) -> str | None:
    """What the answer says; None where that is no text alone, or too long to compare."""
    heard = Transcript(True, hashed=False)
    heard.take(entry.chunks)
    return plain_text(heard.first())


def plain_text(choice: Choice | None) -> str | None:
    """The same of what was heard of it."""
    if choice is None or choice.tool_calls or choice.refusal is not None or choice.content is None:
        return None
    text = choice.content.text
    return text if isinstance(text, str) and text.strip() and not choice.content.cut else None
