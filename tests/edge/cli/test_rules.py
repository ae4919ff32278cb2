"""Rules and boards from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from penstock.edge.cli.main import main

FILE = """
models: {m: {engine: fake}}
services:
  assistant:
    model: m
    objectives:
      - {kind: latency, within_s: 2.5, target: 0.95}
"""


def test_rules_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "penstock.yaml").write_text(FILE)
    assert main(["rules", "-c", str(tmp_path / "penstock.yaml")]) == 0
    said = capsys.readouterr().out
    assert said.startswith("# Written by `penstock rules` from penstock.yaml.\n")
    assert [each["name"] for each in yaml.safe_load(said)["groups"]] == [
        "penstock-assistant-latency-2.5s",
        "penstock-gateway",
    ]


def test_rules_where_nothing_is_promised(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "penstock.yaml").write_text(FILE.split("    objectives")[0])
    assert main(["rules", "-c", str(tmp_path / "penstock.yaml")]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["groups"][0]["name"] == "penstock-availability"


def test_boards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "--boards", str(tmp_path / "boards")]) == 0
    written = sorted((tmp_path / "boards").iterdir())
    assert capsys.readouterr().out.count("wrote ") == len(written) == 4
    assert all(json.loads(each.read_bytes())["title"].startswith("Penstock: ") for each in written)


@pytest.mark.parametrize(
    ("objective", "said"),
    [
        ("{kind: latency}", "`kind: latency` lacks the key `within_s`; write the seconds, such as `within_s: 2`"),
        ("{kind: quality}", "`kind: quality` lacks the key `metric`; name the score, such as `metric: feedback`"),
        ("{kind: cost, within_s: 1, dollars: 1}", "`within_s` says nothing for `kind: cost`; remove it, or write"),
        ("{kind: availability, metric: x}", "remove it, or write `kind: quality`"),
        ("{kind: availability, target: 1}", "below 1"),
        ("{kind: latency, within_s: 2}, {kind: latency, within_s: 2, target: 0.5}", "two of `objectives` are called"),
    ],
)
def test_objectives_that_cannot_be_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], objective: str, said: str
) -> None:
    (tmp_path / "penstock.yaml").write_text(
        f"models: {{m: {{engine: fake}}}}\nservices: {{a: {{model: m, objectives: [{objective}]}}}}\n"
    )
    assert main(["check", "-c", str(tmp_path / "penstock.yaml")]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("receivers", "said"),
    [
        ("webhooks: [{url: https://x.example/a, template: slak}]", "did you mean `slack`?"),
        ("webhooks: [{url: https://x.example/a, template: pagerduty}]", "`template: pagerduty` lacks `key`"),
        ("webhooks: [{url: https://x.example/a, key: k}]", "`key` is not sent with `template: slack`"),
        ("webhooks: [{url: x.example}]", "url"),
        ("email: [{host: mail.example, sender: a@b, to: [c@d], user: u, password: p, starttls: false}]", "in clear"),
        ("email: [{host: mail.example, sender: a@b, to: [c@d], password: p}]", "`password` lacks `user`"),
        ("email: [{host: mail.example, sender: a@b, to: []}]", "to"),
    ],
)
def test_receivers_that_cannot_be_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], receivers: str, said: str
) -> None:
    (tmp_path / "penstock.yaml").write_text(
        f"models: {{m: {{engine: fake}}}}\nservices: {{a: {{model: m}}}}\nobserve: {{alerts: {{{receivers}}}}}\n"
    )
    assert main(["check", "-c", str(tmp_path / "penstock.yaml")]) == 1
    assert said in capsys.readouterr().err
