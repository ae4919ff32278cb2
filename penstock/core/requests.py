"""What is kept of a request once it is over: its facts, apart from them what was said, and how both are asked for.

Times are seconds: ``at`` since the epoch, the rest since the request's arrival or as lengths.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from penstock.core.usage import Tokens

ContentPolicy = Literal["", "none", "masked", "sampled", "all"]
"""What is kept of prompts and replies: nothing, all with personal data masked, all of a share of requests, all;
empty: nothing is said here."""


LONGEST_SUBJECT = 128


def subject_named(id: str) -> str:
    """The id of a person as the log has it: of one that is longer than ``LONGEST_SUBJECT`` the beginning and a hash,
    so that two of one beginning stay two. What is named already stays as it is."""
    if len(id) <= LONGEST_SUBJECT:
        return id
    digest = hashlib.sha256(id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return f"{id[: LONGEST_SUBJECT - 33]}~{digest}"


class AttemptMade(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One attempt. ``began_s`` after the request's arrival; ``ended_s`` when it failed or the request was over;
    ``first_s`` when its first chunk could be released, None: it had none. ``code`` is empty where it did not fail.
    ``span`` is its own id in the trace, eight bytes, empty where there is no trace."""

    number: int
    model: str
    replica: str
    began_s: float
    ended_s: float
    first_s: float | None = None
    code: str = ""
    message: str = ""
    span: bytes = b""


class Marks(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """When the request left each room, after its arrival; None: it never did. Each room begins where the one before
    ended."""

    admitted: float | None = None
    assigned: float | None = None
    prepared: float | None = None
    reserved: float | None = None
    placed: float | None = None
    first: float | None = None
    closed: float = 0.0


class RequestRecord(msgspec.Struct, frozen=True, tag="request", array_like=True, gc=False):
    """The facts of one request. ``request_id`` and ``at``, its arrival, name it: clients choose ids, and may choose
    one twice.

    ``ending`` is complete, failed or client_gone, ``status`` the HTTP status meant, ``code`` the fault's. ``asked``
    is the ``model`` that the client sent. ``user`` is whom the key acts for; ``subject`` whom the client says it asks
    for (``user``, ``safety_identifier``), empty where nobody. ``model`` and ``replica`` are those of the attempt
    that won, else of the last. ``dialect`` is the route's last words (``chat/completions``). ``tokens`` None: none
    were counted; ``estimated``: the upstream did not say. ``cost_nano`` in billionths of a US dollar.

    ``duration_s`` is to the close of the reply, ``first_chunk_s`` to the first chunk, None: there was none;
    ``queued_s`` the wait for a place, None where none was needed; ``overhead_s`` what the gateway took for itself;
    ``between_s`` the mean time between two output tokens of a stream, None: not streamed, or fewer than two.

    ``cache`` is the verdict of caches, empty: none was asked. ``trace`` is the trace's id (16 bytes), ``span`` the
    root span's, ``parent`` the caller's span (8 bytes each), empty where there is none; ``traced``: it is exported.
    ``content``: what was kept of what was said (``none`` where nothing). ``kept``: whether the log keeps it; one that
    it does not is counted all the same.
    """

    request_id: str
    at: float
    gateway: str
    worker: int = 0
    project: str = ""
    key_id: str = ""
    user: str = ""
    team: str = ""
    subject: str = ""
    asked: str = ""
    service: str = ""
    release: str = ""
    rollout: str = ""
    model: str = ""
    replica: str = ""
    kind: str = ""
    dialect: str = ""
    stream: bool = False
    purpose: Literal["client", "internal"] = "client"
    ending: str = ""
    status: int = 0
    code: str = ""
    message: str = ""
    tokens: Tokens | None = None
    estimated: bool = False
    cost_nano: int = 0
    duration_s: float = 0.0
    first_chunk_s: float | None = None
    queued_s: float | None = None
    overhead_s: float = 0.0
    between_s: float | None = None
    marks: Marks = Marks()
    attempts: tuple[AttemptMade, ...] = ()
    cache: str = ""
    trace: bytes = b""
    span: bytes = b""
    parent: bytes = b""
    traced: bool = False
    content: ContentPolicy = "none"
    kept: bool = True


class RequestContent(msgspec.Struct, frozen=True, tag="content", array_like=True, gc=False, kw_only=True):
    """What was said, kept apart from the facts and for a shorter time. ``request`` is JSON in OpenAI's shape as the
    client sent it, ``reply`` JSON as ``penstock.gateway.capture`` has it; ``masked``: personal data was replaced
    before anything was written."""

    request_id: str
    at: float
    project: str
    service: str
    subject: str = ""
    masked: bool = False
    request: bytes = b""
    reply: bytes = b""


class Beat(msgspec.Struct, frozen=True, tag="beat", array_like=True, gc=False):
    """Everything of this writer that ended before ``at`` has been written, or is among the ``shed``: how many records
    it has lost since it began."""

    at: float
    shed: int = 0


LogRecord = RequestRecord | RequestContent | Beat
"""What travels in a worker's spool, in order."""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: the next holds what is before it, newest first."""

    at: float
    request_id: str


class RequestQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that arrived from ``since`` (included) to ``until`` (not). None and empty: any. ``status`` is one, or
    a class: ``4xx``. ``text`` is looked for, case folded, in what was kept of contents; ``cost`` in nano-dollars."""

    since: float = 0.0
    until: float | None = None
    project: str | None = None
    key_id: str | None = None
    user: str | None = None
    team: str | None = None
    subject: str | None = None
    service: str | None = None
    release: str | None = None
    model: str | None = None
    replica: str | None = None
    ending: str | None = None
    code: str | None = None
    status: str | None = None
    cache: str | None = None
    stream: bool | None = None
    purpose: str = ""
    request_id: str | None = None
    trace: str | None = None
    min_cost_nano: int | None = None
    min_s: float | None = None
    max_s: float | None = None
    min_first_s: float | None = None
    text: str | None = None


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What was known of a person: requests whose facts named it, contents, and days in the archive that were
    written anew."""

    requests: int = 0
    contents: int = 0
    archived_days: int = 0
