from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.errors import WEIGHTS_UNAVAILABLE, PenstockError
from penstock.weights import address as addresses
from penstock.weights.hf import choose
from penstock.weights.store import ModelStore
from tests.weights.doubles import Cancel, CancelsAt, Heard, files_below, gguf, sha256
from tests.weights.hub import COMMIT, Hub

SMALL, BIG = gguf(200_000, 1), gguf(400_000, 2)
PARTS = [f"big/m-Q8_0-0000{number}-of-00002.gguf" for number in (1, 2)]
MODELS = {
    "README.md": b"# hello",
    "m-Q4_0.gguf": SMALL,
    "mmproj-Q4_0.gguf": b"GGUF",
    PARTS[0]: BIG[:250_000],
    PARTS[1]: b"GGUF" + BIG[250_000:],
}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub(dict(MODELS)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def test_a_quantization_is_found_by_its_name(store: ModelStore, hub: Hub) -> None:
    heard = Heard()
    kept = store.fetch("hf:org/repo:q4_0", progress=heard)
    assert kept.path.read_bytes() == SMALL
    assert kept.path.name == f"{sha256(SMALL)[:12]}-m-Q4_0.gguf"
    assert heard.of("downloading")[-1][1:] == (len(SMALL), len(SMALL))
    asked = len(hub.asked)
    assert store.fetch("hf:org/repo:q4_0", progress=heard) == kept
    assert len(hub.asked) == asked
    assert files_below(store.root) == {kept.path.name}


def test_a_file_at_a_revision(store: ModelStore, hub: Hub) -> None:
    kept = store.fetch("hf:org/repo/m-Q4_0.gguf@v1", progress=Heard())
    assert kept.path.read_bytes() == SMALL
    assert any("/revision/v1" in one.path for one in hub.asked)
    assert any(f"/resolve/{COMMIT}/" in one.path for one in hub.asked)


def test_all_parts_come_and_lie_together(store: ModelStore, hub: Hub) -> None:
    kept = store.fetch("hf:org/repo:Q8_0", progress=Heard())
    whole = MODELS[PARTS[0]] + MODELS[PARTS[1]]
    assert (kept.sha256, kept.size) == (sha256(whole), len(whole))
    assert kept.path.name == "m-Q8_0-00001-of-00002.gguf"
    assert kept.path.with_name("m-Q8_0-00002-of-00002.gguf").read_bytes() == MODELS[PARTS[1]]


def test_parts_that_were_finished_are_not_fetched_again(store: ModelStore, hub: Hub) -> None:
    with pytest.raises(Cancel):
        store.fetch("hf:org/repo:Q8_0", progress=CancelsAt("00002-of"))
    store.fetch("hf:org/repo:Q8_0", progress=Heard())
    assert len(hub.gets(f"/cdn/{PARTS[0]}")) == 1
    assert len(hub.gets(f"/cdn/{PARTS[1]}")) == 2


def test_a_connection_that_drops_is_resumed(store: ModelStore, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 50_000)
    hub.cuts = [100_000]
    assert store.fetch("hf:org/repo:Q4_0", progress=Heard()).path.read_bytes() == SMALL
    assert hub.gets("/cdn/m-Q4_0.gguf")[1].headers["range"] == "bytes=100000-"


def test_bytes_other_than_the_hub_announces_are_refused(store: ModelStore, hub: Hub) -> None:
    hub.files["/cdn/m-Q4_0.gguf"].data = gguf(200_000, 9)
    with pytest.raises(PenstockError, match="damaged on its way"):
        store.fetch("hf:org/repo:Q4_0", progress=Heard())
    assert files_below(store.root) == set()


def test_the_token_is_sent(store: ModelStore, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_secret"
    with pytest.raises(PenstockError, match=r"shows no repository .*HF_TOKEN"):
        store.fetch("hf:org/repo:Q4_0", progress=Heard())
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert store.fetch("hf:org/repo:Q4_0", progress=Heard()).path.read_bytes() == SMALL


def test_a_gated_repository_says_how_to_get_in(store: ModelStore, hub: Hub) -> None:
    hub.token, hub.gated = "hf_secret", True
    with pytest.raises(PenstockError, match="gated; accept its terms"):
        store.fetch("hf:org/repo:Q4_0", progress=Heard())


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("hf:org/repo:Q5_K_M", "no Q5_K_M; its quantizations are Q4_0, Q8_0"),
        ("hf:org/other:Q4_0", "shows no repository org/other"),
        ("hf:org/repo:Q4_0@v9", "no revision v9"),
        ("hf:org/repo/none.gguf", r"no file none.gguf; it has m-Q4_0.gguf"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(store: ModelStore, hub: Hub, address: str, said: str) -> None:
    with pytest.raises(PenstockError, match=said) as caught:
        store.fetch(address, progress=Heard())
    assert caught.value.fault is WEIGHTS_UNAVAILABLE


def test_a_hub_that_fails(store: ModelStore, hub: Hub) -> None:
    hub.statuses = [418] * 20
    with pytest.raises(PenstockError, match="the hub answered 418"):
        store.fetch("hf:org/repo:Q4_0", progress=Heard())


def test_a_hub_that_is_not_there(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(PenstockError, match=r"cannot be reached .*HF_ENDPOINT"):
            store.fetch("hf:org/repo:Q4_0", progress=Heard())


@pytest.mark.parametrize(
    ("quant", "files", "chosen"),
    [
        ("Q4_K", ["m-Q4_K_M.gguf", "m-Q4_K.gguf"], ["m-Q4_K.gguf"]),
        ("q4_k_m", ["M.Q4_K_M.gguf", "M.Q4_K_S.gguf"], ["M.Q4_K_M.gguf"]),
        ("F16", ["m_f16.gguf", "m_bf16.gguf"], ["m_f16.gguf"]),
        ("Q6_K", ["Q6_K/m-00001-of-00002.gguf", "Q6_K/m-00002-of-00002.gguf"], None),
        ("UD-Q2_K", ["m-UD-Q2_K.gguf", "m-Q2_K.gguf"], ["m-UD-Q2_K.gguf"]),
    ],
)
def test_choosing_a_file(quant: str, files: list[str], chosen: list[str] | None) -> None:
    assert choose(addresses.Hub("org/repo", quant=quant), files) == tuple(chosen or files)


@pytest.mark.parametrize(
    ("quant", "files", "said"),
    [
        ("Q2_K", ["a-Q2_K.gguf", "b-Q2_K.gguf"], "end of a-Q2_K.gguf, b-Q2_K.gguf; name one"),
        ("Q2_K", ["model.safetensors"], "no GGUF file at all"),
        ("Q2_K", ["m-Q2_K-00001-of-00002.gguf"], "lacks m-Q2_K-00002-of-00002.gguf"),
    ],
)
def test_choosing_no_file(quant: str, files: list[str], said: str) -> None:
    with pytest.raises(PenstockError, match=said):
        choose(addresses.Hub("org/repo", quant=quant), files)
