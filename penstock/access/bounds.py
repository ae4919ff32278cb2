"""What a request may use at most, before anybody has counted: from the bytes of what the client sent. Pure.

No tokeniser that works on bytes (BPE, and SentencePiece falling back on them) makes more tokens of a text than it has
bytes in UTF-8, and a text in JSON is never shorter than in itself. What a chat template writes around a message is
less than the JSON around it, and what it says once has an allowance. The bound does not hold for what an upstream
adds of its own (a web search), nor for tokenisers that rewrite a text before they cut it, as NFKC does with a few
ligatures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from penstock.core.chat import Call, Kind
from penstock.core.money import Price

ALLOWANCE = 256
"""Tokens that a template writes once: markers, and the system message of those that bring their own."""
TOOLS_ALLOWANCE = 1024
"""The same where there are tools, whose use some templates and hosts explain to the model at length."""
IMAGE = 16_384
"""Tokens of one image: the most that Qwen's models make by default; most hosts stay below 5,000."""
_IMAGES = {"gpt-4o-mini": 48_169}
"""Models that count an image dearer: 2,833 tokens and 5,667 for each of at most 8 tiles
(https://platform.openai.com/docs/guides/images-vision)."""
FILE = 460_000
"""Tokens of one file: 100 pages, which is what hosts take, with 3,000 of text and 1,600 of picture each."""
SPOKEN = 16_384
"""Tokens of an answer by voice that a message refers to: the most that such a model says."""
_AUDIO_BYTES = 16
"""Bytes of base64 for one token of sound: 32 tokens a second at 3 kbit/s."""

# fmt: off
_SILENT = frozenset((
    "model", "stream", "stream_options", "n", "n_cmpl", "best_of", "max_tokens", "max_completion_tokens", "n_predict",
    "min_tokens", "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty",
    "repetition_penalty", "repeat_penalty", "seed", "stop", "stop_token_ids", "logit_bias", "logprobs",
    "top_logprobs", "user", "metadata", "store", "service_tier", "parallel_tool_calls", "reasoning_effort",
    "verbosity", "modalities", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
    "encoding_format", "dimensions", "ignore_eos", "skip_special_tokens", "return_progress", "cache_prompt",
    "timings_per_token", "id_slot",
))
# fmt: on
"""Fields that no model reads. Any other is counted as if one did."""
_MOST = 2**40
"""More than any engine makes for one request; what it costs can still be written as 64 bits."""
_TEXTS = frozenset(("messages", "prompt", "input"))
_INT = msgspec.json.Decoder(int)
_NULL = b"null"


class Bound(msgspec.Struct, frozen=True):
    """At most so many tokens, over all choices. ``images`` are the pictures of the prompt, whose tokens ``input``
    has. ``capped``: the output was not bounded by the client or the model, and has to be held to this many tokens
    over all choices. ``audio``: some tokens may be of sound."""

    input: int
    output: int
    images: int = 0
    capped: int | None = None
    audio: bool = False


def bound_of(call: Call, *, price: Price | None, cap: int) -> Bound:
    """The bound of one call. ``cap`` is the output in tokens that one choice is held to when neither the client nor
    ``price.max_output`` bounds it. Never raises: what is not the JSON that it should be is counted by its bytes."""
    fields = call.fields
    read, allowance, images, media, audio = 0, ALLOWANCE, 0, 0, False
    prompts = 1
    for name, raw in fields.items():
        if name in _SILENT:
            continue
        text = bytes(raw)
        if name not in _TEXTS:
            if text == _NULL:
                continue
            read += _schema(text)
            allowance = TOOLS_ALLOWANCE
            audio = audio or name == "audio"
            if name == "chat_template":
                # What a template says has nothing to do with its length.
                media += FILE
        elif name == "messages":
            read += len(text)
            spelled = _spelled(text)
            if spelled or text.find(b'"tool_calls"') >= 0:
                # Templates write the arguments of a call with a space after each colon and comma.
                read += text.count(b",") + text.count(b":")
            if spelled or _shows(text):
                seen = _media(text)
                images += seen.images
                media += seen.sound + seen.files * FILE
                audio = audio or bool(seen.sound)
                read -= seen.apart
        elif text.startswith(b"["):
            tokens, prompts = _listed(text)
            read += tokens
        else:
            read += len(text)
    if price is not None and price.max_input is not None:
        media = min(media, price.max_input)
    each = IMAGE if price is None else _IMAGES.get(price.model, IMAGE)
    total = read + allowance + media + images * each
    if call.kind is Kind.EMBEDDING:
        return Bound(total, 0, images, None, audio)
    output, capped = _output(call, fields, price, cap, prompts)
    return Bound(total, output, images, capped, audio)


def _output(
    call: Call, fields: Mapping[str, msgspec.Raw], price: Price | None, cap: int, prompts: int
) -> tuple[int, int | None]:
    choices = max(call.choices, _number(fields, "best_of"), _number(fields, "n_cmpl")) * prompts
    # An engine may obey another of these words than the one that was read; to llama.cpp -1 is no bound at all.
    own = _number(fields, "n_predict")
    asked = max(_number(fields, "max_tokens"), _number(fields, "max_completion_tokens"), own)
    if call.max_tokens is not None and own >= 0:
        each = max(asked, call.max_tokens)
    elif asked and own >= 0:
        each = asked
    elif price is not None and price.max_output is not None:
        each = price.max_output
    else:
        return min(_MOST, choices * cap), min(_MOST, choices * cap)
    # An engine that is asked for none may make one; what was predicted and not said is charged as if it had been.
    return min(_MOST, choices * (max(1, each) + len(fields.get("prediction", b"")))), None


def _number(fields: Mapping[str, msgspec.Raw], name: str) -> int:
    raw = fields.get(name)
    if raw is None:
        return 0
    try:
        return _INT.decode(raw)
    except msgspec.DecodeError:
        return 0


def _schema(text: bytes) -> int:
    """Templates may write tools indented: what ends a line adds its end, the indentation and a space."""
    ends = text.count(b",") + text.count(b":") + text.count(b"{") + text.count(b"[")
    return len(text) + 3 * ends + text.count(b"}") + text.count(b"]")


# -- several prompts, and prompts of token numbers -----------------------------------------------------------------


def _listed(text: bytes) -> tuple[int, int]:
    """Tokens in an array of prompts, and how many prompts there are."""
    if text.find(b'"') < 0:
        # Numbers stand between commas, and each inner array is a prompt, which may get a beginning and an end.
        inner = text.count(b"[") - 1
        return text.count(b",") + 1 + 2 * inner, max(1, inner)
    try:
        return len(text), max(1, len(_ITEMS.decode(text)))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return len(text), text.count(b",") + 1


_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


# -- pictures, sound and files -------------------------------------------------------------------------------------


class _Part(msgspec.Struct, frozen=True):
    type: object = None
    image_url: msgspec.Raw = msgspec.Raw(_NULL)
    input_audio: msgspec.Raw = msgspec.Raw(_NULL)


class _Message(msgspec.Struct, frozen=True):
    content: str | list[_Part | str] | None = None
    audio: msgspec.Raw = msgspec.Raw(_NULL)


_MESSAGES = msgspec.json.Decoder(list[_Message])
_WORDS = (b"image", b"audio", b"video", b"file", b"document", b"input_")
_ESCAPE = b"\\u00"
_SPELLED = re.compile(rb"\\u00[2-7]")


class _Seen(msgspec.Struct, frozen=True):
    """``sound`` in tokens; ``apart`` are bytes that are no text."""

    images: int = 0
    sound: int = 0
    files: int = 0
    apart: int = 0


def _spelled(text: bytes) -> bool:
    """Whether the JSON has plain letters as escapes, so that no word of it can be looked for."""
    return text.find(_ESCAPE) >= 0 and _SPELLED.search(text) is not None


def _shows(messages: bytes) -> bool:
    """Whether a part of the messages may be something else than text."""
    if messages.find(b'"type"') < 0 and messages.find(b'"audio"') < 0:
        return False
    return any(messages.find(word) >= 0 for word in _WORDS)


def _media(messages: bytes) -> _Seen:
    try:
        read = _MESSAGES.decode(messages)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # No engine will take it; if one does, each word may have been a part.
        return _Seen(messages.count(b"image"), len(messages), messages.count(b"file"), 0)
    images = sound = files = apart = 0
    for message in read:
        if len(message.audio) > len(_NULL):
            sound += SPOKEN
        for part in message.content if isinstance(message.content, list) else ():
            if isinstance(part, str) or part.type in ("text", "refusal"):
                continue
            if part.type in ("image_url", "input_image", "image"):
                images += 1
                apart += len(part.image_url) if bytes(part.image_url).find(b'"data:') >= 0 else 0
            elif part.type == "input_audio":
                size = len(part.input_audio)
                sound += size // _AUDIO_BYTES + 1
                apart += size
            else:
                files += 1
    return _Seen(images, sound, files, apart)
