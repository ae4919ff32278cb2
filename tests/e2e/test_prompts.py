"""Prompts of a running gateway: from their folder, read again, pushed, named and tried."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.e2e.running import Penstock, running, wait_until

FILE = """\
prompts: {folder}
models:
  script:
    engine: fake
    answers:
      - {{when: "Greet Ada.", text: "Hello Ada, how are you?"}}
      - {{when: "Welcome Ada!", text: "Welcome, dear Ada!"}}
      - {{text: "What?"}}
services:
  greeter: {{model: script, prompt: {prompt}, history: {{tokens: 60}}}}
  plain: {{model: script, defaults: {{max_tokens: 1}}}}
"""
GREETING = """\
variables: {name: {max_length: 20}}
system: You greet {{ name }}.
user: Greet {{ name }}.
tests:
  - {name: Ada, variables: {name: Ada}, rendered: {contains: [Greet Ada.]}, reply: {contains: [Ada]}}
"""


def asked(server: Penstock, **body: object) -> tuple[int, dict[str, object]]:
    reply = httpx.post(
        f"{server.base_url}/chat/completions",
        json={"model": "greeter", **body},
        headers={"authorization": f"Bearer {server.key}"},
        timeout=10,
    )
    return reply.status_code, reply.json()


def answer(server: Penstock, **body: object) -> str:
    code, said = asked(server, **body)
    assert code == 200, said
    return str(said["choices"][0]["message"]["content"])  # type: ignore[index]


def penstock(server: Penstock, *arguments: str, fails: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "penstock", *arguments],
        env=os.environ | {"PENSTOCK_HOME": str(server.home)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    return done.stderr if fails else done.stdout


def test_prompts_of_a_running_gateway(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "greeting.yaml").write_text(GREETING)
    with running(FILE.format(folder=folder, prompt="greeting")) as server:
        ada = {"name": "Ada"}
        assert answer(server, prompt_variables=ada) == "Hello Ada, how are you?"
        assert answer(server, prompt_variables=ada, messages=[{"role": "user", "content": "Hm"}]) == "What?"
        assert answer(server, model="plain", messages=[{"role": "user", "content": "Greet Ada."}]) == "Hello"
        for body, code, param in (
            ({"prompt_variables": {}}, "missing_required_parameter", "prompt_variables.name"),
            ({"prompt_variables": {"name": "x" * 21}}, "invalid_value", "prompt_variables.name"),
            ({"prompt_variables": {"name": 1}}, "invalid_type", "prompt_variables.name"),
            ({"prompt_variables": [1]}, "invalid_type", "prompt_variables"),
            ({"model": "plain", "prompt_variables": ada}, "invalid_value", "prompt_variables"),
            ({}, "missing_required_parameter", "messages"),
            (
                {"prompt_variables": ada, "messages": [{"role": "user", "content": "x" * 400}]},
                "context_length_exceeded",
                "messages",
            ),
        ):
            status, said = asked(server, **body)
            error = said["error"]
            assert isinstance(error, dict)
            assert (status, error["code"], error["param"]) == (400, code, param)
        assert "1 of 1 tests pass" in penstock(
            server, "prompts", "test", "--service", "greeter", "--dir", str(folder)
        )
        kept = penstock(server, "prompts", "push", str(folder), "-m", "the first").split()[0]
        penstock(server, "prompts", "alias", kept, "production")

        (folder / "greeting.yaml").write_text(
            GREETING.replace("user: Greet {{ name }}.", 'user: "Welcome {{ name }}!"')
        )
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: answer(server, prompt_variables=ada) == "Welcome, dear Ada!", 10.0, server.said)
        assert "Applied: changed prompt greeting " in server.said()

        named = tmp_path / "named.yaml"
        named.write_text(FILE.format(folder=folder, prompt="greeting@production"))
        penstock(server, "apply", "-c", str(named))
        assert answer(server, prompt_variables=ada) == "Hello Ada, how are you?"
        listed = json.loads(penstock(server, "prompts", "list", "--json"))
        assert {each["id"]: (each["current"], each["aliases"]) for each in listed}[kept] == (False, ["production"])
        assert len(listed) == 2

        named.write_text(FILE.format(folder=folder, prompt="greeting"))
        penstock(server, "apply", "-c", str(named))
        assert answer(server, prompt_variables=ada) == "Welcome, dear Ada!"
        named.write_text(FILE.format(folder=folder, prompt="greeting@gone"))
        refused = penstock(server, "apply", "-c", str(named), fails=True)
        assert "service greeter: there is no prompt greeting@gone. Push it" in refused
        assert answer(server, prompt_variables=ada) == "Welcome, dear Ada!"


def test_a_long_conversation_is_summarised_by_another_service() -> None:
    file = (
        FILE.replace("prompts: {folder}\n", "")
        .format(prompt="''")
        .replace(
            "history: {tokens: 60}",
            "history: {tokens: 300, policy: summarise, summariser: summary, summary_tokens: 40}",
        )
    )
    talk = [{"role": role, "content": "x" * 90} for _ in range(6) for role in ("user", "assistant")]
    with running(file + "  summary: {model: script}\n") as server:
        messages = [*talk, {"role": "user", "content": "Greet Ada."}]
        for _ in range(2):
            assert answer(server, messages=messages) == "Hello Ada, how are you?"
        key = {"authorization": f"Bearer {server.key}"}
        counted = httpx.get(f"{server.url}/metrics", headers=key, timeout=10).text.splitlines()
        requests = [line for line in counted if line.startswith("penstock_requests_total")]
        assert sum(float(line.rsplit(" ", 1)[1]) for line in requests if 'service="summary"' in line) == 1
