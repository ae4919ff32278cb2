"""Every example of the README and the pages runs: Python and shell against a server, deployment files checked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.config import read
from tests.docs.blocks import Block, blocks
from tests.e2e.running import Penstock, running
from tests.models import chat_weights, embedding_weights

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL = ("sh", "bash", "console", "shell")
UNDERSTOOD = {"python", "yaml", "json", *SHELL}
PLAIN = {"", "text", "mermaid", "diff"}
"""Languages of blocks that show something and say nothing that could be run."""
ADDRESS = "127.0.0.1:8080"
RUN_S = 90.0


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages and not block.reason]


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    """The services of the embedded default, from weights that are already here."""
    deployment = {
        "models": {
            "small": {"engine": "llamacpp", "weights": f"file:{chat_weights()}"},
            "minilm": {"engine": "llamacpp", "task": "embedding", "weights": f"file:{embedding_weights()}"},
        },
        "services": {"assistant": {"model": "small"}, "embed": {"model": "minilm"}},
    }
    with running(json.dumps(deployment)) as penstock:
        yield penstock


@pytest.fixture
def environment(server: Penstock, tmp_path: Path) -> dict[str, str]:
    """What a reader has who followed the README: a key in the environment, and the home folder where it is said to be."""
    (tmp_path / ".penstock").symlink_to(server.home)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    keys = {"PENSTOCK_API_KEY": server.key, "OPENAI_API_KEY": server.key}
    places = {"PENSTOCK_URL": server.url, "OPENAI_BASE_URL": server.base_url, "HOME": str(tmp_path)}
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    return kept | keys | places | path


def at(server: Penstock, text: str) -> str:
    """The example, with the server under test in place of the default address."""
    return text.replace(ADDRESS, server.url.removeprefix("http://")).replace(
        f"localhost:{ADDRESS[-4:]}", server.url.removeprefix("http://")
    )


def run(command: list[str], environment: dict[str, str], place: Path) -> str:
    done = subprocess.run(
        command, env=environment, cwd=place, capture_output=True, text=True, timeout=RUN_S, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("block", of("python"), ids=str)
def test_python(block: Block, server: Penstock, environment: dict[str, str], tmp_path: Path) -> None:
    run([sys.executable, "-W", "error", "-c", at(server, block.text)], environment, tmp_path)


@pytest.mark.parametrize("block", of(*SHELL), ids=str)
def test_shell(block: Block, server: Penstock, environment: dict[str, str], tmp_path: Path) -> None:
    text = at(server, block.text).replace("curl ", "curl --fail-with-body --silent --show-error --max-time 60 ")
    said = run(["bash", "-euo", "pipefail", "-c", commands(block.language, text)], environment, tmp_path)
    assert '"error":' not in said


def commands(language: str, text: str) -> str:
    """Of a console session only the lines after a prompt are commands, and what continues them."""
    if language != "console":
        return text
    typed: list[str] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            typed.append(line[2:])
        elif typed and typed[-1].endswith("\\"):
            typed.append(line)
    return "\n".join(typed)


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_deployment_files(block: Block) -> None:
    read(block.text.encode(), str(block), {})


@pytest.mark.parametrize("block", of("json"), ids=str)
def test_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", [block for block in BLOCKS if not block.reason], ids=str)
def test_every_block_is_run_or_says_why_not(block: Block) -> None:
    assert block.language in UNDERSTOOD | PLAIN, f"{block} is not run; give it a language, or a reason"


def test_the_readme_has_examples_of_each_kind() -> None:
    kinds = {block.language for block in BLOCKS if block.file.name == "README.md" and not block.reason}
    assert {"python", "yaml"} <= kinds
    assert kinds & set(SHELL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in _links(text):
        assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


def _links(text: str) -> Iterator[str]:
    for piece in text.split("](")[1:]:
        target = piece.split(")", 1)[0].split("#")[0]
        if target and "://" not in target and not target.startswith("mailto:"):
            yield target
