"""``penstock rollout check``: a golden set against two releases."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.control.accounts.release_shown import ReleaseView
from penstock.control.accounts.rollout_shown import SplitView
from penstock.core.errors import BAD_REQUEST, MODEL_NOT_FOUND, UPSTREAM_FAILED, PenstockError
from penstock.edge.cli import golden_set, rollout_check
from penstock.edge.cli.main import main
from tests.control.rollouts.parts import NEW, OLD

Out = pytest.CaptureFixture[str]

SPLIT = SplitView(
    id="chat",
    shares={OLD: 100.0},
    sticky="user",
    segment=None,
    segment_shares={},
    mirror="",
    warm=(),
    rollout="",
    origin=OLD,
    changed_at=1.0,
)


def release(id: str, *ready: str) -> ReleaseView:
    return ReleaseView(
        id=id,
        service="chat",
        model="m@1",
        prompt="",
        index="",
        guards="",
        defaults=msgspec.Raw(b"{}"),
        author="",
        message="",
        created_at=1.0,
        share=0.0,
        segment_share=0.0,
        warm=True,
        rollout="",
        ready=ready,
        in_file=False,
    )


class Gateway:
    """``says`` is the reply of each release, or the error."""

    url = "http://gateway"

    def __init__(self) -> None:
        self.says: dict[str, str | PenstockError] = {OLD: '{"a": 1}', NEW: '{"a": 1}'}
        self.judged = "GRADE: 5"
        self.looks = 0
        self.forced = True
        self.asked: list[tuple[str, str, Any]] = []
        self._lock = threading.Lock()

    def ask(self, method: str, path: str, body: bytes | None = None, more: Mapping[str, str] = {}) -> bytes:
        return self.answered(method, path, body, more)[0]

    def answered(
        self, method: str, path: str, body: bytes | None = None, more: Mapping[str, str] = {}
    ) -> tuple[bytes, Mapping[str, str]]:
        asked = None if body is None else msgspec.json.decode(body)
        with self._lock:
            self.asked.append((method, path, asked))
        if path.startswith("/admin/v1/splits"):
            return msgspec.json.encode(SPLIT), {}
        if path.startswith("/admin/v1/releases/"):
            id = path.rpartition("/")[2]
            self.looks += id == NEW
            return msgspec.json.encode(release(id, *(["a"] if id == OLD or self.looks > 1 else []))), {}
        if path == "/v1/embeddings":
            vectors = {"data": [{"embedding": [1.0, float(text.startswith("{"))]} for text in asked["input"]]}
            return msgspec.json.encode(vectors), {}
        said: str | PenstockError = self.judged
        if asked["model"] == "chat":
            said = self.says[more["x-penstock-release"]]
        if isinstance(said, PenstockError):
            raise said
        answer = {"choices": [{"message": {"content": said}}], "usage": {"completion_tokens": 100}}
        drawn = more.get("x-penstock-release", "") if self.forced else OLD
        return msgspec.json.encode(answer), {"x-penstock-release": drawn}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Gateway:
    double = Gateway()
    monkeypatch.setattr(rollout_check, "reach", lambda url, env: double)
    monkeypatch.setattr(rollout_check, "_POLL_S", 0.0)
    monkeypatch.setattr(golden_set, "_TURN_S", 0.0)
    monkeypatch.chdir(tmp_path)
    golden(150)
    return double


def golden(rows: int, **more: Any) -> None:
    line = {"messages": [{"role": "user", "content": "{how"}], "max_tokens": 9} | more
    lines = [msgspec.json.encode({"id": f"row-{number}", **line}) for number in range(rows)]
    Path("golden.jsonl").write_bytes(b"\n".join(lines) + b"\n\n")


CHECK = ["rollout", "check", "chat", NEW, "--golden", "golden.jsonl"]
FORM = ["--gate", "format:0.1,json=true"]


def test_as_good_passes_with_a_report(gateway: Gateway, capsys: Out) -> None:
    assert main([*CHECK, *FORM]) == 0
    told = capsys.readouterr()
    assert f"150 rows of a golden set: {NEW} against {OLD}" in told.out
    assert "PASSED" in told.out
    assert told.err == f"{NEW} is being loaded.\n"
    asked = [body for _, path, body in gateway.asked if path == "/v1/chat/completions"]
    assert len(asked) == 300
    assert asked[0] == {"messages": [{"role": "user", "content": "{how"}], "max_tokens": 9, "model": "chat"}
    warmed = [body for method, path, body in gateway.asked if path.endswith("/warm") and method == "POST"]
    assert warmed == [{"release": NEW, "for_s": 3600.0}]


def test_worse_fails_with_the_rows(gateway: Gateway, capsys: Out) -> None:
    gateway.says[NEW] = "no JSON"
    assert main([*CHECK, *FORM, "--json"]) == 1
    assert msgspec.json.decode(capsys.readouterr().out)["outcomes"][0]["says"] == "worse"
    assert main([*CHECK, *FORM]) == 1
    told = capsys.readouterr().out
    assert "WORSE" in told
    assert "row-0: 0.00 against 1.00" in told


def test_too_few_rows_fail(gateway: Gateway, capsys: Out) -> None:
    golden(3)
    assert main([*CHECK, *FORM]) == 1
    assert "too few rows to know" in capsys.readouterr().out


def test_a_candidate_that_fails_scores_nothing(gateway: Gateway, capsys: Out) -> None:
    gateway.says[NEW] = PenstockError(UPSTREAM_FAILED, "broken")
    assert main(CHECK) == 1
    assert "success is worse" in capsys.readouterr().out


def test_models_that_score_are_asked(gateway: Gateway, capsys: Out) -> None:
    golden(150, reference="{good")
    gates = [
        "--gate",
        "close,scorer=similarity,service=embed",
        "--gate",
        "good,scorer=judge,service=judge,rubric=kind",
    ]
    gates += ["--gate", "latency,bound=60", "--gate", "speed,bound=1"]
    assert main([*CHECK, *gates, "--alpha", "0.2"]) == 0
    told = capsys.readouterr().out
    for metric in ("close", "good", "latency", "speed"):
        assert metric in told
    assert ("POST", "/v1/embeddings", {"model": "embed", "input": ['{"a": 1}', "{good"]}) in gateway.asked
    gateway.judged = "I cannot say."
    assert main([*CHECK, *gates]) == 1
    assert "no score of 150 rows" in capsys.readouterr().out


def test_what_was_answered_by_another_release_decides_nothing(gateway: Gateway, capsys: Out) -> None:
    gateway.forced = False
    assert main(CHECK) == 1
    assert "another release" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "text", "says"),
    [
        ([], "no json", "line 1"),
        ([], '{"id": 1, "messages": []}', "line 1"),
        ([], '{"prompt": "x"}', "neither"),
        ([], '{"messages": [], "stream": true}', "take 'stream' out"),
        ([], "", "has 0 rows"),
        (["--gate", "latency"], None, "needs a bound"),
        (["--gate", "cost,bound=1"], None, "nothing for cost"),
        (["--gate", "feedback.resolved"], None, "nothing for feedback"),
        (["--gate", "kindness"], None, "Nobody reports"),
        (["--against", NEW], None, "--against"),
    ],
)
def test_input_that_makes_no_sense(
    gateway: Gateway, capsys: Out, line: list[str], text: str | None, says: str
) -> None:
    if text is not None:
        Path("golden.jsonl").write_text(text)
    assert main([*CHECK, *line]) == 2
    assert says in capsys.readouterr().err
    assert not any(path.startswith("/v1/") for _, path, _ in gateway.asked)


def test_a_row_that_the_champion_refuses_is_bad_input(gateway: Gateway, capsys: Out) -> None:
    gateway.says[OLD] = PenstockError(BAD_REQUEST, "'max_tokens' is too large")
    assert main(CHECK) == 2
    assert "refuses it" in capsys.readouterr().err


def test_a_release_that_is_not_there_is_no_verdict(
    gateway: Gateway, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*asked: object) -> bytes:
        raise PenstockError(MODEL_NOT_FOUND, "There is no release 'rel_gone'.")

    monkeypatch.setattr(gateway, "ask", refuses)
    assert main(CHECK) == 2
    assert "There is no release 'rel_gone'." in capsys.readouterr().err
