"""A BERT sentence encoder of a few thousand random numbers, and what it means by the paper, in numpy."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

WIDTH, INNER, LAYERS, HEADS, POSITIONS, EPS = 64, 128, 2, 4, 64, 1e-12
WORDS = (
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "hello",
    "world",
    "play",
    "##ing",
    "##s",
    "river",
    "bank",
    "the",
)
CONFIG = {
    "model_type": "bert",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": POSITIONS,
    "type_vocab_size": 2,
    "vocab_size": len(WORDS),
    "layer_norm_eps": EPS,
    "hidden_act": "gelu",
}


def tensors() -> dict[str, Array]:
    """The same ones at every call."""
    draw = np.random.default_rng(7)

    def matrix(*shape: int) -> Array:
        return (draw.standard_normal(shape) * 0.3).astype(np.float32)

    def norm(name: str) -> dict[str, Array]:
        return {f"{name}.weight": 1 + matrix(WIDTH) / 3, f"{name}.bias": matrix(WIDTH)}

    def linear(name: str, out: int, into: int) -> dict[str, Array]:
        return {f"{name}.weight": matrix(out, into), f"{name}.bias": matrix(out)}

    made: dict[str, Array] = {
        "embeddings.word_embeddings.weight": matrix(len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": matrix(POSITIONS, WIDTH),
        "embeddings.token_type_embeddings.weight": matrix(2, WIDTH),
        **norm("embeddings.LayerNorm"),
        **linear("pooler.dense", WIDTH, WIDTH),
    }
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            made |= linear(f"{at}.attention.self.{part}", WIDTH, WIDTH)
        made |= linear(f"{at}.attention.output.dense", WIDTH, WIDTH) | norm(f"{at}.attention.output.LayerNorm")
        made |= linear(f"{at}.intermediate.dense", INNER, WIDTH) | linear(f"{at}.output.dense", WIDTH, INNER)
        made |= norm(f"{at}.output.LayerNorm")
    return made


def safetensors(made: dict[str, Array], dtype: str = "F32") -> bytes:
    """The file of these tensors, https://github.com/huggingface/safetensors#format."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, values in made.items():
        data = _bytes(values, dtype)
        header[name] = {
            "dtype": dtype,
            "shape": list(values.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + body


def _bytes(values: Array, dtype: str) -> bytes:
    if dtype == "BF16":
        return (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    return values.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def files(dtype: str = "F32") -> dict[str, bytes]:
    """A whole checkpoint, by path from its folder."""
    modules = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    modules.append({"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"})
    return {
        "model.safetensors": safetensors(tensors(), dtype),
        "config.json": json.dumps(CONFIG).encode(),
        "vocab.txt": "\n".join((*WORDS, "")).encode(),
        "tokenizer_config.json": b'{"do_lower_case": true}',
        "modules.json": json.dumps(modules).encode(),
        "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false}',
    }


def write(folder: Path, changed: dict[str, bytes | None] | None = None, dtype: str = "F32") -> Path:
    """Lays a checkpoint out in ``folder``, with some files changed, or left out where None; returns its tensors."""
    for name, data in {**files(dtype), **(changed or {})}.items():
        if data is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    return folder / "model.safetensors"


# -- the reference -----------------------------------------------------------------------------------------------


def embed(words: list[str], pooling: str = "mean") -> Array:
    """The sentence vector, of length 1, of these words of the vocabulary between ``[CLS]`` and ``[SEP]``."""
    w = tensors()
    places = [WORDS.index(word) for word in ("[CLS]", *words, "[SEP]")]
    x = w["embeddings.word_embeddings.weight"][places] + w["embeddings.token_type_embeddings.weight"][0]
    x = _norm(w, "embeddings.LayerNorm", x + w["embeddings.position_embeddings.weight"][: len(places)])
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        query, key, value = (_heads(_linear(w, f"{at}.attention.self.{p}", x)) for p in ("query", "key", "value"))
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(WIDTH / HEADS)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (weights / weights.sum(-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(len(places), WIDTH)
        x = _norm(w, f"{at}.attention.output.LayerNorm", x + _linear(w, f"{at}.attention.output.dense", mixed))
        inner = _gelu(_linear(w, f"{at}.intermediate.dense", x))
        x = _norm(w, f"{at}.output.LayerNorm", x + _linear(w, f"{at}.output.dense", inner))
    vector = x[0] if pooling == "cls" else x.mean(0)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def _heads(x: Array) -> Array:
    return x.reshape(len(x), HEADS, WIDTH // HEADS).transpose(1, 0, 2)


def _linear(w: dict[str, Array], name: str, x: Array) -> Array:
    return np.asarray(x @ w[f"{name}.weight"].T + w[f"{name}.bias"], np.float32)


def _norm(w: dict[str, Array], name: str, x: Array) -> Array:
    scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPS)
    return np.asarray(scaled * w[f"{name}.weight"] + w[f"{name}.bias"], np.float32)


def _gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))), np.float32)
