"""The OpenAI SDK's own test files, from its source distribution, against the running server.

They are written for a mock of the whole OpenAI API. What is left out needs things this server does not keep: stored
chat completions, and models that can be deleted; and the SDK's strict mode refuses the base64 that its own embeddings call
asks for, so the call that asks for nothing is run in the loose mode only. Everything else must pass; nothing may be
skipped.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.e2e.conformance.conftest import ADMIN_KEY
from tests.e2e.conformance.sdist import unpacked
from tests.e2e.running import Penstock

FILES = {
    "chat/test_completions.py": "Completions",
    "test_completions.py": "Completions",
    "test_embeddings.py": "Embeddings",
    "test_models.py": "Models",
}
STORED = "stored chat completions are not kept"
DELETED = "models belong to the deployment file and are not deleted over the API"
LEFT_OUT: Mapping[str, Mapping[str, Sequence[str]]] = {
    "chat/test_completions.py": {
        STORED: [
            f"test_{way}_{what}"
            for way in ("method", "raw_response", "streaming_response")
            for what in ("retrieve", "update", "list", "delete")
        ],
    },
    "test_models.py": {
        DELETED: ["test_method_delete", "test_raw_response_delete", "test_streaming_response_delete"],
    },
}
STRICT_LEFT_OUT = [
    f"tests/api_resources/test_embeddings.py::{group}::{name}[{mode}]"
    for group, modes in (("TestEmbeddings", ("strict",)), ("TestAsyncEmbeddings", ("strict", "aiohttp")))
    for name in ("test_method_create", "test_raw_response_create", "test_streaming_response_create")
    for mode in modes
]
RUN_S = 240.0


def left_out() -> list[str]:
    """The beginnings of the test ids that are not run."""
    return [
        f"tests/api_resources/{file}::{group}{FILES[file]}::{name}"
        for file, reasons in LEFT_OUT.items()
        for names in reasons.values()
        for name in names
        for group in ("Test", "TestAsync")
    ]


@pytest.fixture(scope="module")
def source() -> Path:
    return unpacked("openai")


def test_the_sdk_own_tests_pass(server: Penstock, source: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    deselected = [argument for name in (*left_out(), *STRICT_LEFT_OUT) for argument in ("--deselect", name)]
    files = [f"tests/api_resources/{file}" for file in FILES]
    options = ["-p", "no:cacheprovider", "-o", "addopts=", "--tb=short", f"--junitxml={report}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *deselected, *files],
        cwd=source,
        env={"TEST_API_BASE_URL": server.base_url, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    counted = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    without = re.search(r"(\d+) deselected", done.stdout)
    assert without is not None
    print(f"\nthe SDK's own tests: {counted['tests']} passed, {without[1]} left out")
    assert counted == {"tests": counted["tests"], "failures": 0, "errors": 0, "skipped": 0}
    assert counted["tests"] >= 100
    assert int(without[1]) < counted["tests"]


def test_what_is_left_out_is_there(source: Path) -> None:
    """A name that the SDK no longer has would leave out nothing, silently."""
    for file, reasons in LEFT_OUT.items():
        text = (source / "tests" / "api_resources" / file).read_text()
        for names in reasons.values():
            for name in names:
                assert f"def {name}(" in text, f"{file} has no {name}"


def test_the_key_is_the_suite_s(source: Path) -> None:
    assert f'api_key = "{ADMIN_KEY}"' in (source / "tests" / "conftest.py").read_text()
