"""Chat chunks as the typed events of a streamed response.

The order is OpenAI's: created, in_progress; for each item added, its parts and deltas, done; then completed,
incomplete or failed. ``sequence_number`` counts every event from 0. Function calls stay open until the end, because
engines may interleave the pieces of parallel calls.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec

from penstock.core.chat import Choice, Delta, ToolCallDelta, WireUsage, chunk_view
from penstock.core.errors import PenstockError
from penstock.edge.http.dialects.responses.shape import (
    FunctionCall,
    Logprob,
    OutputItem,
    OutputMessage,
    OutputText,
    ReasoningItem,
    ReasoningText,
    Refusal,
    Response,
    ResponseFault,
    Shape,
    fault,
    incomplete_reason,
    logprobs,
    used,
)

Part = OutputText | Refusal | ReasoningText


class _Event(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One event; which fields it has, its type says."""

    type: str
    sequence_number: int
    response: Response | None = None
    output_index: int | None = None
    item_id: str | None = None
    content_index: int | None = None
    item: OutputItem | None = None
    part: Part | None = None
    delta: str | None = None
    text: str | None = None
    refusal: str | None = None
    name: str | None = None
    arguments: str | None = None
    logprobs: list[Logprob] | None = None


class _ErrorEvent(msgspec.Struct, kw_only=True):
    """OpenAI's SDKs read the flat fields as the event, and raise on the nested ``error`` that its server sends."""

    type: str = "error"
    sequence_number: int
    code: str
    message: str
    param: str | None
    error: ResponseFault


_STEMS: Mapping[type[Part], str] = {
    OutputText: "response.output_text",
    Refusal: "response.refusal",
    ReasoningText: "response.reasoning_text",
}

_encode = msgspec.json.Encoder().encode


class Events:
    """One stream's state. Every method gives whole server-sent events."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._out: list[bytes] = []
        self._number = 0
        self._items: list[OutputItem] = []
        self._spoken: OutputMessage | ReasoningItem | None = None
        self._place = 0
        self._part: Part | None = None
        self._pieces: list[str] = []
        self._calls: dict[int, tuple[int, FunctionCall, list[str]]] = {}
        self._model = ""
        self._finish: str | None = None
        self._usage: WireUsage | None = None

    def chunk(self, chunk: bytes) -> bytes:
        """Raises ``msgspec.DecodeError`` when it is not a chat chunk."""
        view = chunk_view(chunk)
        self._model = self._model or view.model
        self._begin()
        if view.usage is not None:
            self._usage = view.usage
        for choice in view.choices:
            if choice.index == 0:
                self._choice(choice)
        return self._taken()

    def end(self) -> bytes:
        self._begin()
        reason = incomplete_reason(self._finish)
        status = "incomplete" if reason else "completed"
        self._close(status)
        response = self._shape.response(
            status,
            self._items,
            model=self._model,
            usage=used(self._usage),
            incomplete=reason,
            completed=None if reason else int(time.time()),
        )
        self._emit("response." + status, response=response)
        return self._taken()

    def failure(self, error: PenstockError) -> bytes:
        self._begin()
        self._close("incomplete")
        told = fault(error)
        event = _ErrorEvent(
            sequence_number=self._next(),
            code=error.fault.code,
            message=error.message,
            param=error.param,
            error=told,
        )
        self._out.append(b"event: error\ndata: " + _encode(event) + b"\n\n")
        failed = self._shape.response("failed", self._items, model=self._model, usage=used(self._usage), error=told)
        self._emit("response.failed", response=failed)
        return self._taken()

    # -- what a chunk adds ---------------------------------------------------------------------------------------

    def _choice(self, choice: Choice) -> None:
        delta = choice.delta
        if delta is not None:
            self._say(delta, choice.logprobs)
            for call in delta.tool_calls or ():
                self._call(call)
        if choice.finish_reason is not None:
            self._finish = choice.finish_reason

    def _say(self, delta: Delta, raw_logprobs: msgspec.Raw) -> None:
        if delta.reasoning_content:
            self._speak(ReasoningText, delta.reasoning_content)
        if delta.content:
            self._speak(OutputText, delta.content, logprobs(raw_logprobs))
        if delta.refusal:
            self._speak(Refusal, delta.refusal)

    def _speak(self, kind: type[Part], text: str, probs: list[Logprob] | None = None) -> None:
        if type(self._part) is not kind:
            self._open(kind)
        item = self._spoken
        if item is None:
            return
        self._pieces.append(text)
        if probs and isinstance(self._part, OutputText):
            self._part.logprobs.extend(probs)
        self._emit(
            _STEMS[kind] + ".delta",
            item_id=item.id,
            output_index=self._place,
            content_index=len(item.content) - 1,
            delta=text,
            logprobs=probs,
        )

    def _call(self, piece: ToolCallDelta) -> None:
        known = self._calls.get(piece.index)
        if known is None:
            self._close_spoken("completed")
            place = len(self._items)
            rid = self._shape.request_id
            name = (piece.function.name if piece.function else None) or ""
            call = FunctionCall(f"fc_{rid}_{place}", "in_progress", piece.id or f"call_{rid}_{place}", name, "")
            known = self._calls[piece.index] = (place, call, [])
            self._items.append(call)
            self._emit("response.output_item.added", output_index=place, item=call)
        place, call, pieces = known
        arguments = piece.function.arguments if piece.function else None
        if arguments:
            pieces.append(arguments)
            self._emit("response.function_call_arguments.delta", item_id=call.id, output_index=place, delta=arguments)

    # -- opening and closing -------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._number == 0:
            response = self._shape.response("in_progress", [], model=self._model)
            self._emit("response.created", response=response)
            self._emit("response.in_progress", response=response)

    def _open(self, kind: type[Part]) -> None:
        wanted = ReasoningItem if kind is ReasoningText else OutputMessage
        if self._spoken is not None and not isinstance(self._spoken, wanted):
            self._close_spoken("completed")
        self._close_part()
        item = self._spoken
        if item is None:
            self._place = len(self._items)
            rid = self._shape.request_id
            if wanted is ReasoningItem:
                item = ReasoningItem(f"rs_{rid}_{self._place}", "in_progress", [])
            else:
                item = OutputMessage(f"msg_{rid}_{self._place}", "in_progress", [])
            self._spoken = item
            self._items.append(item)
            self._emit("response.output_item.added", output_index=self._place, item=item)
        part: Part = kind("")
        self._part = part
        item.content.append(part)  # type: ignore[arg-type]
        self._emit(
            "response.content_part.added",
            item_id=item.id,
            output_index=self._place,
            content_index=len(item.content) - 1,
            part=part,
        )

    def _close_part(self) -> None:
        part, item = self._part, self._spoken
        if part is None or item is None:
            return
        done = _STEMS[type(part)] + ".done"
        text = "".join(self._pieces)
        place, index = self._place, len(item.content) - 1
        if isinstance(part, Refusal):
            part.refusal = text
            self._emit(done, item_id=item.id, output_index=place, content_index=index, refusal=text)
        else:
            part.text = text
            said = part.logprobs if isinstance(part, OutputText) else None
            self._emit(done, item_id=item.id, output_index=place, content_index=index, text=text, logprobs=said)
        self._emit("response.content_part.done", item_id=item.id, output_index=place, content_index=index, part=part)
        self._part = None
        self._pieces = []

    def _close_spoken(self, status: str) -> None:
        self._close_part()
        item = self._spoken
        if item is not None:
            item.status = status
            self._emit("response.output_item.done", output_index=self._place, item=item)
            self._spoken = None

    def _close(self, status: str) -> None:
        self._close_spoken(status)
        for place, call, pieces in self._calls.values():
            call.arguments = "".join(pieces)
            call.status = status
            self._emit(
                "response.function_call_arguments.done",
                item_id=call.id,
                output_index=place,
                name=call.name,
                arguments=call.arguments,
            )
            self._emit("response.output_item.done", output_index=place, item=call)

    # -- events --------------------------------------------------------------------------------------------------

    def _next(self) -> int:
        number = self._number
        self._number += 1
        return number

    def _emit(
        self,
        type: str,
        *,
        response: Response | None = None,
        output_index: int | None = None,
        item_id: str | None = None,
        content_index: int | None = None,
        item: OutputItem | None = None,
        part: Part | None = None,
        delta: str | None = None,
        text: str | None = None,
        refusal: str | None = None,
        name: str | None = None,
        arguments: str | None = None,
        logprobs: list[Logprob] | None = None,
    ) -> None:
        event = _Event(
            type=type,
            sequence_number=self._next(),
            response=response,
            output_index=output_index,
            item_id=item_id,
            content_index=content_index,
            item=item,
            part=part,
            delta=delta,
            text=text,
            refusal=refusal,
            name=name,
            arguments=arguments,
            logprobs=logprobs,
        )
        self._out.append(b"event: " + type.encode("ascii") + b"\ndata: " + _encode(event) + b"\n\n")

    def _taken(self) -> bytes:
        events = b"".join(self._out)
        self._out.clear()
        return events
