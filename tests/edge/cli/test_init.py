"""``penstock init``: which model for which machine, and a file that holds whatever is chosen."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.config import read
from penstock.edge.cli.init import deployment
from penstock.edge.cli.machine import Machine, Memory
from penstock.edge.cli.main import main
from penstock.edge.cli.starters import SMALLEST, TABLE, Starter, best, brisk, fits
from penstock.engines.config import LlamaCpp
from penstock.weights import address

GIB = 1 << 30


def machine(cores: float, gib: float) -> Machine:
    return Machine(cores=cores, memory=Memory(int(gib * GIB), int(gib * GIB)))


def test_the_table_names_at_most_eight_models_from_the_hub() -> None:
    from_hub = [address.parse(starter.address) for starter in TABLE if starter.address.startswith("hf:")]
    assert 0 < len(from_hub) <= 8
    assert all(isinstance(one, address.Hub) for one in from_hub)
    assert [starter.needs for starter in TABLE] == sorted(starter.needs for starter in TABLE)


@pytest.mark.parametrize(
    ("cores", "memory", "chosen"),
    [
        (0.5, 0.25, "smollm2"),
        (2, 2, "smollm2"),
        (1, 8, "qwen3-0.6b"),
        (2, 8, "qwen3-1.7b"),
        (2, 64, "qwen3-30b-a3b"),
        (4, 16, "qwen3-4b"),
        (8, 16, "qwen3-8b"),
        (16, 32, "qwen3-14b"),
        (64, 256, "qwen3-32b"),
        (64, 4, "smollm2"),
    ],
)
def test_the_model_for_a_machine(cores: float, memory: float, chosen: str) -> None:
    assert best(machine(cores, memory)).name == chosen


@given(st.floats(0.1, 256), st.floats(0, 2048))
def test_what_is_chosen_fits_and_more_of_everything_is_never_worse(cores: float, memory: float) -> None:
    here, more = machine(cores, memory), machine(cores * 2, memory * 2)
    assert best(here) is SMALLEST or (fits(best(here), here) and brisk(best(here), here))
    assert TABLE.index(best(more)) >= TABLE.index(best(here))


@pytest.mark.parametrize("starter", TABLE, ids=lambda starter: starter.name)
def test_whatever_is_written_is_valid(starter: Starter) -> None:
    file = read(deployment(starter, machine(2, 8)).encode(), "f", {})
    settings = file.models[file.services["assistant"].model]
    assert isinstance(settings, LlamaCpp)
    assert settings.weights == starter.address


def test_what_is_commented_out_is_valid_too() -> None:
    text = deployment(SMALLEST, machine(2, 8))
    begin = text.index("  # hosted:")
    block = text[begin : text.index("\n\n", begin)]
    mended = text.replace(block, block.replace("  # ", "  ")).replace("# fallback", "fallback")
    assert read(mended.encode(), "f", {"OPENAI_API_KEY": "k"}).services["assistant"].fallback == ["hosted"]


def test_it_writes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PENSTOCK_CONFIG", raising=False)
    assert main(["init"]) == 0
    assert capsys.readouterr().out.endswith("next: penstock up\n")
    assert main(["check"]) == 0
    Path("penstock.yaml").write_text("mine")
    assert main(["init"]) == 1
    assert "`penstock init --force penstock.yaml` overwrites it" in capsys.readouterr().err
    assert Path("penstock.yaml").read_text() == "mine"
    assert main(["init", "--force", "--model", "smollm2"]) == 0
    assert SMALLEST.address in Path("penstock.yaml").read_text()
    assert main(["init", "my file.yaml"]) == 0
    assert capsys.readouterr().out.endswith("next: penstock up -c 'my file.yaml'\n")
    assert main(["init", "no/such/folder.yaml"]) == 1
    assert capsys.readouterr().err == "penstock: no/such/folder.yaml: No such file or directory\n"
