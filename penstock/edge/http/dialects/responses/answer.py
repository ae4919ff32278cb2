"""A whole chat reply as a whole response."""

from __future__ import annotations

import time

import msgspec

from penstock.core.chat import Choice, Delta, chunk_view
from penstock.edge.http.dialects.responses.shape import (
    FunctionCall,
    OutputItem,
    OutputMessage,
    OutputText,
    ReasoningItem,
    ReasoningText,
    Refusal,
    Response,
    Shape,
    incomplete_reason,
    logprobs,
    used,
)


def answered(answer: bytes, shape: Shape) -> Response:
    """Raises ``msgspec.DecodeError`` when ``answer`` is not a chat completion with a choice."""
    view = chunk_view(answer)
    choice = view.choices[0] if view.choices else None
    if choice is None or choice.message is None:
        raise msgspec.ValidationError("The answer holds no message")
    reason = incomplete_reason(choice.finish_reason)
    status = "incomplete" if reason else "completed"
    return shape.response(
        status,
        _output(choice, choice.message, shape.request_id, status),
        model=view.model,
        usage=used(view.usage),
        incomplete=reason,
        completed=None if reason else int(time.time()),
    )


def _output(choice: Choice, message: Delta, request_id: str, status: str) -> list[OutputItem]:
    items: list[OutputItem] = []
    if message.reasoning_content:
        thought = [ReasoningText(message.reasoning_content)]
        items.append(ReasoningItem(f"rs_{request_id}_0", status, thought))
    content: list[OutputText | Refusal] = []
    if message.content or not (message.refusal or message.tool_calls):
        content.append(OutputText(message.content or "", logprobs=logprobs(choice.logprobs)))
    if message.refusal:
        content.append(Refusal(message.refusal))
    if content:
        items.append(OutputMessage(f"msg_{request_id}_{len(items)}", status, content))
    for call in message.tool_calls or ():
        place = len(items)
        function = call.function
        items.append(
            FunctionCall(
                f"fc_{request_id}_{place}",
                status,
                call.id or f"call_{request_id}_{place}",
                (function.name if function else None) or "",
                (function.arguments if function else None) or "",
            )
        )
    return items
