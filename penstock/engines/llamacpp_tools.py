"""A tool call that the client insists on. Pure.

llama.cpp lets a model talk before it calls, however long, even when the call is required; and it ignores the name
of a function to call. So a required call is asked for as JSON, which a grammar holds the model to, and what it says
is turned into a tool call on its way back.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

import msgspec

from penstock.core.chat import Call
from penstock.core.errors import INVALID_TYPE, INVALID_VALUE, UNSUPPORTED_PARAMETER, PenstockError
from penstock.engines.llamacpp_fields import member

_NO_PARAMETERS = b'{"type":"object","properties":{}}'
_REFERENCE = re.compile(rb'("\$ref"\s*:\s*")#')
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*')
_TAIL = " \t\r\n}"


class _Function(msgspec.Struct, frozen=True):
    name: str
    parameters: msgspec.Raw = msgspec.Raw(_NO_PARAMETERS)


class _Tool(msgspec.Struct, frozen=True):
    type: str = "function"
    function: _Function | None = None


class _Named(msgspec.Struct, frozen=True):
    name: str


class _Wanted(msgspec.Struct, frozen=True):
    function: _Named | None = None


class _Allowed(msgspec.Struct, frozen=True):
    mode: str
    tools: tuple[_Wanted, ...]


class _Choice(msgspec.Struct, frozen=True):
    type: str
    function: _Named | None = None
    name: str | None = None
    allowed_tools: _Allowed | None = None


_WRITTEN = msgspec.json.Decoder(tuple[msgspec.Raw, ...])
_TOOLS = msgspec.json.Decoder(tuple[_Tool, ...])
_CHOICE: msgspec.json.Decoder[str | _Choice] = msgspec.json.Decoder(str | _Choice)


class Tools(msgspec.Struct, frozen=True):
    """The tools that may be called, as the client wrote them, and the schema of the answer if one must be."""

    offered: tuple[msgspec.Raw, ...] = ()
    schema: msgspec.Raw | None = None


def tools_of(call: Call) -> Tools:
    """What ``tools`` and ``tool_choice`` come to. Raises ``PenstockError`` when they contradict each other."""
    written = member(call, "tools", _WRITTEN) or ()
    tools = member(call, "tools", _TOOLS) or ()
    functions: dict[str, tuple[msgspec.Raw, _Function]] = {}
    for at, (raw, tool) in enumerate(zip(written, tools, strict=True)):
        if tool.type != "function":
            raise PenstockError(
                UNSUPPORTED_PARAMETER,
                f"llama.cpp calls tools of type 'function' only, not {tool.type!r}",
                param=f"tools[{at}].type",
            )
        if tool.function is None:
            raise PenstockError(INVALID_TYPE, "A tool needs its function", param=f"tools[{at}].function")
        functions[tool.function.name] = raw, tool.function
    must, names = _wanted(call, list(functions))
    if not names:
        return Tools()
    offered = tuple(functions[name][0] for name in names)
    return Tools(offered, _schema([functions[name][1] for name in names]) if must else None)


def _wanted(call: Call, known: Sequence[str]) -> tuple[bool, Sequence[str]]:
    """Whether a tool must be called, and which ones may be."""
    choice = member(call, "tool_choice", _CHOICE) or "auto"
    if choice == "none":
        return False, ()
    if choice == "auto":
        return False, known
    if choice == "required":
        must, names = True, known
    elif isinstance(choice, _Choice) and choice.type == "function" and (choice.function or choice.name):
        must, names = True, [choice.function.name if choice.function else choice.name or ""]
    elif isinstance(choice, _Choice) and choice.type == "allowed_tools" and choice.allowed_tools:
        must = choice.allowed_tools.mode == "required"
        names = [tool.function.name for tool in choice.allowed_tools.tools if tool.function]
    else:
        raise PenstockError(
            INVALID_VALUE,
            "tool_choice is 'none', 'auto', 'required', or an object that names a function of tools",
            param="tool_choice",
        )
    if not names or (unknown := [name for name in names if name not in known]):
        asked = f"{unknown[0]!r}, which is not among tools" if names else "a tool, but there are no tools"
        raise PenstockError(INVALID_VALUE, f"tool_choice asks for {asked}", param="tool_choice")
    return must, names


def _schema(functions: Sequence[_Function]) -> msgspec.Raw:
    """One of these calls, as JSON Schema. References inside a function's own schema are kept pointing into it."""
    defined = {
        f"t{at}": msgspec.Raw(_REFERENCE.sub(rb"\1#/$defs/t%d" % at, _parameters(function)))
        for at, function in enumerate(functions)
    }
    one_of = [
        {
            "type": "object",
            "properties": {"name": {"const": function.name}, "arguments": {"$ref": f"#/$defs/t{at}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for at, function in enumerate(functions)
    ]
    return msgspec.Raw(msgspec.json.encode({"$defs": defined, "anyOf": one_of}))


def _parameters(function: _Function) -> bytes:
    given = bytes(function.parameters)
    return _NO_PARAMETERS if given.strip() in (b"null", b"{}") else given


class CallFromText:
    """Turns ``{"name": ..., "arguments": ...}``, as it grows, into the pieces of one streamed tool call."""

    __slots__ = ("_held", "_named")

    def __init__(self) -> None:
        self._held = ""
        self._named = False

    def feed(self, text: str) -> list[dict[str, object]]:
        """The ``tool_calls`` pieces that ``text`` adds."""
        self._held += text
        pieces: list[dict[str, object]] = []
        if not self._named:
            head = _HEAD.match(self._held)
            if head is None:
                return []
            self._named = True
            self._held = self._held[head.end() :]
            name: str = msgspec.json.decode(head[1])
            call_id = f"call_{secrets.token_hex(12)}"
            function = {"name": name, "arguments": ""}
            pieces.append({"index": 0, "id": call_id, "type": "function", "function": function})
        ready = self._held.rstrip(_TAIL)
        self._held = self._held[len(ready) :]
        return pieces + ([_more(ready)] if ready else [])

    def end(self, complete: bool) -> list[dict[str, object]]:
        """What was held back; if the object is complete, without the brace that closes it around the arguments."""
        rest, self._held = self._held.rstrip(), ""
        if complete:
            rest = rest.removesuffix("}").rstrip()
        return [_more(rest)] if rest and self._named else []


def _more(arguments: str) -> dict[str, object]:
    return {"index": 0, "function": {"arguments": arguments}}
