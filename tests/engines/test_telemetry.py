"""Engines' own metrics pages, as they were recorded: what is on one is read, and what is not is unknown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.serving import Replica
from penstock.engines.telemetry import ENGINES, Telemetry, read
from penstock.engines.telemetry_http import MetricsPages, nearby
from tests.contracts.double import Asked, Double, Played

PAGES = Path(__file__).parent / "recorded" / "metrics"


def page(name: str) -> str:
    return (PAGES / f"{name}.txt").read_text()


@pytest.mark.parametrize(
    ("name", "engine", "running", "waiting", "kv_use", "accepted", "drafted", "kept"),
    [
        ("vllm_0.10", "vLLM", 8, 2, 0.45, None, 30.0, 12.0),
        ("vllm_0.6", "vLLM", 3, 2, 0.42, None, None, None),
        ("sglang", "SGLang", 162, 2826, 0.28, None, None, None),
        # Ranks tell of the same requests; the whole is under no priority; a longer name is another metric.
        ("sglang_ranks", "SGLang", 2, 11, 0.42, 0.6, None, None),
        ("tgi", "TGI", 4, 7, None, None, None, None),
        ("trtllm", "TensorRT-LLM", None, None, 0.62, None, 20.0, 15.0),
        ("triton", "TensorRT-LLM on Triton", 4, 3, 0.6, None, None, None),
        ("llamacpp", "llama.cpp", 0, 0, None, None, 0.0, 0.0),
    ],
)
def test_each_engine_is_read_under_the_names_that_it_has_had(
    name: str,
    engine: str,
    running: int | None,
    waiting: int | None,
    kv_use: float | None,
    accepted: float | None,
    drafted: float | None,
    kept: float | None,
) -> None:
    told = read(page(name))
    assert told is not None
    assert (told.engine, told.running, told.waiting, told.kv_use) == (engine, running, waiting, kv_use)
    assert (told.accepted, told.drafted_tokens, told.accepted_tokens) == (accepted, drafted, kept)
    # A colon is lost on the way through some collectors.
    assert read(page(name).replace(":", "_")) == told


def test_a_renamed_metric_is_unknown_and_there_is_a_note() -> None:
    told = read(page("vllm_0.10").replace("kv_cache_usage_perc", "kv_blocks_in_use"))
    assert told is not None
    assert told.kv_use is None
    assert told.notes == (
        "vLLM does not tell how full its KV cache is: its page has none of vllm_kv_cache_usage_perc, "
        "vllm_gpu_cache_usage_perc",
    )
    assert read(page("vllm_0.10")).notes == read(page("llamacpp")).notes == read(page("tgi")).notes == ()


@pytest.mark.parametrize("text", ["", "{}", "<html>vllm</html>", "python_gc_objects_total 5\n", "[1, 2]"])
def test_a_page_of_nobody_we_know_says_nothing(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize("said", ["NaN", "+Inf", "1.5", "-1", "x"])
def test_what_is_no_share_is_unknown(said: str) -> None:
    told = read(f"vllm:kv_cache_usage_perc {said}\nvllm:num_requests_running 1\n")
    assert told is not None
    assert (told.kv_use, told.running) == (None, 1)


@given(st.text(alphabet='vllm_:num_requests_running{}="\\ ,0123456789.e+-\n#', max_size=300))
def test_whatever_comes_is_read_or_left(text: str) -> None:
    told = read(text)
    assert told is None or isinstance(told, Telemetry)


def test_every_engine_is_told_from_the_others() -> None:
    for names in ENGINES:
        for fact in ("running", "waiting", "kv_use", "accepted", "drafted_tokens", "accepted_tokens"):
            assert all(name.metric.startswith(names.prefix) for name in getattr(names, fact))


@pytest.mark.parametrize(
    ("url", "near"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://10.1.2.3/v1", True),
        ("http://vllm:8000/v1", True),
        ("http://vllm.models.svc.cluster.local/v1", True),
        ("https://api.openai.com/v1", False),
        ("https://8.8.8.8/v1", False),
        ("", False),
        ("http://[", False),
    ],
)
def test_hosts_elsewhere_are_not_asked(url: str, near: bool) -> None:
    assert nearby(url) is near


async def test_the_page_is_found_and_its_key_shown() -> None:
    asked: list[tuple[str, str | None]] = []

    def script(request: Asked) -> Played:
        asked.append((request.path, request.headers.get("authorization")))
        if request.path == "/metrics":
            return Played(pieces=[b'[{"iter": 1}]'])
        return Played(pieces=[page("trtllm").encode()])

    async with Double(script) as double:
        pages = MetricsPages()
        replica = Replica("r", "m", f"{double.url}/v1", key="secret")
        for _ in range(2):
            told = await pages.ask(replica)
            assert told is not None
            assert told.kv_use == 0.62
        await pages.aclose()
    # Once it is known where the page is, the other is not asked for any more.
    assert asked == [(path, "Bearer secret") for path in ("/metrics", "/prometheus/metrics", "/prometheus/metrics")]
