"""Which parameters a model runs with: what the machine and the file allow, what the operator says, what is refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import PenstockError
from penstock.engines.config import LlamaCpp
from penstock.engines.llamacpp_gguf import Gguf, read_gguf
from penstock.engines.llamacpp_settings import Machine, chosen
from penstock.engines.llamacpp_templates import with_tools
from tests.models import chat_weights, embedding_weights

ROOMY = Machine(cores=2, memory=16 << 30)
SMALL = LlamaCpp(weights="file:m.gguf")


@pytest.fixture(scope="module")
def smol() -> Gguf:
    return read_gguf(chat_weights())


@given(cores=st.integers(1, 256), replicas=st.integers(1, 8))
def test_a_core_is_left_for_the_gateway_when_there_is_one(cores: int, replicas: int) -> None:
    settings = msgspec.structs.replace(SMALL, replicas=replicas)
    threads = chosen(settings, _gguf(), Machine(cores, 16 << 30))["cpuparams.n_threads"]
    assert isinstance(threads, int)
    assert threads >= 1
    assert threads == 1 or threads * replicas <= cores - 1


@given(memory=st.integers(64 << 20, 64 << 30), slots=st.integers(1, 64))
def test_the_cache_of_a_chosen_context_fits_the_memory_or_is_refused(memory: int, slots: int) -> None:
    gguf = _gguf()
    try:
        values = chosen(msgspec.structs.replace(SMALL, slots=slots), gguf, Machine(2, memory))
    except PenstockError as refused:
        assert "lower context or slots" in refused.message  # noqa: PT017
        return
    assert gguf.kv_token_bytes * int(values["n_ctx"]) <= memory
    assert int(values["n_ctx"]) % slots == 0


def test_what_the_operator_says_wins(smol: Gguf) -> None:
    settings = msgspec.structs.replace(
        SMALL, threads=3, slots=2, context=1024, gpu_layers=5, params={"n_batch": 7, "sampling.temp": 0.5}
    )
    values = chosen(settings, smol, ROOMY)
    assert values["cpuparams.n_threads"] == 3
    assert (values["n_parallel"], values["n_ctx"], values["n_gpu_layers"]) == (2, 2048, 5)
    assert (values["n_batch"], values["sampling.temp"]) == (7, 0.5)


@pytest.mark.parametrize("name", ["port", "api_keys", "model.path", "hostnames"])
def test_what_only_penstock_may_set_is_refused(smol: Gguf, name: str) -> None:
    with pytest.raises(PenstockError, match=f"params.{name} cannot be set"):
        chosen(msgspec.structs.replace(SMALL, params={name: "x"}), smol, ROOMY)


def test_a_context_that_does_not_fit_is_refused_with_both_numbers(smol: Gguf) -> None:
    with pytest.raises(PenstockError, match=r"needs .* MiB, and 64 MiB are free"):
        chosen(msgspec.structs.replace(SMALL, context=8192), smol, Machine(2, 64 << 20))


def test_the_model_s_own_facts_are_read(smol: Gguf) -> None:
    assert smol.context == 8192
    assert 100_000_000 < smol.parameters < 200_000_000
    embedder = read_gguf(embedding_weights())
    values = chosen(msgspec.structs.replace(SMALL, task="embedding"), embedder, ROOMY)
    assert values["embedding"] is True
    assert values["n_ubatch"] == values["n_batch"]


def test_a_template_that_knows_tools_is_left_alone() -> None:
    assert with_tools("{{ tools }}") == "{{ tools }}"
    assert with_tools("{{ messages }}").endswith("{{ messages }}")


def _gguf() -> Gguf:
    return Gguf(context=8192, parameters=134_000_000, kv_token_bytes=23_040, chat_template="")
