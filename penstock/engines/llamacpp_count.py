"""How many tokens a prompt is, asked of the copy of llama.cpp that would answer it.

For chat the server counts what its template makes of the request; other prompts are cut by its tokeniser, with the
markers that its own routes add.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from penstock.core.chat import Call, Kind
from penstock.core.errors import PenstockError
from penstock.core.serving import Replica
from penstock.engines.hosted import endpoint
from penstock.engines.http import Http, Prepared
from penstock.engines.llamacpp_fields import given
from penstock.engines.llamacpp_request import parts

WITHIN_S = 2.0
"""An answer that takes longer would not be worth waiting for: the bytes of the prompt are a bound too."""
_MOST_TEXTS = 64
_ANSWER_BYTES = 64 << 20


class _Counted(msgspec.Struct, frozen=True):
    input_tokens: int


class _Cut(msgspec.Struct, frozen=True):
    tokens: list[int]


_counted = msgspec.json.Decoder(_Counted)
_cut = msgspec.json.Decoder(_Cut)
_prompts = msgspec.json.Decoder(str | list[str | int | list[int]])


async def count(call: Call, replica: Replica, model: str, http: Http, headers: dict[str, str]) -> int | None:
    """The tokens that the server will report as the prompt's, all prompts of the call together.

    None when it cannot say: it does not answer within 2 s, refuses the request, or there are too many texts to ask
    for each. Only raises when it is cancelled.
    """
    base = replica.base_url.removesuffix("/v1")

    def prepared(path: str) -> Prepared:
        return http.prepared("POST", endpoint(base, path), headers)

    try:
        async with asyncio.timeout(WITHIN_S):
            if call.kind is Kind.CHAT:
                body = parts(call, model)[0].body
                answer = await _asked(http, prepared("/v1/chat/completions/input_tokens"), body)
                return None if answer is None else _counted.decode(answer).input_tokens
            return await _cut_up(call, http, lambda: prepared("/tokenize"))
    except (PenstockError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError):
        return None


async def _cut_up(call: Call, http: Http, prepared: Callable[[], Prepared]) -> int | None:
    written = given(call, "prompt" if call.kind is Kind.COMPLETION else "input")
    if written is None:
        return None
    prompts = _prompts.decode(written)
    if isinstance(prompts, str):
        prompts = [prompts]
    numbers = sum(isinstance(item, int) for item in prompts)
    if numbers:
        return numbers if numbers == len(prompts) else None
    texts = [item for item in prompts if isinstance(item, str)]
    if len(texts) > _MOST_TEXTS:
        return None
    total = sum(len(item) for item in prompts if isinstance(item, list))
    for text in texts:
        body = msgspec.json.encode({"content": text, "add_special": True, "parse_special": True})
        answer = await _asked(http, prepared(), body)
        if answer is None:
            return None
        total += len(_cut.decode(answer).tokens)
    return total


async def _asked(http: Http, prepared: Prepared, body: bytes) -> bytes | None:
    response = await http.post(prepared, body)
    try:
        return await response.read_all(_ANSWER_BYTES) if response.status == 200 else None
    finally:
        response.close()
