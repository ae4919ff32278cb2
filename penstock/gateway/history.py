"""History: which messages of a long conversation go to the model. Pure.

A turn begins with a message of the user and has all that follows until the next: answers, tool calls and their
results. Turns go whole, the oldest first. System messages, the service's own prompt and the last turn always stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from penstock.core.errors import CONTEXT_LENGTH_EXCEEDED, INVALID_TYPE, PenstockError

Count = Callable[[bytes], int]
"""The tokens of one message, which is given as its JSON."""

BYTES_PER_TOKEN = 3
"""On the safe side: English has four bytes of UTF-8 to a token, code and other languages three or less."""
PART_TOKENS = 1000
MESSAGE_TOKENS = 4

_PINNED = frozenset({"system", "developer"})
_STEPS = 4


class _Part(msgspec.Struct, frozen=True):
    type: str = ""


class _Named(msgspec.Struct, frozen=True):
    id: str = ""


class _Head(msgspec.Struct, frozen=True):
    role: str = ""
    content: msgspec.Raw = msgspec.Raw(b"null")
    tool_calls: list[_Named] | None = None
    tool_call_id: str | None = None


_heads = msgspec.json.Decoder(_Head)
_parts = msgspec.json.Decoder(list[msgspec.Raw])
_part = msgspec.json.Decoder(_Part)


def tokens(message: bytes) -> int:
    """The estimate where nobody counts: ``MESSAGE_TOKENS``, one for each ``BYTES_PER_TOKEN`` of the message's JSON as
    it was sent, and ``PART_TOKENS`` for a part of its content that is no text, in place of that part's bytes."""
    size, others = len(message), 0
    content = bytes(_heads.decode(message).content)
    if content.startswith(b"["):
        for raw in _parts.decode(content):
            if _part.decode(raw).type != "text":
                size -= len(bytes(raw))
                others += PART_TOKENS
    return MESSAGE_TOKENS + others + -(-size // BYTES_PER_TOKEN)


class Conversation(NamedTuple):
    """``costs`` of each message in tokens; ``turns`` are the places of their messages, oldest first, ``pinned`` those
    of what stays beside them."""

    messages: Sequence[bytes]
    costs: Sequence[int]
    pinned: Sequence[int]
    turns: Sequence[Sequence[int]]

    @property
    def total(self) -> int:
        return sum(self.costs)

    def cost(self, places: Sequence[int]) -> int:
        return sum(self.costs[place] for place in places)

    def after(self, cut: int) -> list[int]:
        """The places of what is left when the first ``cut`` turns are not."""
        return sorted([*self.pinned, *(place for turn in self.turns[cut:] for place in turn)])

    def between(self, begin: int, end: int) -> list[bytes]:
        """The messages of the turns from ``begin`` up to ``end``, not included."""
        return [self.messages[place] for turn in self.turns[begin:end] for place in turn]


def conversation(messages: Sequence[bytes], count: Count = tokens, ours: int = 0) -> Conversation:
    """The messages by turns; the first ``ours`` are the service's own prompt. Raises ``PenstockError(INVALID_TYPE)``
    for one that is none."""
    heads: list[_Head] = []
    costs: list[int] = []
    for place, message in enumerate(messages):
        try:
            heads.append(_heads.decode(message))
            costs.append(count(message))
        except msgspec.DecodeError as error:
            raise PenstockError(
                INVALID_TYPE, f"'messages[{place}]' is not a message: {error}.", param=f"messages[{place}]"
            ) from None
    turns: list[list[int]] = []
    pinned: list[int] = []
    reach = _reach(heads)
    for place, head in enumerate(heads):
        if place < ours or head.role in _PINNED:
            pinned.append(place)
        elif not turns or (head.role == "user" and reach[place] < place):
            turns.append([place])
        else:
            turns[-1].append(place)
    return Conversation(messages, costs, pinned, turns)


def checked(found: Conversation, budget: int) -> Conversation:
    """The same. Raises ``PenstockError(CONTEXT_LENGTH_EXCEEDED)`` when what must stay is more than ``budget``."""
    last = found.cost(found.turns[-1]) if found.turns else 0
    least = last + found.cost(found.pinned)
    if least > budget:
        alone = last > budget
        what = "The last message, with what follows it," if alone else "The last message, with the system messages,"
        raise PenstockError(
            CONTEXT_LENGTH_EXCEEDED,
            f"{what} is about {last if alone else least} tokens; this service takes {budget} (`history: tokens`). "
            "Send a shorter message.",
            param="messages",
        )
    return found


def trimmed(found: Conversation, budget: int) -> int:
    """How many turns to leave out so that the others are at most ``budget`` tokens, as few as can be. What must stay
    fits."""
    room = budget - found.cost(found.pinned)
    cut = len(found.turns)
    for turn in reversed(found.turns):
        room -= found.cost(turn)
        if room < 0:
            break
        cut -= 1
    return cut


def summarised(found: Conversation, budget: int, summary: int) -> Sequence[int]:
    """Where the turns may be cut that a summary of ``summary`` tokens stands for, ascending; the last is the place
    for this conversation. Empty: nothing can be cut that makes room for one.

    The places do not move while a conversation grows, and lie a quarter of the budget apart: one summary serves many
    requests, and the next can be made of it and of the turns since.
    """
    stride = max(1, budget // _STEPS)
    left = found.total + summary
    cuts: list[int] = []
    gone, mark = 0, stride
    for cut, turn in enumerate(found.turns[:-1], 1):
        gone += found.cost(turn)
        left -= found.cost(turn)
        if gone >= mark:
            cuts.append(cut)
            mark = (gone // stride + 1) * stride
            if left <= budget:
                return cuts
    if len(found.turns) > 1 and left <= budget:
        return [*cuts, len(found.turns) - 1]
    return ()


def joined(messages: Sequence[bytes]) -> msgspec.Raw:
    """The messages as the JSON array of a request."""
    return msgspec.Raw(b"[" + b",".join(messages) + b"]")


def _reach(heads: Sequence[_Head]) -> Sequence[int]:
    """For each place, the last result of a tool call that was made before it; -1 for none."""
    made: dict[str, int] = {}
    answered = [-1] * (len(heads) + 1)
    for place, head in enumerate(heads):
        for call in head.tool_calls or ():
            made[call.id] = place
        if head.tool_call_id is not None and (begun := made.get(head.tool_call_id)) is not None:
            answered[begun + 1] = max(answered[begun + 1], place)
    reach: list[int] = []
    furthest = -1
    for place in range(len(heads)):
        furthest = max(furthest, answered[place])
        reach.append(furthest)
    return reach
