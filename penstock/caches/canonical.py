"""Which requests are one, and which of them may be answered from a cache.

Two requests are one when nothing that an engine may look at differs. The order of an object's members, white space
and how a string or a number is spelled are nothing to it (RFC 8259; ``1``, ``1.0`` and ``1e0`` are one number); the
order of a list is something, and so is every character of a string. In schemas and tools the order of members stays,
too: a model writes the members of its answer in the order of the schema, and reads a tool as it was written. Where an
object has a member twice, the last counts.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

import msgspec

from penstock.core.caching import CacheKey, Exact
from penstock.core.chat import Call, Kind

IGNORED = frozenset(
    {"user", "stream", "stream_options", "metadata", "store", "safety_identifier", "prompt_cache_key"}
    | {"prompt_cache_retention", "service_tier", "request_id"}
)
"""Members that say who asks, how the answer travels or who keeps it; never what it is."""

ORDERED = frozenset(
    {"tools", "functions", "response_format", "json_schema", "guided_json", "structured_outputs", "format"}
)
"""Members inside which the order of an object's members reaches the model."""

TOOLS = frozenset({"tools", "functions", "web_search_options", "plugins", "mcp_servers", "search_parameters"})
"""Members by which an answer may do something, or rest on what is so at the moment."""

Unfit = Literal["off", "sampled", "choices", "tools"]
"""Why a request is not answered from the cache: its service has none; the model would say something else each time
and the service has not opted in; it wants several answers that differ; it has tools and the service has not opted
in."""

_NOTHING = (b"null", b"[]")


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else _finite(value)


def _finite(value: float) -> float:
    if value - value != 0.0:
        # It would be encoded as null, and null is another value.
        raise ValueError("a number is larger than a double holds")
    return value


_values = msgspec.json.Decoder(float_hook=_number)
_sorted = msgspec.json.Encoder(order="sorted")
_as_given = msgspec.json.Encoder()
_MOST_KNOWN = 1024
_LONGEST_KNOWN = 16 << 10
_FORM = "penstock exact 1 "
"""The version of what a key is of."""


def canonical(fields: Mapping[str, msgspec.Raw]) -> bytes | None:
    """One text for all requests that are one; ``fields`` as a ``Call`` has them, the prompt and the defaults in it.
    None when a value cannot be compared: a number beyond doubles, text that is no UTF-8."""
    members: dict[str, object] = {}
    try:
        for name, raw in fields.items():
            if name in IGNORED:
                continue
            value = _values.decode(raw)
            members[name] = msgspec.Raw(_as_given.encode(value)) if name in ORDERED else value
        return _sorted.encode(members)
    except (msgspec.MsgspecError, UnicodeError, ValueError, OverflowError, RecursionError):
        return None


def key_of(call: Call, *, project: str, release: str, caller: str = "") -> CacheKey | None:
    """The key of a prepared call, as ``release`` (or the digest of what serves) answers it. ``caller``: only equal
    requests of the same one are one. None when the request cannot be compared."""
    text = canonical(call.fields)
    if text is None:
        return None
    # Each part after its length: no two lists of parts are one text.
    parts = f"{_FORM}{len(project)}:{project}{len(release)}:{release}{call.kind.value}{len(caller)}:{caller}"
    return CacheKey(hashlib.blake2b(parts.encode("utf-8", "surrogatepass") + b"\0" + text, digest_size=20).digest())


class Keys:
    """``key_of`` and ``unfit`` for requests that come again as they were, byte by byte: the newest 1,024 are known.
    For one event loop."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[object, ...], tuple[Exact | None, CacheKey | None, Unfit | None]] = (
            OrderedDict()
        )

    def of(
        self, call: Call, exact: Exact | None, *, project: str, release: str, caller: str = ""
    ) -> tuple[CacheKey | None, Unfit | None]:
        """As ``key_of``, and as ``unfit``."""
        # No JSON text has a zero byte.
        said = b"\0".join(call.fields.values())
        asked = (project, release, caller, call.kind, *call.fields, said)
        known = self._known.get(asked)
        if known is not None and known[0] is exact:
            return known[1], known[2]
        key, why = key_of(call, project=project, release=release, caller=caller), unfit(call, exact)
        if len(said) <= _LONGEST_KNOWN:
            self._known[asked] = (exact, key, why)
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return key, why


def deterministic(fields: Mapping[str, msgspec.Raw]) -> bool:
    """Whether the same request means the same answer: a temperature of 0, or a seed."""
    temperature = fields.get("temperature")
    if temperature is not None and _is_zero(bytes(temperature)):
        return True
    seed = fields.get("seed")
    return seed is not None and bytes(seed).strip() != b"null"


def unfit(call: Call, exact: Exact | None) -> Unfit | None:
    """Why the call may not be answered from the cache of a service with these settings, None: it may. Embeddings are
    always the same."""
    fields = call.fields
    if exact is None:
        return "off"
    if not (exact.tools or TOOLS.isdisjoint(fields)) and any(
        name in fields and bytes(fields[name]).strip() not in _NOTHING for name in TOOLS
    ):
        return "tools"
    if call.kind is Kind.EMBEDDING or deterministic(fields):
        return None
    if call.choices > 1:
        return "choices"
    return None if exact.sampled else "sampled"


def _is_zero(raw: bytes) -> bool:
    try:
        return float(raw) == 0.0
    except ValueError:
        return False
