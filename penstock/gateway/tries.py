"""What each attempt of a request used, as far as anybody can know: the rows of the ledger."""

from __future__ import annotations

import msgspec

from penstock.access.bounds import Bound
from penstock.access.charge import cost_nano, most_nano, tokens_of
from penstock.core import errors
from penstock.core.chat import Upstream, Usage
from penstock.core.errors import Fault
from penstock.core.money import Price
from penstock.core.usage import Tokens

# The upstream answered that it would not do it, or was never reached: nobody charges for that.
_FREE = frozenset(
    fault.code
    for fault in (
        errors.BAD_REQUEST,
        errors.BREAKER_OPEN,
        errors.CONTENT_REFUSED,
        errors.CONTEXT_LENGTH_EXCEEDED,
        errors.INVALID_VALUE,
        errors.UNSUPPORTED_CONTENT,
        errors.UNSUPPORTED_OPERATION,
        errors.UNSUPPORTED_PARAMETER,
        errors.UPSTREAM_FAILED,
        errors.UPSTREAM_MODEL_UNKNOWN,
        errors.UPSTREAM_OVERLOADED,
        errors.UPSTREAM_RATE_LIMITED,
        errors.UPSTREAM_REFUSED_KEY,
        errors.UPSTREAM_UNREACHABLE,
    )
)

OVERRUN = 64
"""Tokens that an upstream may have made, for each choice, after the last of which we heard when a stream was broken
off."""
COUNTED_OVERRUN = 16
"""The same for one that tells with every chunk how many it has made: it is near, and stops when it is left."""


_NULL = b"null"
# Of no chunk yet.
_ANY_LENGTH = 1 << 62


class _Function(msgspec.Struct, frozen=True):
    name: msgspec.Raw = msgspec.Raw(_NULL)
    arguments: msgspec.Raw = msgspec.Raw(_NULL)


class _ToolCall(msgspec.Struct, frozen=True):
    function: _Function | None = None


class _Message(msgspec.Struct, frozen=True):
    content: msgspec.Raw = msgspec.Raw(_NULL)
    reasoning_content: msgspec.Raw = msgspec.Raw(_NULL)
    refusal: msgspec.Raw = msgspec.Raw(_NULL)
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Message | None = None
    message: _Message | None = None
    text: msgspec.Raw = msgspec.Raw(_NULL)


class _Texts(msgspec.Struct, frozen=True):
    choices: list[_Choice] = []


_decoder = msgspec.json.Decoder(_Texts)


class Charge(msgspec.Struct, frozen=True):
    """What one attempt comes to. ``estimated``: an upper bound, because the upstream did not say."""

    tokens: Tokens
    estimated: bool
    cost_nano: int


class Try:
    """One attempt, for the ledger. ``bound`` is what it may use at most, ``slots`` how many requests its replica
    works on at once. ``least`` is the length of the ``shortest`` chunk. Written to by the watchers of the attempt."""

    __slots__ = (
        "began",
        "bound",
        "bytes",
        "choices",
        "chunks",
        "ended",
        "final",
        "free",
        "last",
        "least",
        "model",
        "number",
        "price",
        "shortest",
        "slots",
        "stream",
        "usage",
    )

    def __init__(
        self,
        number: int,
        model: str,
        price: Price | None,
        bound: Bound,
        *,
        stream: bool,
        choices: int,
        slots: int,
        began: float,
    ) -> None:
        self.number = number
        self.model = model
        self.price = price
        self.bound = bound
        self.stream = stream
        self.choices = choices
        self.slots = slots
        self.began = began
        self.ended: float | None = None
        self.free = self.final = False
        self.usage: Usage | None = None
        self.chunks = self.bytes = 0
        self.last = self.shortest = b""
        self.least = _ANY_LENGTH

    @property
    def priced(self) -> str:
        """The price that it is charged by, by name and since; empty: there is none."""
        return "" if self.price is None else f"{self.price.model}@{self.price.since:.0f}"

    def broke_off(self, upstream: Upstream) -> None:
        """Its answer is not read to the end: what the engine has said of it so far counts."""
        if self.usage is None and (so_far := getattr(upstream, "so_far", None)) is not None:
            self.usage = so_far()

    def failed(self, fault: Fault, at: float) -> None:
        """It came to nothing, at ``Clock.now`` seconds."""
        self.ended = at
        self.free = fault.code in _FREE and not self.chunks

    def charge(self, complete: bool, now: float) -> Charge | None:
        """What it came to; None when it was for nothing. ``complete``: it was answered to the end."""
        if self.free:
            return None
        held_s = (self.ended or now) - self.began
        if self.usage is not None and (complete or self.final):
            return self._charge(tokens_of(self.usage, self.bound.images), False, held_s)
        return self._charge(self._estimated(complete), True, held_s)

    def _estimated(self, complete: bool) -> Tokens:
        bound = self.bound
        said = self.usage
        if said is not None:
            told = tokens_of(said, bound.images)
            output = min(max(bound.output, told.output), told.output + COUNTED_OVERRUN * self.choices)
            return msgspec.structs.replace(told, output=output)
        if not (self.stream or complete):
            return _tokens(bound)
        more = 0 if complete else OVERRUN * self.choices
        return Tokens(input=bound.input, output=min(bound.output, self._heard() + more), images=bound.images)

    def _heard(self) -> int:
        """Tokens in what has come: at most one for each byte of text, and for each chunk one that shows none."""
        if not self.chunks:
            return 0
        # What stands around a text is the same in nearly all chunks, and more in the first and in some last ones.
        frame = min(_frame(self.shortest), _frame(self.last))
        return max(0, self.bytes - frame * self.chunks) + self.chunks

    def _charge(self, tokens: Tokens, estimated: bool, held_s: float) -> Charge:
        return _charged(self.price, tokens, estimated, held_s, self.slots)


def at_most(price: Price | None, bound: Bound, *, held_s: float, slots: int) -> Charge:
    """What an attempt comes to when nothing is heard of it; ``held_s`` is how long it may hold its replica."""
    cost = 0 if price is None else most_nano(price, bound, held_s=held_s, slots=slots)
    return Charge(_tokens(bound), True, cost)


def _tokens(bound: Bound) -> Tokens:
    return Tokens(input=bound.input, output=bound.output, images=bound.images)


def _charged(price: Price | None, tokens: Tokens, estimated: bool, held_s: float, slots: int) -> Charge:
    cost = 0 if price is None else cost_nano(price, tokens, held_s=held_s, slots=slots)
    return Charge(tokens, estimated, cost)


def _frame(chunk: bytes) -> int:
    """Bytes of the chunk that are no text."""
    try:
        choices = _decoder.decode(chunk).choices
    except (msgspec.DecodeError, UnicodeDecodeError):
        return len(chunk)
    return len(chunk) - sum(_said(choice) for choice in choices)


def _said(choice: _Choice) -> int:
    size = _size(choice.text)
    for each in (choice.delta, choice.message):
        if each is not None:
            size += _size(each.content) + _size(each.reasoning_content) + _size(each.refusal)
            for call in each.tool_calls or ():
                if call.function is not None:
                    size += _size(call.function.name) + _size(call.function.arguments)
    return size


def _size(value: msgspec.Raw) -> int:
    """As it is written, escapes and all: never shorter than the text is in UTF-8."""
    text = bytes(value)
    if text == _NULL:
        return 0
    return len(text) - 2 if text.startswith(b'"') else len(text)
