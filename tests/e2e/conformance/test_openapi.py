"""Schemathesis over our own OpenAPI file: thousands of made-up requests, good and bad, and no server error."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import Penstock, running

SEED = 20261121
RUN_S = 300.0
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
DEPLOYMENT = json.dumps(
    {
        "models": {"scripted": {"engine": "fake"}},
        "services": {"*": {"model": "scripted"}, "scripted": {"model": "scripted"}},
    }
)


@pytest.fixture(scope="module")
def fake() -> Iterator[Penstock]:
    with running(DEPLOYMENT) as penstock:
        yield penstock
        assert "Traceback" not in penstock.said()


@pytest.mark.parametrize("examples", [100, pytest.param(400, marks=pytest.mark.slow)])
def test_no_server_error(fake: Penstock, tmp_path: Path, examples: int) -> None:
    report = tmp_path / "report.json"
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("st")),
            "run",
            f"{fake.url}/openapi.json",
            # The admin API is tried by itself, in tests/edge/http/test_openapi_admin.py.
            "--include-path-regex=^/(v1/(chat|completions|embeddings|responses|models)|healthz|readyz|metrics|openapi)",
            f"--header=Authorization: Bearer {fake.key}",
            f"--seed={SEED}",
            "--generation-database=none",
            f"--max-examples={examples}",
            "--phases=examples,coverage,fuzzing",
            f"--checks={CHECKS}",
            "--continue-on-failure",
            "--no-color",
            "--workers=1",
            "--report=json",
            f"--report-json-path={report}",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    print(done.stdout[-3000:])
    assert report.exists()
