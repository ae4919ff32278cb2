"""A secret planted in every place of a deployment, through every source, is looked for wherever text comes out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from penstock.assembly.difference import difference
from penstock.config import ConfigErrors, load, loaded
from penstock.edge.cli.main import main
from tests.config import vault_double as wire
from tests.config.vault_double import Vault

MARK = "pl4nted-s3cr3t"

GOOD = """
server: {{tls: {{certificate: /tmp/c.pem, key: /tmp/k.pem, password: "{it}"}}}}
state: {{store: "postgresql://u:{it}@h/n"}}
access: {{counters: "redis://:{it}@h", pepper: "{it}", oidc: [{{issuer: "https://i", audience: "{it}"}}]}}
cache: {{redis: {{url: "redis://:{it}@h"}}}}
models:
  a: {{engine: openai, base_url: "https://h/{it}", api_key: "{it}", headers: {{x-key: "{it}"}}, proxy: "http://u:{it}@p:1"}}
  b: {{engine: anthropic, api_key: ["{it}", "x{it}"]}}
  c: {{engine: openai, replicas: [{{base_url: "http://h/{it}", api_key: "{it}"}}]}}
services: {{s: {{model: a, fallback: [b, c]}}}}
"""

BAD = [
    'models: {{m: {{engine: "{it}"}}}}',
    'models: {{m: {{engine: llamacpp, weights: "{it}", sha256: "{it}", slots: "{it}", params: {{a: "{it}"}}}}}}',
    'models: {{m: {{engine: openai, base_url: "{it}", proxy: "{it}", timeout_s: "{it}", headers: "{it}"}}}}',
    'models: {{m: {{engine: fake}}}}\nservices: {{s: {{model: "{it}", fallback: ["{it}"], aliases: ["{it} "]}}}}',
    'cache: {{redis: {{url: "{it}", read_s: "{it}"}}, s3: {{place: "{it}"}}, memory: "{it}"}}',
    'cache: {{redis: {{url: "http://:{it}@h"}}}}\nmodels: {{m: {{engine: fake}}}}\nservices: {{s: {{model: m}}}}',
    'server: {{port: "{it}", host: "{it}", max_body_bytes: "{it}", tls: "{it}"}}',
    'state: {{journal: {{sync_ms: "{it}"}}, ledger_days: "{it}"}}\naccess: {{stale_after_s: "{it}", oidc: "{it}"}}',
]

Plant = Callable[[str], str]


@pytest.fixture(params=["environment", "file", "command", "vault"])
def plant(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """Has a secret in the source, and gives what a file writes for it."""
    with Vault("t", answers := {}) as vault:
        monkeypatch.setenv("VAULT_ADDR", vault.address)
        monkeypatch.setenv("VAULT_TOKEN", "t")

        def planted(text: str) -> str:
            match request.param:
                case "environment":
                    monkeypatch.setenv("PLANTED", text)
                    return "${PLANTED}"
                case "file":
                    (tmp_path / "planted").write_text(text + "\n")
                    return f"${{file:{tmp_path}/planted}}"
                case "command":
                    (tmp_path / "say").write_text(text)
                    return f"${{command:cat {tmp_path}/say}}"
            answers["/v1/secret/data/p"] = (200, wire.version_2({"f": text}))
            return "${vault:secret/data/p#f}"

        yield planted


def test_a_good_file_shows_it_nowhere(plant: Plant, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = GOOD.format(it=plant(MARK)).encode()
    old = loaded(text, "f.yaml", os.environ, commands=True)
    assert old.file.models["a"].api_key == MARK  # type: ignore[union-attr]
    assert MARK in old.file.state.store
    assert old.file.cache.redis
    assert MARK in old.file.cache.redis.url
    plant(MARK + "-2")
    new = loaded(text, "f.yaml", os.environ, commands=True)
    found = difference(old.file, new.file, old.hidden | new.hidden)
    assert len(found.changed) >= 3
    (tmp_path / "f.yaml").write_bytes(text)
    assert main(["check", "-c", str(tmp_path / "f.yaml")]) == 0
    told = capsys.readouterr()
    out = [repr(old), str(old.file), repr(found), told.out, told.err]
    out += [
        repr(part)
        for part in (old.file.server, old.file.state, old.file.access, old.file.cache, *old.file.models.values())
    ]
    assert MARK not in "\n".join(out)
    assert msgspec.json.encode(found).find(MARK.encode()) < 0


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_file_shows_it_in_no_mistake(
    plant: Plant, bad: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "f.yaml"
    path.write_text(bad.format(it=plant(MARK)))
    with pytest.raises(ConfigErrors) as caught:
        load(path, os.environ)
    assert main(["check", "-c", str(path)]) == 1
    told = capsys.readouterr()
    mistakes = repr(caught.value.mistakes) + repr(caught.value) + str(caught.value)
    assert MARK not in told.out + told.err + mistakes
    assert told.err.count("\n") >= 1


def test_a_source_that_fails_says_so_in_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "f.yaml"
    line = f"{sys.executable} {tmp_path}/fail.py"
    (tmp_path / "fail.py").write_text(f"import sys\nprint('{MARK}')\nprint('{MARK}', file=sys.stderr)\nsys.exit(2)\n")
    path.write_text(
        f"models:\n  m: {{engine: openai, api_key: '${{command:{line}}}'}}\n"
        f"  n: {{engine: openai, api_key: '${{file:{tmp_path}/none}}'}}\nservices: {{s: {{model: m}}}}\n"
    )
    assert main(["check", "-c", str(path)]) == 1
    told = capsys.readouterr()
    assert f"{path}:2: models.m.api_key: the command {sys.executable} failed with exit code 2" in told.err
    assert f"{path}:3: models.n.api_key: the file {tmp_path}/none is not there; write it" in told.err
    assert MARK not in told.out + told.err
