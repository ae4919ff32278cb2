"""Whatever the bytes: a deployment, or mistakes. Nothing else, and soon."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.config import ConfigErrors, embedded, read

VALID = (
    embedded()
    + b"""
server: {host: "${HOST:-::1}", port: 1, max_body_bytes: 16MiB}
"""
).replace(
    b"  minilm:", b'  hosted: &h {engine: openai, api_key: ["${KEY}"]}\n  more: {<<: *h, timeout_s: 3.5}\n  minilm:'
)
WORDS = [b"{", b"}", b"[", b"]", b": ", b"- ", b"\n", b"\t", b"&a ", b"*a", b"<<: ", b"${", b"${KEY}", b"!!", b"|", b">",
         b"'", b'"', b"#", b"%", b"---\n", b"~", b"1e999", b"0x", b"-", b"?", b"\xff", b"\0", b"\xe2\x80\xa8", b"engine",
         b"models", b"9" * 5000, b"\\UFFFFFFFF", b"%YAML 1.\xc2\xb2\n---\n", b"!<", b"2001-99-99", b"=", b".nan"]  # fmt: skip


def stands(raw: bytes) -> None:
    """Any exception but ``ConfigErrors`` fails the test that calls this."""
    mistakes = mistakes_in(raw)
    if mistakes is not None:
        assert mistakes.mistakes
        assert len(mistakes.message.splitlines()) == len(mistakes.mistakes)
        assert "s3cr3t" not in mistakes.message


def mistakes_in(raw: bytes) -> ConfigErrors | None:
    try:
        read(raw, "f.yaml", {"KEY": "s3cr3t"})
    except ConfigErrors as errors:
        return errors
    return None


def test_what_is_mutated_is_valid() -> None:
    assert len(read(VALID, "f.yaml", {"KEY": "k"}).models) == 4


@given(st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_junk_bytes(raw: bytes) -> None:
    stands(raw)


@given(st.lists(st.sampled_from(WORDS) | st.binary(max_size=3), max_size=40).map(b"".join))
@settings(max_examples=500, deadline=None)
def test_junk_of_yaml(raw: bytes) -> None:
    stands(raw)


@given(st.integers(min_value=0, max_value=2**32), st.integers(min_value=1, max_value=6))
@settings(max_examples=500, deadline=None)
def test_a_valid_file_with_random_changes(seed: int, changes: int) -> None:
    choice = random.Random(seed)
    raw = bytearray(VALID)
    for _ in range(changes):
        start = choice.randrange(len(raw))
        end = min(len(raw), start + choice.choice([0, 0, 1, 4, 30]))
        raw[start:end] = choice.choice([b"", choice.choice(WORDS), raw[end : end + 20]])
    stands(bytes(raw))
