"""Models of a deployment file as versions, and back."""

from __future__ import annotations

from penstock.config import read
from penstock.config.versions import model_versions, text_of

FILE = b"""
models:
  small: &small
    engine: llamacpp
    weights: hf:org/small/model.gguf   # the usual one
    slots: 4
  large:
    <<: *small
    weights: ${WEIGHTS}
  hosted: {engine: openai, base_url: "https://api.example/v1", api_key: "${KEY}", model: gpt}
services:
  chat: {model: small}
"""
ENV = {"WEIGHTS": "hf:org/large/model.gguf", "KEY": "k-secret"}


def test_what_is_said_is_what_counts() -> None:
    versions = model_versions(FILE)
    other = FILE.replace(b"   # the usual one", b"").replace(b"slots: 4", b"slots:   4")
    assert versions == model_versions(other)
    assert list(versions) == ["small", "large", "hosted"]
    assert len({each.digest for each in versions.values()}) == 3
    changed = model_versions(FILE.replace(b"slots: 4", b"slots: 5"))
    assert changed["small"].digest != versions["small"].digest
    assert changed["hosted"] == versions["hosted"]
    assert (versions["small"].engine, versions["small"].weights) == ("llamacpp", "hf:org/small/model.gguf")
    assert versions["small"].id == f"small@{versions['small'].digest}"


def test_no_secret_is_in_it_and_it_gives_the_same_settings_back() -> None:
    versions = model_versions(FILE)
    assert b"k-secret" not in versions["hosted"].source
    assert b"${KEY}" in versions["hosted"].source
    before, after = read(FILE, "file", ENV), read(text_of(list(versions.values())), "store", ENV)
    assert after.models == before.models


def test_a_secret_in_the_file_itself_is_masked() -> None:
    versions = model_versions(FILE.replace(b"${KEY}", b"k-literal"))
    assert b"k-literal" not in versions["hosted"].source
    assert versions["hosted"].digest != model_versions(FILE)["hosted"].digest
