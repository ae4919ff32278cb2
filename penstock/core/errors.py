"""What can go wrong, as values: every fault knows its HTTP status, its code, whether another attempt may cure it.

The wire shape is OpenAI's ``{"error": {"message", "type", "param", "code"}}``; the words here are its vocabulary.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec


class Loud(enum.IntEnum):
    """How loud a fault is logged: a client's slip is routine, an upstream's failure is not, ours never is."""

    ROUTINE = 20
    WARNING = 30
    ERROR = 40


class Fault(msgspec.Struct, frozen=True):
    """One kind of failure.

    ``retry``: another attempt (the same replica later, or a fallback) may succeed. A fault that the client
    caused never says so. ``type`` is OpenAI's coarse class of errors, ``code`` the exact one, ``about`` a sentence
    for the reference page.
    """

    code: str
    status: int
    type: str
    about: str
    retry: bool = False
    loud: Loud = Loud.ROUTINE


_INVALID = "invalid_request_error"
_AUTH = "authentication_error"
_SERVER = "server_error"
_LIMIT = "rate_limit_error"
_UPSTREAM = "upstream_error"

# The client's faults.
INVALID_JSON = Fault("invalid_json", 400, _INVALID, "The body is not valid JSON in UTF-8.")
INVALID_TYPE = Fault("invalid_type", 400, _INVALID, "A field has the wrong JSON type.")
INVALID_VALUE = Fault("invalid_value", 400, _INVALID, "A field has a value that cannot be used.")
MISSING_PARAMETER = Fault("missing_required_parameter", 400, _INVALID, "A field that the request needs is not there.")
UNSUPPORTED_PARAMETER = Fault(
    "unsupported_parameter", 400, _INVALID, "A field asks for something that this gateway or the engine does not do."
)
UNSUPPORTED_CONTENT = Fault(
    "unsupported_content", 400, _INVALID, "A message holds content, an image say, that the model cannot read."
)
UNSUPPORTED_OPERATION = Fault(
    "unsupported_operation", 400, _INVALID, "The model does not do this: embeddings from a chat model, say."
)
CONTEXT_LENGTH_EXCEEDED = Fault(
    "context_length_exceeded",
    400,
    _INVALID,
    "The prompt, with the output asked for, is longer than the model can hold.",
)
CONTENT_REFUSED = Fault("content_policy_violation", 400, _INVALID, "The upstream refused the content by its policy.")
BAD_REQUEST = Fault(
    "bad_request", 400, _INVALID, "The engine refused the request for a reason that its message tells."
)
INVALID_API_KEY = Fault("invalid_api_key", 401, _AUTH, "No key was sent, or one that is not valid here.")
MODEL_FORBIDDEN = Fault("model_forbidden", 403, "permission_error", "The key may not use this model.")
KEY_EXPIRED = Fault("key_expired", 401, _AUTH, "The key, or the token, was valid until a time that has passed.")
KEY_REVOKED = Fault("key_revoked", 401, _AUTH, "The key was revoked, or its project archived, or its user disabled.")
INVALID_TOKEN = Fault(
    "invalid_token", 401, _AUTH, "The token is not one that this gateway takes; the message says why."
)
ENDPOINT_FORBIDDEN = Fault("endpoint_forbidden", 403, "permission_error", "The key may not use this endpoint.")
TOOL_FORBIDDEN = Fault("tool_forbidden", 403, "permission_error", "The key may not offer this tool to a model.")
NETWORK_FORBIDDEN = Fault(
    "network_forbidden", 403, "permission_error", "The key may not be used from the address of this client."
)
PERMISSION_DENIED = Fault(
    "permission_denied", 403, "permission_error", "The role of the key does not have the permission that this needs."
)
ORIGIN_FORBIDDEN = Fault(
    "origin_forbidden",
    403,
    "permission_error",
    "A web page of another site asked for a WebSocket; `server.cors` lists the sites that may.",
)
MODEL_NOT_FOUND = Fault("model_not_found", 404, _INVALID, "No service has this name.")
NOT_FOUND = Fault("not_found", 404, _INVALID, "There is nothing of this name that the key may see.")
CONFLICT = Fault(
    "conflict", 409, _INVALID, "What is there already stands in the way: the same id, or a newer version of it."
)
IDEMPOTENCY_CONFLICT = Fault(
    "idempotency_conflict", 409, _INVALID, "The same `idempotency-key` was sent with another request before."
)
RESPONSE_NOT_FOUND = Fault("response_not_found", 404, _INVALID, "Responses are not stored here.")
UNKNOWN_URL = Fault("unknown_url", 404, _INVALID, "There is no such route.")
METHOD_NOT_ALLOWED = Fault(
    "method_not_allowed", 405, _INVALID, "The route does not take this HTTP method; `allow` lists those it does."
)
REQUEST_TIMEOUT = Fault("request_timeout", 408, _INVALID, "The body did not arrive in time.")
BODY_TOO_LARGE = Fault("request_too_large", 413, _INVALID, "The body is larger than `server.max_body_bytes`.")
UNSUPPORTED_MEDIA_TYPE = Fault(
    "unsupported_media_type", 415, _INVALID, "The body is not JSON, by its `content-type`."
)
HEADERS_TOO_LARGE = Fault("headers_too_large", 431, _INVALID, "The headers are larger than the gateway reads.")
# Limits and budgets.
RATE_LIMITED = Fault(
    "rate_limit_exceeded",
    429,
    _LIMIT,
    "A limit was reached; the message names the tightest, `retry-after` says when there is room again.",
)
BUDGET_EXCEEDED = Fault(
    "budget_exceeded",
    429,
    "insufficient_quota",
    "What the request may cost at most is more than a budget has left; the message names the budget.",
)
NO_PRICE = Fault(
    "model_without_price",
    403,
    "permission_error",
    "A budget applies, and the model has no price; set one with `penstock prices set`.",
)
COUNTERS_UNAVAILABLE = Fault(
    "counters_unavailable",
    503,
    "overloaded_error",
    "The counters of limits and budgets cannot be reached, and they are configured to fail closed.",
    loud=Loud.ERROR,
)
JOURNAL_FULL = Fault(
    "journal_full",
    503,
    "overloaded_error",
    "The store has been away for so long that the journal is full; what is used could not be recorded.",
    loud=Loud.ERROR,
)
IDENTITIES_STALE = Fault(
    "identities_stale",
    503,
    "overloaded_error",
    "The store, or the identity provider, has been away for longer than keys are trusted without it.",
    loud=Loud.ERROR,
)
# Capacity, ours or an upstream's.
UPSTREAM_RATE_LIMITED = Fault(
    "upstream_rate_limited",
    429,
    _LIMIT,
    "The upstream's limit was reached; `retry-after` says when to come back, if it did.",
    retry=True,
    loud=Loud.WARNING,
)
NO_REPLICA = Fault(
    "no_replica_ready",
    503,
    "overloaded_error",
    "No copy of the model can answer now: it is loading, restarting, or has failed.",
    retry=True,
    loud=Loud.WARNING,
)
QUEUE_FULL = Fault(
    "queue_full",
    429,
    _LIMIT,
    "As many requests as the service's queue holds are waiting already; `retry-after` says when to come back.",
)
SHED = Fault(
    "shed",
    503,
    "overloaded_error",
    "The request waited with a low priority and gave its place to one with a higher.",
)
QUEUE_TIMEOUT = Fault(
    "queue_timeout", 503, "overloaded_error", "No place came free within the service's `queue: wait_s`."
)
BREAKER_OPEN = Fault(
    "breaker_open",
    503,
    "overloaded_error",
    "Every copy of the model has failed too often lately and is left alone for a while.",
    loud=Loud.WARNING,
)
DEADLINE_EXCEEDED = Fault(
    "deadline_exceeded",
    504,
    "timeout_error",
    "The request took longer than the service's `deadlines: total_s`, or than its own `x-penstock-timeout`.",
)
NOT_CACHED = Fault(
    "not_cached",
    504,
    "timeout_error",
    "The request wants an answer from the cache or none (`cache-control: only-if-cached`), and there is none.",
)
SERVICE_REFUSED = Fault(
    "service_unavailable", 503, "overloaded_error", "Every attempt failed; the message is the service's `refusal`."
)
OUT_OF_RESOURCES = Fault(
    "gateway_out_of_resources",
    503,
    "overloaded_error",
    "The gateway is at a limit of its machine: open files, memory or disk.",
    loud=Loud.ERROR,
)
STOPPING = Fault("gateway_stopping", 503, "overloaded_error", "The gateway is shutting down.", loud=Loud.ROUTINE)
# What an upstream did.
UPSTREAM_REFUSED_KEY = Fault(
    "upstream_authentication",
    502,
    _UPSTREAM,
    "The upstream did not accept the key of the deployment file.",
    retry=True,
    loud=Loud.ERROR,
)
UPSTREAM_MODEL_UNKNOWN = Fault(
    "upstream_model_not_found",
    502,
    _UPSTREAM,
    "The upstream does not know the model that the deployment file names.",
    retry=True,
    loud=Loud.ERROR,
)
UPSTREAM_UNREACHABLE = Fault(
    "upstream_unreachable",
    502,
    _UPSTREAM,
    "No connection to the upstream could be made.",
    retry=True,
    loud=Loud.WARNING,
)
UPSTREAM_BROKEN = Fault(
    "upstream_disconnected",
    502,
    _UPSTREAM,
    "The upstream broke off before its answer was complete.",
    retry=True,
    loud=Loud.WARNING,
)
UPSTREAM_GARBLED = Fault(
    "upstream_invalid_response",
    502,
    _UPSTREAM,
    "The upstream sent something that is not its protocol.",
    retry=True,
    loud=Loud.ERROR,
)
UPSTREAM_FAILED = Fault("upstream_error", 502, _UPSTREAM, "The upstream failed.", retry=True, loud=Loud.WARNING)
UPSTREAM_OVERLOADED = Fault(
    "upstream_overloaded", 503, _UPSTREAM, "The upstream has no capacity now.", retry=True, loud=Loud.WARNING
)
UPSTREAM_TIMEOUT = Fault(
    "upstream_timeout", 504, _UPSTREAM, "The upstream did not answer in time.", retry=True, loud=Loud.WARNING
)
# Ours.
INTERNAL = Fault(
    "internal_error",
    500,
    _SERVER,
    "A fault of the gateway itself; the log has it under the request's id.",
    loud=Loud.ERROR,
)
BAD_DEPLOYMENT = Fault(
    "bad_deployment", 400, _INVALID, "The deployment file, or something it names, cannot be used.", loud=Loud.ERROR
)
# Before anything serves: the weights, the machine. Never sent over HTTP.
WEIGHTS_UNAVAILABLE = Fault(
    "weights_unavailable", 500, _SERVER, "Weights could not be fetched, checked or kept.", loud=Loud.ERROR
)
ENGINE_START_FAILED = Fault(
    "engine_start_failed", 500, _SERVER, "An engine's process did not come up.", loud=Loud.ERROR
)
STORE_UNAVAILABLE = Fault(
    "store_unavailable",
    503,
    "overloaded_error",
    "The store cannot be reached, read or written, or another process holds it.",
    loud=Loud.ERROR,
)
STORE_CONFLICT = Fault(
    "store_conflict", 409, _INVALID, "Somebody else changed the same thing at the same moment; try again."
)
CANNOT_START = Fault(
    "cannot_start",
    500,
    _SERVER,
    "The gateway cannot start here: the port is taken, say, or the home folder is in use.",
    loud=Loud.ERROR,
)


class PenstockError(Exception):
    """The one exception that crosses rooms.

    ``message`` is for the person who can mend it: it names the fault and the mend, and holds no secret.
    ``param`` is the field of the request (``messages[2].content``) when one is to blame.
    ``retry_after`` is in seconds, when the cure is known to be waiting. ``headers`` go out with the error when it is
    answered over HTTP: what had happened until then.
    """

    __slots__ = ("fault", "headers", "message", "param", "retry_after")

    def __init__(
        self, fault: Fault, message: str, *, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.headers: Mapping[str, str] = {}

    def __str__(self) -> str:
        return self.message


class ErrorBody(msgspec.Struct, frozen=True):
    """The inner object of OpenAI's error shape."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(msgspec.Struct, frozen=True):
    """OpenAI's error shape, whole: the JSON body of a failed call, and of an in-stream error event."""

    error: ErrorBody


def envelope(error: PenstockError) -> bytes:
    """The error as one JSON text in OpenAI's shape."""
    body = ErrorBody(error.message, error.fault.type, error.param, error.fault.code)
    return msgspec.json.encode(ErrorEnvelope(body))
