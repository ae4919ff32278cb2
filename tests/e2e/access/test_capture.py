"""Prompts and replies in the audit of a running gateway: what clients said and saw, nothing that is secret, in a chain
that stays whole when a row is redacted and does not when somebody changes it."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.e2e.running import STOP_S, Penstock, running, wait_until

ENDLESS = "on " * 5000
ANSWERS = [
    {"when": "endless", "text": ENDLESS, "chunk_delay_s": 0.01},
    {"when": "weather", "tool_calls": [{"name": "weather", "arguments": '{"city": "Oslo"}'}], "text": "Let me look."},
]
DEPLOYMENT = {
    "server": {"workers": 2, "access_log": "off"},
    "state": {"audit": {"capture": "content"}},
    "models": {"quick": {"engine": "fake", "answers": ANSWERS}},
    "services": {"quick": {"model": "quick"}},
}
WITHIN_S = 20.0


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    with running(json.dumps(DEPLOYMENT)) as penstock:
        yield penstock
        assert "Traceback" not in penstock.said()


@pytest.fixture(scope="module")
def client(server: Penstock) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {server.key}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=WITHIN_S, trust_env=False) as found:
        yield found


def asked(text: str, **fields: object) -> dict[str, object]:
    return {"model": "quick", "messages": [{"role": "user", "content": text}], **fields}


def rows(client: httpx.Client, **query: str) -> list[Any]:
    reply = client.get("/admin/v1/audit", params=query)
    assert reply.status_code == 200, reply.text
    found: list[Any] = reply.json()["data"]
    return found


def row(client: httpx.Client, request_id: str) -> Any:
    found = wait_until(lambda: rows(client, request_id=request_id, kind="content"), WITHIN_S)
    assert len(found) == 1
    return found[0]


def said(content: Any) -> str:
    return "".join(choice.get("content", {}).get("text", "") for choice in content["reply"])


def heard(stream: str) -> str:
    """The text of a stream of chat chunks."""
    events = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data: {")]
    return "".join(
        choice["delta"].get("content") or "" for event in events for choice in json.loads(event)["choices"]
    )


def whole(client: httpx.Client) -> bool:
    told = client.post("/admin/v1/audit/verify").json()
    assert told["whole"] is not bool(told["findings"])
    return bool(told["whole"])


def test_a_whole_answer_and_a_stream(server: Penstock, client: httpx.Client) -> None:
    reply = client.post("/v1/chat/completions", json=asked("What is ten and ten?"))
    message = reply.json()["choices"][0]["message"]["content"]
    kept = row(client, reply.headers["x-request-id"])
    assert (kept["action"], kept["outcome"], kept["target"]) == ("requests.answered", "ok", "quick")
    assert (kept["actor"], kept["project"], kept["address"]) == ("admin", "default", "127.0.0.1")
    assert kept["content"]["request"]["json"] == asked("What is ten and ten?")
    assert said(kept["content"]) == message
    assert kept["content"]["reply"][0]["content"]["sha256"] == hashlib.sha256(message.encode()).hexdigest()

    reply = client.post("/v1/chat/completions", json=asked("And more?", stream=True, n=2))
    kept = row(client, reply.headers["x-request-id"])
    assert len(kept["content"]["reply"]) == 2
    assert sorted(said(kept["content"])) == sorted(heard(reply.text))


def test_other_endpoints(server: Penstock, client: httpx.Client) -> None:
    reply = client.post("/v1/completions", json={"model": "quick", "prompt": "Once"})
    kept = row(client, reply.headers["x-request-id"])["content"]
    assert (kept["request"]["json"]["prompt"], said(kept)) == ("Once", reply.json()["choices"][0]["text"])

    reply = client.post("/v1/embeddings", json={"model": "quick", "input": ["a text", "another"]})
    kept = row(client, reply.headers["x-request-id"])["content"]
    assert (kept["request"]["json"]["input"], kept["reply"]) == (["a text", "another"], [])

    reply = client.post("/v1/responses", json={"model": "quick", "input": "Respond"})
    kept = row(client, reply.headers["x-request-id"])["content"]
    output = [part["text"] for item in reply.json()["output"] for part in item.get("content", ())]
    assert said(kept) == "".join(output)
    assert "Respond" in json.dumps(kept["request"])

    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    reply = client.post("/v1/chat/completions", json=asked("weather", tools=tools, stream=True))
    (choice,) = row(client, reply.headers["x-request-id"])["content"]["reply"]
    (called,) = choice["tool_calls"]
    assert (called["name"], json.loads(called["arguments"]["text"])) == ("weather", {"city": "Oslo"})
    assert said({"reply": [choice]}) == heard(reply.text)


def test_a_websocket(server: Penstock, client: httpx.Client) -> None:
    url = server.url.replace("http", "ws", 1) + "/v1/websocket"
    with connect(url, additional_headers={"authorization": f"Bearer {server.key}"}, proxy=None) as socket:
        socket.send(json.dumps({"id": "ws-1", "body": asked("Over a socket", stream=True)}))
        frames = [json.loads(socket.recv(WITHIN_S))]
        while "done" not in frames[-1]:
            frames.append(json.loads(socket.recv(WITHIN_S)))
    text = "".join(
        choice["delta"].get("content") or ""
        for frame in frames
        if "chunk" in frame
        for choice in frame["chunk"]["choices"]
    )
    kept = [each for each in rows(client, kind="content") if "Over a socket" in json.dumps(each["content"])]
    assert [said(each["content"]) for each in kept] == [text]


def test_a_client_that_leaves_got_no_more_than_is_kept(server: Penstock, client: httpx.Client) -> None:
    got = ""
    with client.stream("POST", "/v1/chat/completions", json=asked("endless", stream=True)) as reply:
        request_id = reply.headers["x-request-id"]
        for line in reply.iter_lines():
            got += line + "\n"
            if len(heard(got)) > 30:
                break
    kept = row(client, request_id)
    assert (kept["action"], kept["outcome"]) == ("requests.left", "client_gone")
    assert said(kept["content"]).startswith(heard(got))
    assert len(said(kept["content"])) < len(ENDLESS), "it was broken off"


def test_a_very_long_prompt_is_kept_in_part(server: Penstock, client: httpx.Client) -> None:
    body = json.dumps(asked("long " * 200_000), separators=(",", ":")).encode()
    reply = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    request = row(client, reply.headers["x-request-id"])["content"]["request"]
    assert (request["bytes"], request["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    assert body.decode().startswith(request["beginning"])
    assert len(request["beginning"]) == 256 << 10


def test_what_was_sent_to_nobody_is_not_kept(server: Penstock, client: httpx.Client) -> None:
    reply = client.post("/v1/chat/completions", json=asked("nowhere") | {"model": "unknown"})
    assert reply.status_code == 404
    client.post("/v1/chat/completions", json=asked("somewhere"))
    assert not rows(client, request_id=reply.headers["x-request-id"])


def test_a_projects_policy_holds_from_the_next_request_on(server: Penstock, client: httpx.Client) -> None:
    client.post("/admin/v1/projects", json={"id": "quiet", "capture": "none"}).raise_for_status()
    made = client.post("/admin/v1/keys", json={"project": "quiet", "role": "developer"}).raise_for_status().json()
    headers = {"authorization": f"Bearer {made['secret']}"}

    def call() -> str:
        reply = client.post("/v1/chat/completions", json=asked("A patient's name"), headers=headers)
        reply.raise_for_status()
        return str(reply.headers["x-request-id"])

    silent = call()
    client.patch("/admin/v1/projects/quiet", json={"capture": "hashes"}).raise_for_status()

    def hashed() -> Any:
        return rows(client, request_id=call(), kind="content")

    (kept,) = wait_until(hashed, WITHIN_S)
    assert set(kept["content"]["request"]) == {"bytes", "sha256"}
    assert kept["project"] == "quiet"
    assert kept["actor"] == made["key"]["id"]
    assert not rows(client, request_id=silent)
    assert "patient" not in json.dumps(rows(client, project="quiet"))


def test_keys_are_nowhere(server: Penstock, client: httpx.Client) -> None:
    body = asked(f"My key {server.key} does not work") | {"metadata": {"key": server.key}}
    reply = client.post("/v1/chat/completions", json=body)
    kept = row(client, reply.headers["x-request-id"])
    assert "My key pk-admin-*** does not work" in json.dumps(kept["content"])
    for file in (*server.home.glob("state.db*"), *server.home.glob("journal/*")):
        assert server.key.encode() not in file.read_bytes(), file.name


def test_new_deployments_and_those_who_may_not_are_in_it(server: Penstock, client: httpx.Client) -> None:
    services = {**DEPLOYMENT["services"], "also": {"model": "quick"}}  # type: ignore[dict-item]
    text = json.dumps(DEPLOYMENT | {"services": services})
    client.put("/admin/deployment", content=text).raise_for_status()
    assert client.put("/admin/deployment", content="services: {a: {modell: b}}").status_code == 400
    refused, applied = rows(client, action="deployment.apply")[:2]
    assert (refused["outcome"], applied["outcome"]) == ("bad_deployment", "ok")
    assert applied["content"]["changed"] == ["added service also: quick"]
    assert applied["content"]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert applied["address"] == "127.0.0.1"

    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: rows(client, action="deployment.apply", actor="SIGHUP"), WITHIN_S, server.said)

    made = client.post("/admin/v1/keys", json={"project": "default", "role": "viewer"}).raise_for_status().json()
    headers = {"authorization": f"Bearer {made['secret']}"}
    for _ in range(15):
        assert client.get("/admin/v1/audit", headers=headers).status_code == 403
    denied = rows(client, action="admin.denied", actor=made["key"]["id"])
    assert {(each["target"], each["outcome"]) for each in denied} == {("GET /admin/v1/audit", "permission_denied")}
    assert len(denied) == 10, "the audit cannot be flooded"


def test_what_waits_is_measured(server: Penstock, client: httpx.Client) -> None:
    text = client.get("/metrics").text
    assert "penstock_journal_waiting_bytes " in text
    assert "penstock_store_away 0.0" in text
    assert "penstock_journal_damaged_total 0.0" in text


def test_redacting_keeps_the_chain_whole_and_changing_it_does_not() -> None:
    with running(json.dumps(DEPLOYMENT)) as server:
        headers = {"authorization": f"Bearer {server.key}"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=WITHIN_S, trust_env=False) as client:
            ids = [
                client.post("/v1/chat/completions", json=asked(f"Secret {n}")).headers["x-request-id"]
                for n in range(4)
            ]
            numbers = [row(client, each)["number"] for each in ids]
            assert whole(client)
            redact = {"numbers": [numbers[0]], "reason": "a name"}
            assert client.post("/admin/v1/audit/redact", json=redact).json()["redacted"] == 1
            assert whole(client)
            assert row(client, ids[0])["content"] is None
            assert row(client, ids[1])["content"] is not None
            _stopped(server)
        _check_end(server)
        changes = {
            "edited": ("UPDATE audit SET outcome = 'changed' WHERE number = ?", numbers[1]),
            "content": ("UPDATE audit_content SET content = x'7b7d' WHERE number = ?", numbers[2]),
        }
        assert _found(server, changes) == set(changes)
        removals = {
            "removed": ("DELETE FROM audit WHERE number = ?", numbers[1]),
            "cut": ("DELETE FROM audit WHERE number > ?", numbers[2]),
        }
        assert _found(server, removals) >= set(removals)


def _stopped(server: Penstock) -> None:
    server.process.send_signal(signal.SIGINT)
    server.process.wait(STOP_S)


def _check_end(server: Penstock) -> None:
    """All that was done before a stop is in the store then, and signed."""
    with closing(sqlite3.connect(server.home / "state.db")) as store:
        (last,) = store.execute("SELECT max(number) FROM audit").fetchone()
    heads = [json.loads(line) for line in (server.home / "audit-heads").read_text().splitlines()]
    assert heads[-1]["number"] == last


def _found(server: Penstock, changes: Mapping[str, tuple[str, int]]) -> set[str]:
    """The faults that are found in the same home, changed by somebody who can write its database and served again."""
    home = server.home.with_name("home-" + "-".join(changes))
    shutil.copytree(server.home, home)
    with closing(sqlite3.connect(home / "state.db")) as store, store:
        for change, number in changes.values():
            store.execute(change, (number,))
    with running(json.dumps(DEPLOYMENT), env={"PENSTOCK_HOME": str(home)}) as again:
        key = next(line for line in (home / "credentials").read_text().splitlines() if "PENSTOCK_API_KEY=" in line)
        request = urllib.request.Request(
            again.url + "/admin/v1/audit/verify",
            data=b"",
            headers={"authorization": f"Bearer {key.partition('=')[2]}"},
        )
        with urllib.request.urlopen(request, timeout=WITHIN_S) as reply:
            told = json.load(reply)
    assert not told["whole"]
    return {each["fault"] for each in told["findings"]}
