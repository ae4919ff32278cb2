"""Names to adapters: the one table of what can be plugged in. A module is imported when first asked for."""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Mapping
from importlib import metadata

from penstock.core.errors import BAD_DEPLOYMENT, PenstockError

ENTRIES: Mapping[str, str] = {
    "engine.llamacpp": "penstock.engines.llamacpp:LlamaCpp",
    "engine.openai": "penstock.engines.openai:OpenAI",
    "engine.anthropic": "penstock.engines.anthropic:Anthropic",
    "engine.fake": "penstock.engines.fake:Fake",
    "counters.redis": "penstock.access.counters_redis:RedisCounters",
    "counters.redis.epochs": "penstock.access.counters_redis_epochs:RedisEpochs",
    "counters.redis.link": "penstock.access.counters_redis_link:RedisLink",
    "tokens.jwt": "penstock.access.tokens:Tokens",
    "issuers.documents": "penstock.control.issuer_documents:Documents",
    "console": "penstock.edge.console.console:Console",
    "substrate.process": "penstock.fleet.process:ProcessSubstrate",
    "receiver.webhook": "penstock.control.objectives.webhook:Webhook",
    "receiver.email": "penstock.control.objectives.mail:Mail",
    "devices.nvml": "penstock.fleet.gpu_nvml:Nvml",
    "tier.redis": "penstock.caches.tier_redis:RedisTier",
    "tier.s3": "penstock.caches.tier_s3:S3Tier",
    "semantic.desks": "penstock.control.semantic.desks:Desks",
    "semantic.shared": "penstock.caches.semantic.shared_redis:RedisShared",
    "semantic.index": "penstock.caches.semantic.index_usearch:UsearchIndex",
    "otlp.http": "penstock.observe.otlp_http:OtlpHttp",
}


def load(name: str) -> type:
    """The class called ``name``. Raises ``PenstockError`` for an unknown name, or when a package that the adapter
    needs is not installed."""
    where = ENTRIES.get(name)
    if where is None:
        near = difflib.get_close_matches(name, ENTRIES, n=1)
        hint = f'did you mean "{near[0]}"?' if near else "known: " + ", ".join(ENTRIES)
        raise PenstockError(BAD_DEPLOYMENT, f"the catalog has no `{name}`; {hint}")
    module, _, attribute = where.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if str(error.name).startswith("penstock"):
            raise
        package = str(error.name).partition(".")[0]
        raise PenstockError(
            BAD_DEPLOYMENT, f"`{name}` needs the package {package}, which is not installed; {_mend(package)}"
        ) from error
    if not isinstance(found, type):
        raise TypeError(f"{where} is no class")
    return found


def _mend(package: str) -> str:
    for need in metadata.requires("penstock") or ():
        # As packages are named, "-" and "_" are one: PyPA's specification of names.
        wanted = re.match(r"""([\w.-]+).*\bextra == ["']([\w-]+)["']""", need)
        if wanted is not None and wanted[1].replace("-", "_") == package and wanted[2] != "dev":
            return f"pip install 'penstock[{wanted[2]}]'"
    return "install it with pip"
