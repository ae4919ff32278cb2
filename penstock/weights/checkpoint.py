"""A BERT sentence encoder as sentence-transformers lays it out: which files, what they say, and whether it can be
served. Reads the small files only; the tensors are for the conversion.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from penstock.core.errors import WEIGHTS_UNAVAILABLE, PenstockError

CONFIG, VOCABULARY, TOKENIZER = "config.json", "vocab.txt", "tokenizer_config.json"
MODULES, POOLING = "modules.json", "1_Pooling/config.json"
COMPANIONS = (CONFIG, VOCABULARY, TOKENIZER, MODULES, POOLING)
"""What is read beside ``model.safetensors``, by its path from there. All but the third and fourth must be there."""

RECIPE = 1
"""Counts the versions of the conversion; a GGUF that an earlier one made is made again."""

_KNOWN_MODULES = frozenset({"Transformer", "Pooling", "Normalize"})
_S = TypeVar("_S")


class Shape(msgspec.Struct, frozen=True):
    """``config.json`` of a BERT encoder: its sizes, and what llama.cpp takes for granted."""

    hidden_size: int
    intermediate_size: int
    max_position_embeddings: int
    num_attention_heads: int
    num_hidden_layers: int
    vocab_size: int
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    model_type: str = "bert"
    hidden_act: str = "gelu"
    position_embedding_type: str = "absolute"


class _Tokenizer(msgspec.Struct, frozen=True):
    do_lower_case: bool = True
    cls_token: str = "[CLS]"  # noqa: S105 a word of the vocabulary
    sep_token: str = "[SEP]"  # noqa: S105
    pad_token: str = "[PAD]"  # noqa: S105
    unk_token: str = "[UNK]"  # noqa: S105
    mask_token: str = "[MASK]"  # noqa: S105


class _Module(msgspec.Struct, frozen=True):
    type: str
    path: str = ""


class _Pooling(msgspec.Struct, frozen=True):
    pooling_mode_cls_token: bool = False
    pooling_mode_mean_tokens: bool = False
    pooling_mode_max_tokens: bool = False
    pooling_mode_mean_sqrt_len_tokens: bool = False


class Special(msgspec.Struct, frozen=True):
    """Places in the vocabulary of the words that are none."""

    cls: int
    sep: int
    pad: int
    unk: int
    mask: int


class Checkpoint(msgspec.Struct, frozen=True):
    """What the small files say. ``words`` is the vocabulary in order; ``read`` are the files that were looked at."""

    shape: Shape
    words: tuple[str, ...]
    special: Special
    pooling: Literal["mean", "cls"]
    read: tuple[Path, ...]


def read_checkpoint(tensors: Path) -> Checkpoint:
    """Reads what lies beside ``tensors``.

    Raises ``PenstockError`` (``WEIGHTS_UNAVAILABLE``) when something is missing, damaged, or would be served wrongly
    by llama.cpp's ``bert``: another architecture or activation, a cased vocabulary, a layer after pooling.
    """
    folder = tensors.parent
    shape = _json(tensors, CONFIG, Shape)
    if (shape.model_type, shape.hidden_act, shape.position_embedding_type) != ("bert", "gelu", "absolute"):
        raise refused(
            tensors,
            f"it is a {shape.model_type} model with {shape.hidden_act} and {shape.position_embedding_type} "
            "positions; only bert with gelu and absolute positions is converted here",
        )
    tokenizer = _json(tensors, TOKENIZER, _Tokenizer) if (folder / TOKENIZER).is_file() else _Tokenizer()
    if not tokenizer.do_lower_case:
        raise refused(tensors, "its vocabulary is cased, and llama.cpp lowers the case of every BERT prompt")
    if (folder / MODULES).is_file():
        for module in _json(tensors, MODULES, list[_Module]):
            if (kind := module.type.rpartition(".")[2]) not in _KNOWN_MODULES:
                raise refused(tensors, f"it has a {kind} layer after pooling, which llama.cpp would leave out")
    words = _words(tensors, shape.vocab_size)
    return Checkpoint(
        shape=shape,
        words=words,
        special=_special(tensors, words, tokenizer),
        pooling=_pooling(tensors),
        read=(tensors, *(folder / name for name in COMPANIONS if (folder / name).is_file())),
    )


def refused(tensors: Path, why: str) -> PenstockError:
    """The error of a checkpoint that cannot be converted."""
    mend = "convert it to GGUF with llama.cpp's own tools and name that file"
    return PenstockError(WEIGHTS_UNAVAILABLE, f"Cannot convert {tensors.name}: {why}; {mend}")


def _words(tensors: Path, size: int) -> tuple[str, ...]:
    try:
        text = (tensors.parent / VOCABULARY).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise refused(tensors, f"there is no {VOCABULARY} beside it") from None
    except UnicodeDecodeError:
        raise refused(tensors, f"{VOCABULARY} is not UTF-8") from None
    words = text.removesuffix("\n").split("\n")
    if len(words) > size:
        raise refused(tensors, f"{VOCABULARY} has {len(words)} words and {CONFIG} says {size}")
    return tuple(words) + tuple(f"[PAD{place}]" for place in range(len(words), size))


def _special(tensors: Path, words: tuple[str, ...], tokenizer: _Tokenizer) -> Special:
    place = {word: index for index, word in enumerate(words)}
    try:
        return Special(
            cls=place[tokenizer.cls_token],
            sep=place[tokenizer.sep_token],
            pad=place[tokenizer.pad_token],
            unk=place[tokenizer.unk_token],
            mask=place[tokenizer.mask_token],
        )
    except KeyError as missing:
        raise refused(tensors, f"{VOCABULARY} has no {missing.args[0]}") from None


def _pooling(tensors: Path) -> Literal["mean", "cls"]:
    modes = _json(tensors, POOLING, _Pooling)
    on = {name for name in modes.__struct_fields__ if getattr(modes, name)}
    if on == {"pooling_mode_mean_tokens"}:
        return "mean"
    if on == {"pooling_mode_cls_token"}:
        return "cls"
    raise refused(
        tensors, f"its pooling is {', '.join(sorted(on)) or 'none'}; only mean or cls alone is converted here"
    )


def _json(tensors: Path, name: str, kind: type[_S]) -> _S:
    try:
        return msgspec.json.decode((tensors.parent / name).read_bytes(), type=kind)
    except FileNotFoundError:
        raise refused(tensors, f"there is no {name} beside it") from None
    except msgspec.DecodeError as fault:
        raise refused(tensors, f"{name} is not what sentence-transformers writes ({fault})") from None
