from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from penstock.core.errors import WEIGHTS_UNAVAILABLE, PenstockError
from penstock.weights import checkpoint
from penstock.weights.convert import convert
from penstock.weights.store import ModelStore
from tests import models
from tests.weights import bert, embedding_server
from tests.weights.doubles import Heard, sha256

SENTENCES = {
    "hello world": ["hello", "world"],
    "Playing the RIVER": ["play", "##ing", "the", "river"],
    "bánks zzz": ["bank", "##s", "[UNK]"],
}


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_llama_cpp_computes_what_the_checkpoint_means(tmp_path: Path, dtype: str) -> None:
    target = tmp_path / "tiny.gguf"
    convert(bert.write(tmp_path / "tiny", dtype=dtype), target, Heard())
    vectors = embedding_server.embed(target, list(SENTENCES))
    meant = np.array([bert.embed(words) for words in SENTENCES.values()])
    near = (vectors * meant).sum(1)
    assert near.min() > 0.998
    others = vectors @ meant.T
    assert all(others[i].argmax() == i for i in range(len(SENTENCES)))


def test_pooling_by_the_first_token(tmp_path: Path) -> None:
    changed: dict[str, bytes | None] = {"1_Pooling/config.json": b'{"pooling_mode_cls_token": true}'}
    target = tmp_path / "tiny.gguf"
    convert(bert.write(tmp_path / "tiny", changed), target, Heard())
    (vector,) = embedding_server.embed(target, ["hello world"])
    assert vector @ bert.embed(["hello", "world"], "cls") > 0.998


def test_the_default_embedding_model_knows_a_paraphrase() -> None:
    question, paraphrase, other = embedding_server.embed(
        models.embedding_weights(),
        ["How do I reset my password?", "How can I change a password I forgot?", "What do whales eat in winter?"],
    )
    assert len(question) == 384
    assert question @ paraphrase > 0.8
    assert abs(question @ other) < 0.2


def test_what_is_written(tmp_path: Path) -> None:
    source = bert.write(tmp_path / "tiny", {"vocab.txt": "\n".join(bert.WORDS[:-1]).encode()})
    heard = Heard()
    read = convert(source, tmp_path / "tiny.gguf", heard)
    assert set(read) == {source, *(source.parent / name for name in checkpoint.COMPANIONS)}
    assert heard.of("converting")[-1][1] > 0.9 * source.stat().st_size
    reader = GGUFReader(tmp_path / "tiny.gguf")
    said = {name: field.contents() for name, field in reader.fields.items()}
    assert said["general.architecture"] == "bert"
    assert said["bert.context_length"] == bert.POSITIONS
    assert said["bert.attention.causal"] is False
    assert said["bert.pooling_type"] == 1
    assert said["tokenizer.ggml.tokens"][4:10] == ["[MASK]", "▁hello", "▁world", "▁play", "ing", "s"]
    assert said["tokenizer.ggml.tokens"][12] == "▁[PAD12]"
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.1.ffn_down.weight"] == kinds["token_embd.weight"] == "Q8_0"
    assert kinds["position_embd.weight"] == kinds["blk.1.attn_q.bias"] == "F32"
    assert not [name for name in kinds if "pool" in name]


def test_the_same_checkpoint_gives_the_same_bytes(tmp_path: Path) -> None:
    source = bert.write(tmp_path / "tiny")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        convert(source, tmp_path / name / "tiny.gguf", Heard())
    assert (tmp_path / "a/tiny.gguf").read_bytes() == (tmp_path / "b/tiny.gguf").read_bytes()


def config(**changed: object) -> dict[str, bytes | None]:
    return {"config.json": json.dumps({**bert.CONFIG, **changed}).encode()}


def without(*names: str) -> dict[str, bytes | None]:
    kept = {name: values for name, values in bert.tensors().items() if name not in names}
    return {"model.safetensors": bert.safetensors(kept)}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"config.json": None}, "no config.json beside it"),
        ({"vocab.txt": None}, "no vocab.txt beside it"),
        ({"1_Pooling/config.json": None}, "no 1_Pooling/config.json beside it"),
        ({"config.json": b"{"}, "config.json is not what"),
        ({"config.json": b"{}"}, "config.json is not what .*hidden_size"),
        ({"vocab.txt": b"\xff"}, "not UTF-8"),
        ({"vocab.txt": b"hello\n"}, r"vocab.txt has no \[CLS\]"),
        ({"vocab.txt": b"a\n" * 99}, "has 99 words and config.json says 13"),
        ({"tokenizer_config.json": b'{"do_lower_case": false}'}, "cased"),
        ({"modules.json": b'[{"type": "sentence_transformers.models.Dense"}]'}, "a Dense layer after pooling"),
        ({"1_Pooling/config.json": b'{"pooling_mode_max_tokens": true}'}, "pooling is pooling_mode_max_tokens"),
        (config(model_type="roberta"), "a roberta model"),
        (config(hidden_act="relu"), "relu"),
        (config(num_hidden_layers=3), r"blk.2.attn_q.weight has the shape None"),
        (config(num_hidden_layers=1), "tensor encoder.layer.1"),
        (config(max_position_embeddings=99), "position_embd.weight has the shape"),
        (without("encoder.layer.1.attention.self.key.weight"), "blk.1.attn_k.weight has the shape None"),
        (without("encoder.layer.0.output.dense.bias"), "blk.0.ffn_down.bias has the shape None"),
        ({"model.safetensors": b"short"}, "not the whole"),
        ({"model.safetensors": b"\xff" * 100}, "not the whole"),
        ({"model.safetensors": (2).to_bytes(8, "little") + b"[]"}, "header cannot be read"),
        ({"model.safetensors": bert.safetensors(bert.tensors())[:-9]}, "not whole"),
    ],
)
def test_what_cannot_be_converted_is_refused(tmp_path: Path, changed: dict[str, bytes | None], said: str) -> None:
    source = bert.write(tmp_path / "tiny", changed)
    with pytest.raises(PenstockError, match=said) as caught:
        convert(source, tmp_path / "tiny.gguf", Heard())
    assert caught.value.fault is WEIGHTS_UNAVAILABLE


# -- through the store -------------------------------------------------------------------------------------------


def test_a_local_checkpoint_is_converted_once(tmp_path: Path) -> None:
    source = bert.write(tmp_path / "tiny")
    store, heard = ModelStore(tmp_path / "store"), Heard()
    kept = store.fetch(f"file:{source}", sha256=sha256(source.read_bytes()), progress=heard)
    assert heard.of("converting")
    assert kept.path.parent == store.root
    assert kept.path.name.endswith("-tiny.gguf")
    assert kept.sha256 == sha256(kept.path.read_bytes())
    again = Heard()
    assert store.fetch(f"file:{source}", progress=again) == kept
    assert again.steps == []


def test_a_checkpoint_that_changed_is_converted_again(tmp_path: Path) -> None:
    source = bert.write(tmp_path / "tiny")
    store = ModelStore(tmp_path / "store")
    first = store.fetch(f"file:{source}", progress=Heard())
    (source.parent / "1_Pooling/config.json").write_bytes(b'{"pooling_mode_cls_token": true}')
    second = store.fetch(f"file:{source}", progress=Heard())
    assert second.sha256 != first.sha256


def test_what_an_earlier_conversion_made_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = bert.write(tmp_path / "tiny")
    store = ModelStore(tmp_path / "store")
    store.fetch(f"file:{source}", progress=Heard())
    monkeypatch.setattr("penstock.weights.store.RECIPE", checkpoint.RECIPE + 1)
    assert store.cached(f"file:{source}") is None
    heard = Heard()
    store.fetch(f"file:{source}", progress=heard)
    assert heard.of("converting")


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path) -> None:
    source = bert.write(tmp_path / "tiny", {"vocab.txt": None})
    store = ModelStore(tmp_path / "store")
    with pytest.raises(PenstockError, match=r"no vocab.txt"):
        store.fetch(f"file:{source}", progress=Heard())
    assert store.cached(f"file:{source}") is None
    assert not list(store.root.glob("*.gguf"))
