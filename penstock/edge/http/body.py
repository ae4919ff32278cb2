"""What a request's body may be: bounded in bytes, in time and in nesting, and JSON; or a clear refusal."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

import msgspec

from penstock.core.errors import (
    BODY_TOO_LARGE,
    INVALID_JSON,
    INVALID_TYPE,
    REQUEST_TIMEOUT,
    UNSUPPORTED_MEDIA_TYPE,
    PenstockError,
)
from penstock.core.splice import members

# Deeper than any schema or conversation in use, and far from where a JSON parser upstream runs out of stack.
MAX_DEPTH = 200

# Not the other kind of form: curl calls whatever it posts one unless it is told otherwise.
_FORM = b"multipart/form-data"
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def check_head(headers: Mapping[bytes, bytes], limit: int) -> None:
    """Whether the body is worth waiting for, by what the headers say of it.

    Raises ``PenstockError`` (BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE).
    """
    kind = headers.get(b"content-type", b"")
    if kind != b"application/json":
        _check_type(kind)
    if b"content-encoding" in headers:
        _check_coding(headers[b"content-encoding"])
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit:
        raise too_large(limit)


def parsed(body: bytes) -> dict[str, msgspec.Raw]:
    """The top-level members of a JSON object in UTF-8. Raises ``PenstockError`` (INVALID_JSON, INVALID_TYPE)."""
    if not body.isascii():
        try:
            str(body, "utf-8")
        except UnicodeDecodeError as error:
            raise PenstockError(
                INVALID_JSON,
                f"The request body is not valid UTF-8 (byte {error.start}). Encode the JSON text as UTF-8.",
            ) from None
    try:
        fields = members(body)
        if body.find(b"\\u") >= 0 and (b"\\ud" in body or b"\\uD" in body):
            msgspec.json.decode(body)
    except msgspec.ValidationError:
        raise PenstockError(
            INVALID_TYPE, 'The request body must be a JSON object, such as {"model": "...", ...}.'
        ) from None
    except msgspec.DecodeError as error:
        raise PenstockError(INVALID_JSON, _malformed(body, error)) from None
    except RecursionError:
        raise _too_deep() from None
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise _too_deep()
    return fields


def too_large(limit: int) -> PenstockError:
    """What is said of a body of more than ``limit`` bytes."""
    return PenstockError(
        BODY_TOO_LARGE,
        f"The request body is larger than this gateway reads ({limit} bytes). Send less, or raise "
        "'server.max_body_bytes' in the deployment file.",
    )


def too_slow(idle_s: float) -> PenstockError:
    """What is said of a body of which nothing more has come for ``idle_s`` seconds."""
    return PenstockError(
        REQUEST_TIMEOUT,
        f"The request body stopped arriving for {idle_s:g} seconds. Send it in one go, "
        "and check that content-length is not longer than the body.",
    )


def _check_type(given: bytes) -> None:
    kind = given.partition(b";")[0].strip().lower()
    if kind == _FORM:
        raise PenstockError(
            UNSUPPORTED_MEDIA_TYPE,
            f"This route takes JSON, not {kind.decode()}. Send a JSON object with 'content-type: application/json'.",
        )


def _check_coding(given: bytes) -> None:
    if given.strip().lower() not in (b"", b"identity"):
        raise PenstockError(
            UNSUPPORTED_MEDIA_TYPE,
            "Compressed request bodies are not read here. Send the JSON as it is, without 'content-encoding'.",
        )


def _too_deep() -> PenstockError:
    return PenstockError(
        INVALID_JSON, f"The JSON is nested too deeply. Use at most {MAX_DEPTH} levels of arrays and objects."
    )


def _malformed(body: bytes, error: msgspec.DecodeError) -> str:
    if not body.strip():
        return "The request body is empty. Send a JSON object with 'content-type: application/json'."
    return f"The request body is not valid JSON: {error}. Send one JSON object."


def _depth(text: bytes) -> int:
    """How deep the arrays and objects of a valid JSON text nest; stops counting beyond ``MAX_DEPTH``."""
    outside = b"".join(text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    deepest = 0
    for depth in accumulate(map(_STEP.__getitem__, outside.translate(None, _NOT_BRACKETS))):
        if depth > deepest:
            deepest = depth
            if deepest > MAX_DEPTH:
                break
    return deepest
