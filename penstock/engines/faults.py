"""What an upstream's refusal means in our words: one table from status, code and message to our faults. Pure.

Sources: the error pages of OpenAI, Azure, Anthropic, Groq, Mistral, Together, OpenRouter and Gemini; the sources of
vLLM, SGLang, TGI, Ollama and llama.cpp.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

import msgspec

from penstock.core import errors
from penstock.core.errors import Fault, PenstockError

_SHOWN = 1000
"""Characters of an upstream's message that we pass on."""


class Origin(msgspec.Struct, frozen=True):
    """Who was asked: ``model`` as the deployment file names it, ``sent`` as the upstream knows it.

    ``secrets`` are taken out of every message that the upstream gives us.
    """

    model: str
    sent: str
    secrets: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Origin({self.model!r}, {self.sent!r})"


class Complaint(msgspec.Struct, frozen=True):
    """What an error body says, whatever its shape; what it leaves out is empty."""

    message: str = ""
    type: str = ""
    code: str = ""
    param: str | None = None


def complaint(body: bytes) -> Complaint:
    """Reads an error body: OpenAI's, vLLM's, TGI's, FastAPI's, Gemini's, Anthropic's, plain text, or nothing."""
    try:
        said: object = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = body[: 4 * _SHOWN].decode(errors="replace").strip()
        # An HTML page is a proxy's, and says nothing that the status does not.
        return Complaint() if text.startswith("<") else Complaint(message=text)
    while isinstance(said, list) and said:
        said = said[0]
    if isinstance(said, dict) and said.get("error"):
        outer, said = said, said["error"]
        if isinstance(said, str):
            return Complaint(message=said, type=_text(outer.get("error_type") or outer.get("type")))
    if isinstance(said, str):
        return Complaint(message=said)
    if not isinstance(said, dict):
        return Complaint()
    nested = said.get("message")
    detail = (nested if isinstance(nested, dict) else said).get("detail")
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        return _first_of_fastapi(detail[0])
    param = said.get("param")
    return Complaint(
        message=_text(said.get("message") or said.get("msg") or detail),
        type=_text(said.get("type") or said.get("status")),
        code=_text(said.get("code")),
        param=param if isinstance(param, str) else None,
    )


def _first_of_fastapi(detail: Mapping[object, object]) -> Complaint:
    place = detail.get("loc")
    path = [str(step) for step in place if step != "body"] if isinstance(place, list) else []
    return Complaint(message=_text(detail.get("msg")), type=_text(detail.get("type")), param=".".join(path) or None)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


# -- the table ---------------------------------------------------------------------------------------------------

_BY_CODE: Mapping[str, Fault] = {
    "context_length_exceeded": errors.CONTEXT_LENGTH_EXCEEDED,
    "exceed_context_size_error": errors.CONTEXT_LENGTH_EXCEEDED,
    "3051": errors.CONTEXT_LENGTH_EXCEEDED,
    "content_filter": errors.CONTENT_REFUSED,
    "content_policy_violation": errors.CONTENT_REFUSED,
    "moderation_blocked": errors.CONTENT_REFUSED,
    "invalid_api_key": errors.UPSTREAM_REFUSED_KEY,
    "authentication_error": errors.UPSTREAM_REFUSED_KEY,
    "permission_error": errors.UPSTREAM_REFUSED_KEY,
    "billing_error": errors.UPSTREAM_REFUSED_KEY,
    "model_not_found": errors.UPSTREAM_MODEL_UNKNOWN,
    "DeploymentNotFound": errors.UPSTREAM_MODEL_UNKNOWN,
    "not_found_error": errors.UPSTREAM_MODEL_UNKNOWN,
    "rate_limit_exceeded": errors.UPSTREAM_RATE_LIMITED,
    "rate_limit_error": errors.UPSTREAM_RATE_LIMITED,
    "insufficient_quota": errors.UPSTREAM_RATE_LIMITED,
    "RESOURCE_EXHAUSTED": errors.UPSTREAM_RATE_LIMITED,
    "request_too_large": errors.BODY_TOO_LARGE,
    "overloaded_error": errors.UPSTREAM_OVERLOADED,
    "overloaded": errors.UPSTREAM_OVERLOADED,
    "UNAVAILABLE": errors.UPSTREAM_OVERLOADED,
    "timeout_error": errors.UPSTREAM_TIMEOUT,
    "invalid_request_error": errors.BAD_REQUEST,
    "BadRequestError": errors.BAD_REQUEST,
}
_NO_BETTER_THAN_STATUS = frozenset({errors.BAD_REQUEST.code})

_TOO_LONG = re.compile(
    r"maximum (?:context|prompt|model|input) length"
    r"|context[_ ](?:length|window|size)[^.]*exceed|exceed\w*[^.]*context[_ -]?(?:length|window|size|limit)"
    r"|longer than the (?:model's|maximum|model) (?:context|model)"
    r"|prompt is too long|input is too long|too large for model with \d+ maximum context"
    r"|reduce the length of the (?:messages|prompt|input)"
    r"|tokens \+ `?max_new_tokens`? must be <=|`?inputs`? must have less than \d+ tokens"
    r"|input token count .*exceeds the maximum|too many (?:input )?tokens|input is too large to process"
    r"|context the overflows",
    re.IGNORECASE | re.DOTALL,
)
_NO_IMAGES = re.compile(
    r"image(?:_url| inputs?| content| parts?|s)?[^.]*"
    r"(?:not supported|unsupported|only supported|not support|not enabled|not allowed)"
    r"|(?:not|n't|only) support\w*[^.]*\bimages?\b"
    r"|not a multimodal model|at most 0 (?:image|audio|video)|unknown variant `?image_url"
    r"|(?:no endpoints found that support|does not accept) image|not a vision model",
    re.IGNORECASE | re.DOTALL,
)
_BAD_KEY = re.compile(r"api key not valid|credit balance is too low|invalid api key|incorrect api key", re.IGNORECASE)
_SPEAKING = frozenset({400, 404, 413, 422, 500})
"""Statuses whose messages are worth reading: engines put the client's slips under all of these."""

_BY_STATUS: Mapping[int, Fault] = {
    400: errors.BAD_REQUEST,
    401: errors.UPSTREAM_REFUSED_KEY,
    402: errors.UPSTREAM_REFUSED_KEY,
    403: errors.UPSTREAM_REFUSED_KEY,
    404: errors.UPSTREAM_MODEL_UNKNOWN,
    408: errors.UPSTREAM_TIMEOUT,
    413: errors.BODY_TOO_LARGE,
    422: errors.BAD_REQUEST,
    425: errors.UPSTREAM_OVERLOADED,
    429: errors.UPSTREAM_RATE_LIMITED,
    498: errors.UPSTREAM_OVERLOADED,
    503: errors.UPSTREAM_OVERLOADED,
    504: errors.UPSTREAM_TIMEOUT,
    524: errors.UPSTREAM_TIMEOUT,
    529: errors.UPSTREAM_OVERLOADED,
}


def fault_of(status: int, said: Complaint) -> Fault:
    """Our fault for a refusal with ``status``; 0 when it came inside a stream and has none."""
    named = _BY_CODE.get(said.code) or _BY_CODE.get(said.type)
    if status in (401, 402, 403) and named is not errors.CONTENT_REFUSED:
        return errors.UPSTREAM_REFUSED_KEY
    if named is not None and named.code not in _NO_BETTER_THAN_STATUS:
        return named
    if status == 0 and said.code.isdecimal():
        status = int(said.code)
    if status in _SPEAKING or named is not None or status == 0:
        if _TOO_LONG.search(said.message):
            return errors.CONTEXT_LENGTH_EXCEEDED
        if _NO_IMAGES.search(said.message):
            return errors.UNSUPPORTED_CONTENT
        if _BAD_KEY.search(said.message):
            return errors.UPSTREAM_REFUSED_KEY
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return errors.UPSTREAM_FAILED if status or named is None else named


def http_error(status: int, headers: Mapping[str, str], body: bytes, origin: Origin, wall: float) -> PenstockError:
    """The error that a response with a bad status stands for. ``headers`` ignore case; ``wall`` is the time now."""
    said = complaint(body)
    return _error(fault_of(status, said), status, said, origin, retry_after(headers, wall))


def event_error(body: bytes, origin: Origin) -> PenstockError:
    """The error that a JSON text with an error inside stands for, where a status is missing or says 200."""
    said = complaint(body)
    return _error(fault_of(0, said), 0, said, origin, None)


def _error(fault: Fault, status: int, said: Complaint, origin: Origin, wait: float | None) -> PenstockError:
    text = _shown(said, origin)
    saying = f": {text}" if text else ""
    what = f"HTTP {status}" if status else "an error event"
    if fault in _CLIENTS:
        message = text or f"The upstream refused the request with {what} and no reason; check the request"
        return PenstockError(fault, message, param=said.param)
    who = f"The upstream of model {origin.model!r}"
    if fault is errors.UPSTREAM_REFUSED_KEY:
        # Upstreams like to repeat the key, or most of it: their text is not passed on.
        return PenstockError(fault, f"{who} refused us with {what}; check the api_key of model {origin.model!r}")
    if fault is errors.UPSTREAM_MODEL_UNKNOWN:
        mend = f"check model and base_url of model {origin.model!r}"
        return PenstockError(fault, f"{who} does not know {origin.sent!r} ({what}{saying}); {mend}")
    if fault is errors.UPSTREAM_RATE_LIMITED:
        return PenstockError(fault, f"{who} limits our rate ({what}{saying}); try again later", retry_after=wait)
    if 300 <= status < 400:
        mend = "give the address it points to as base_url"
        return PenstockError(fault, f"{who} answered with a redirect, {what}; {mend}")
    return PenstockError(fault, f"{who} failed ({what}{saying}); try again or look at its log", retry_after=wait)


_ACCOUNT = re.compile(r"\b(?:org[-_]|proj[-_]|sk-|gsk_)[\w*.-]*\w")
"""Whose account it is and what opens it is not the client's business."""
_CLIENTS = frozenset(
    {
        errors.BAD_REQUEST,
        errors.CONTEXT_LENGTH_EXCEEDED,
        errors.UNSUPPORTED_CONTENT,
        errors.CONTENT_REFUSED,
        errors.BODY_TOO_LARGE,
    }
)


def _shown(said: Complaint, origin: Origin) -> str:
    text = said.message
    for secret in origin.secrets:
        text = text.replace(secret, "[key]")
    text = _ACCOUNT.sub("[hidden]", text)
    text = text[:_SHOWN] + "..." if len(text) > _SHOWN else text
    known = said.code and said.code not in text and not said.code.isdecimal()
    return f"{text} (upstream code: {said.code})" if known and text else text


# -- when to come back -------------------------------------------------------------------------------------------

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?$")


def retry_after(headers: Mapping[str, str], wall: float) -> float | None:
    """Seconds until the upstream wants to be asked again, if its headers say so. Never negative."""
    if (milliseconds := _number(headers.get("retry-after-ms", ""))) is not None:
        return milliseconds / 1000
    if value := headers.get("retry-after"):
        seconds = _number(value)
        return _until(value, wall) if seconds is None else seconds
    waits: list[float] = []
    spent: list[float] = []
    for what in ("requests", "tokens"):
        wait = _duration(headers.get(f"x-ratelimit-reset-{what}", ""))
        if wait is None:
            continue
        waits.append(wait)
        if headers.get(f"x-ratelimit-remaining-{what}") == "0":
            spent.append(wait)
    return max(spent) if spent else min(waits, default=None)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None


def _until(date: str, wall: float) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - wall)
    except ValueError:
        return None


def _duration(text: str) -> float | None:
    """OpenAI's and Groq's spans, ``6m0s``, ``7.66s``, ``20ms``; a plain number is seconds."""
    if not text or (found := _DURATION.match(text)) is None:
        return _number(text)
    hours, minutes, seconds, millis = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds + millis / 1000
