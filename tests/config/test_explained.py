"""The words of the schema beside the lines of a deployment file."""

from __future__ import annotations

from penstock.config import embedded
from penstock.config.explained import explained

FILE = """\
server:
  port: 8080
models:
  small: &small
    engine: llamacpp
    weights: "file:/m.gguf"
  again: *small
services:
  chat:
    model: small
    fallback: [again]
nonsense: 1
"""


def test_every_known_key_has_its_line_and_its_words() -> None:
    found = {each.key: each for each in explained(FILE)}
    assert found["server.port"].line == 2
    assert "port" in found["server.port"].about.lower()
    assert found["models.small.weights"].takes == "text"
    assert "GGUF" in found["models.small.weights"].about
    assert "llama.cpp" in found["models.small"].about
    assert found["services.chat.model"].line == 10
    assert "nonsense" not in found


def test_the_embedded_file_is_explained_key_by_key() -> None:
    lines = embedded().decode().splitlines()
    words = {each.line for each in explained(embedded().decode())}
    keys = {number for number, line in enumerate(lines, 1) if ":" in line and not line.strip().startswith("#")}
    assert keys <= words


def test_what_is_no_file_has_no_words() -> None:
    assert explained("a: [") == ()
    assert explained("- 1") == ()


def test_a_file_that_holds_itself_ends() -> None:
    assert [each.key for each in explained("models: &a {b: *a}")] == ["models", "models.b"]
