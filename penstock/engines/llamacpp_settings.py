"""Which llama.cpp parameters a model runs with: chosen from its file and the machine, then overridden. Pure.

The names are those of ``xllamacpp.CommonParams``, dots for nesting.
"""

from __future__ import annotations

import msgspec

from penstock.core.errors import BAD_DEPLOYMENT, PenstockError
from penstock.engines.config import LlamaCpp
from penstock.engines.llamacpp_gguf import Gguf
from penstock.engines.llamacpp_templates import with_tools

SLOTS = 8
"""Eight clients on one core got 1.5 times the tokens of one client with eight slots, 1.2 times with four."""
CONNECTIONS = 256
"""Requests that one child holds at once, working or waiting; its HTTP server spends a thread on each."""
_SPARE_CONNECTIONS = 8
_CONTEXT = 4096
_LEAST_CONTEXT = 1024
_BATCH_WEIGHT = 1_050_000_000
"""Parameters that one thread takes a token through in .06 s of a slow core: a disconnect waits for a batch."""
_LEAST_BATCH = 6
"""Tokens per thread below which a batch spends more time on reading weights than on computing."""
_MOST_BATCH = 512
_ACCELERATED_BATCH = 2048
_EMBEDDING_BATCH = 2048
_MOST_CACHE_MIB = 1024

Value = bool | int | float | str
POOLING = {"mean": "MEAN", "cls": "CLS", "last": "LAST"}
_OURS = {
    "model": "say where the model comes from by weights",
    "api_keys": "each copy has a key of its own",
    "hostnames": "each copy listens on loopback only",
    "port": "each copy takes a free port",
    "api_prefix": "each copy is reached below /v1",
    "ssl_file_cert": "each copy is reached over loopback, in the clear",
    "ssl_file_key": "each copy is reached over loopback, in the clear",
}


class Machine(msgspec.Struct, frozen=True):
    """What a child may use: processor cores, the gateway's own included, and bytes of memory that are free now."""

    cores: int
    memory: int


class Order(msgspec.Struct, frozen=True):
    """What a child is told on its standard input. ``key`` is the secret that its clients present."""

    weights: str
    key: str
    settings: LlamaCpp

    def __repr__(self) -> str:
        return f"Order({self.weights!r})"


def chosen(settings: LlamaCpp, gguf: Gguf, machine: Machine) -> dict[str, Value]:
    """Every parameter that differs from llama.cpp's own choice, ``params`` last.

    Raises ``PenstockError`` (BAD_DEPLOYMENT) when ``params`` holds one that only Penstock may set, and when the
    context asked for needs more memory than there is.
    """
    for name in settings.params:
        if (instead := _OURS.get(name.split(".")[0])) is not None:
            raise PenstockError(BAD_DEPLOYMENT, f"params.{name} cannot be set: {instead}")
    threads = settings.threads or max(1, (machine.cores - 1) // settings.replicas)
    slots = settings.slots or SLOTS
    context = settings.context or _context(gguf, slots * settings.replicas, machine.memory)
    if (needed := gguf.kv_token_bytes * context * slots) > machine.memory:
        raise PenstockError(
            BAD_DEPLOYMENT,
            f"A context of {context} tokens in {slots} slots needs {needed >> 20} MiB, and "
            f"{machine.memory >> 20} MiB are free; lower context or slots",
        )
    values: dict[str, Value] = {
        "n_parallel": slots,
        "n_ctx": context * slots,
        "cpuparams.n_threads": threads,
        "cpuparams_batch.n_threads": threads,
        "n_gpu_layers": settings.gpu_layers or 0,
        # It would shrink the context behind our back, and it reads the model twice to do so.
        "fit_params": False,
        "n_threads_http": CONNECTIONS + _SPARE_CONNECTIONS,
        "endpoint_slots": True,
        "endpoint_metrics": True,
        "ui": False,
        # Errors. Its warnings quote what clients sent.
        "verbosity": 1,
        **_batch(settings, gguf, slots, context, threads),
    }
    if settings.task == "chat":
        values |= _chat(settings, gguf, machine)
    else:
        values |= {"embedding": True, "cache_prompt": False, "cache_ram_mib": 0}
    if settings.pooling is not None:
        values["pooling_type"] = POOLING[settings.pooling]
    return values | settings.params


def _context(gguf: Gguf, slots: int, memory: int) -> int:
    """What the model was trained for, at most 4096; halved until its cache takes no more than half of the memory."""
    context = min(gguf.context or _LEAST_CONTEXT * 4, _CONTEXT)
    while context // 2 >= _LEAST_CONTEXT and gguf.kv_token_bytes * context * slots > memory // 2:
        context //= 2
    return context


def _batch(settings: LlamaCpp, gguf: Gguf, slots: int, context: int, threads: int) -> dict[str, Value]:
    if settings.task != "chat":
        # These models see their whole input at once: it has to fit one batch.
        size = min(context * slots, max(context, _EMBEDDING_BATCH))
        return {"n_batch": size, "n_ubatch": size}
    if settings.gpu_layers:
        return {"n_batch": _ACCELERATED_BATCH, "n_ubatch": _MOST_BATCH}
    prompt = threads * max(_LEAST_BATCH, _BATCH_WEIGHT // max(gguf.parameters, 1))
    # Beside a long prompt, every other slot gets its token in each batch.
    size = min(prompt, _MOST_BATCH) + slots
    return {"n_batch": size, "n_ubatch": size}


def _chat(settings: LlamaCpp, gguf: Gguf, machine: Machine) -> dict[str, Value]:
    template = settings.chat_template or gguf.chat_template
    values: dict[str, Value] = {
        "cache_prompt": True,
        "cache_ram_mib": min(_MOST_CACHE_MIB, (machine.memory >> 20) // 16),
        # An assistant's message at the end is history; OpenAI's API never repeats it as the start of the answer.
        "prefill_assistant": False,
    }
    if template and (template := with_tools(template)) != gguf.chat_template:
        values["chat_template"] = template
    return values
