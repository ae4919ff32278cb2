"""The command line over the real thing: a project with a key, limits, a budget and a price, from making to export."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from decimal import Decimal
from pathlib import Path

import pandas as pd

from tests.e2e.running import Penstock, running, wait_until

FILE = "models: {quick: {engine: fake}}\nservices: {quick: {model: quick}}\n"
ASKED = json.dumps({"model": "quick", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello there"}]})


class Terminal:
    """Runs ``penstock`` as its user would, in the home of a server."""

    def __init__(self, server: Penstock) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        self._env = kept | {"PENSTOCK_HOME": str(server.home)}
        self._place = server.home.parent

    def run(self, *line: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "penstock", *line],
            env=self._env, cwd=self._place, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == code, f"{line}: {done.stdout}\n{done.stderr}"
        return done.stdout + (done.stderr if code else "")


def call(server: Penstock, key: str, asked: str = ASKED) -> tuple[int, str, dict[str, object]]:
    """Status, request id and body of one answer."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(server.base_url + "/chat/completions", asked.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, reply.headers["x-request-id"], json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, "", json.load(error)


def code_of(body: dict[str, object]) -> object:
    error = body["error"]
    assert isinstance(error, dict)
    return error["code"]


def test_a_key_from_its_making_to_its_end() -> None:
    with running(FILE) as server:
        penstock = Terminal(server).run
        penstock("projects", "create", "red", "--name", "Team Red")
        key = penstock("keys", "create", "--project", "red", "--service", "quick").strip()
        key_id = json.loads(penstock("keys", "list", "--project", "red", "--json"))[0]["id"]
        assert key.startswith(f"pk-{key_id}-")

        penstock("budgets", "set", "project:red", "1.00", "--per", "day")
        wait_until(lambda: code_of(call(server, key)[2]) == "model_without_price", 5.0, server.said)
        penstock("prices", "set", "quick", "--input", "100", "--output", "200")
        wait_until(lambda: call(server, key)[0] == 200, 5.0, server.said)
        penstock("limits", "set", f"key:{key_id}", "--requests", "3/minute")
        status, request_id, body = call(server, key)
        assert status == 200
        usage = body["usage"]
        assert isinstance(usage, dict)
        cost = Decimal(usage["prompt_tokens"] * 100 + usage["completion_tokens"] * 200) / 1_000_000

        def recorded() -> str:
            return penstock("usage", "show", request_id)

        wait_until(lambda: penstock("usage", "--json") and f"${cost:f}".rstrip("0") in recorded(), 10.0, server.said)
        refused = wait_until(
            lambda: next((b for s, _, b in [call(server, key)] if s == 429), None), 10.0, server.said
        )
        assert code_of(refused) == "rate_limit_exceeded"
        penstock("limits", "set", f"key:{key_id}", "--requests", "10k/minute")

        # A day's budget that is used up names itself.
        penstock("budgets", "set", "project:red", "0.001", "--per", "day")
        refused = wait_until(
            lambda: next((b for s, _, b in [call(server, key)] if s == 429), None), 10.0, server.said
        )
        assert code_of(refused) == "budget_exceeded"
        penstock("budgets", "set", "project:red", "1", "--per", "day")
        (budget,) = json.loads(penstock("budgets", "list", "--json"))
        penstock("budgets", "remove", budget["id"], "--yes")

        new = penstock("keys", "rotate", key_id, "--grace", "1h").strip()
        wait_until(lambda: call(server, new)[0] == 200, 5.0, server.said)
        assert call(server, key)[0] == 200
        wait_until(lambda: _added_up(penstock, server.home.parent), 10.0, server.said)

        penstock("audit", "head", "-o", "heads.jsonl")
        penstock("keys", "revoke", key_id, code=2)
        penstock("keys", "revoke", key_id, "--yes")
        wait_until(lambda: call(server, new)[0] == 401, 1.0, server.said)
        assert code_of(call(server, new)[2]) == "key_revoked"
        # The secret before it, whose grace was not over, is forgotten.
        assert call(server, key)[0] == 401
        assert "The audit is whole" in penstock("audit", "verify", "--head", "heads.jsonl")
        done = [row["action"] for row in json.loads(penstock("audit", "list", "--actor", "admin", "--json"))]
        assert done[0] == "keys.revoke"
        assert {"projects.create", "keys.create", "keys.rotate", "prices.create", "budgets.delete"} <= set(done)
        assert "There is no key 'nobody'" in penstock("keys", "show", "nobody", code=1)
        assert not any(secret in server.said() for secret in (key, new))


def _added_up(penstock: object, place: Path) -> bool:
    """Whether what was exported, both ways, adds up to what the gateway says it does."""
    assert callable(penstock)
    penstock("usage", "export", "--project", "red", "-o", "red.parquet")
    penstock("usage", "export", "--project", "red", "-o", "red.csv")
    (total,) = json.loads(penstock("usage", "--by", "project", "--project", "red", "--json"))
    parquet, csv = pd.read_parquet(place / "red.parquet"), pd.read_csv(place / "red.csv")
    if len(parquet) != len(csv):
        return False
    sums = (len(csv), csv["output_tokens"].sum(), Decimal(int(csv["cost_nano"].sum())) / 10**9)
    assert sums[2] == Decimal(int(parquet["cost_nano"].sum())) / 10**9
    return sums == (total["rows"], total["tokens"]["output"], Decimal(total["cost"])) and sums[2] > 0
