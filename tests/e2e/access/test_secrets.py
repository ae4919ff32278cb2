"""A secret planted in every input is in no output: logs, pages, errors, dumps, arguments, whatever the store is."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.config import vault_double as wire
from tests.config.vault_double import Vault
from tests.e2e.access.house import Admin, Wire, id_of
from tests.e2e.access.planted import Search, echoing, marked
from tests.e2e.running import Penstock, running, wait_until
from tests.postgres import Postgres, postgres
from tests.redis import RedisServer

__all__ = ["postgres"]

STATUSES = (200, 400, 401, 403, 404, 422, 429, 500, 503)
SOURCES = ("env", "file", "command", "vault")
PEPPER = b"Pl4nt3d-P3pper-of-32-bytes-9Zx7q"
NAMES = (
    *(f"api_key-{source}" for source in SOURCES),
    *("upstream-header", "proxy-password", "admin-key", "store-password", "redis-password", "tls-password"),
    *("prompt", "header", "cookie", "presented", "query", "body"),
)
SECRETS = {name: marked(name.replace("-", "_")) for name in NAMES}


def deployment(folder: Path, upstream: str, store: str, counters: str) -> dict[str, object]:
    """Every place of a deployment file that holds a secret, with one, from every source."""
    for source in ("file", "command"):
        (folder / source).write_text(SECRETS[f"api_key-{source}"] + "\n")
    sources = {
        "env": "${PLANTED_KEY}",
        "file": f"${{file:{folder}/file}}",
        "command": f"${{command:cat {folder}/command}}",
        "vault": "${vault:secret/data/planted#key}",
    }
    models: dict[str, object] = {
        f"echo-{status}": {
            "engine": "openai",
            "base_url": f"{upstream}/{status}/v1",
            "api_key": sources[SOURCES[number % len(SOURCES)]],
            "headers": {"x-upstream": "${PLANTED_HEADER}"},
        }
        for number, status in enumerate(STATUSES)
    }
    models["proxied"] = {
        "engine": "openai",
        "base_url": "http://upstream.invalid/v1",
        "api_key": sources["env"],
        "proxy": f"http://user:{SECRETS['proxy-password']}@127.0.0.1:9",
    }
    models["quick"] = {"engine": "fake"}
    return {
        "server": {"workers": 2, "access_log": str(folder / "access.log")},
        "state": {"store": store},
        "access": {"counters": counters, "pepper": base64.b64encode(PEPPER).decode()},
        "models": models,
        "services": {name: {"model": name, "retry": {"attempts": 1}} for name in models},
    }


@contextlib.contextmanager
def on_sqlite(folder: Path, upstream: str) -> Iterator[dict[str, object]]:
    yield deployment(folder, upstream, "", "")


@contextlib.contextmanager
def on_postgresql_and_redis(folder: Path, upstream: str, postgres: Postgres) -> Iterator[dict[str, object]]:
    postgres.execute(f"CREATE ROLE planted LOGIN SUPERUSER PASSWORD '{SECRETS['store-password']}'")
    try:
        with postgres.database() as url, RedisServer() as redis:
            redis.ask("CONFIG", "SET", "requirepass", SECRETS["redis-password"])
            counters = redis.url.replace("redis://", f"redis://:{SECRETS['redis-password']}@")
            store = postgres.url(url.rpartition("/")[2], "planted", SECRETS["store-password"])
            yield deployment(folder, upstream, store, counters)
    finally:
        postgres.execute("DROP ROLE planted")


def bad_requests(wire: Wire, key: str) -> Iterator[tuple[str, bytes]]:
    """Dozens of requests that cannot be answered, with a secret wherever one may slip in; what was answered."""
    prompt, inside = SECRETS["prompt"], SECRETS["body"]
    good = {"model": "quick", "messages": [{"role": "user", "content": prompt}], "max_tokens": 3}
    bodies: list[object] = [
        *({**good, "model": f"echo-{status}"} for status in STATUSES),
        *({**good, "model": f"echo-{status}", "stream": True} for status in STATUSES),
        {**good, "model": "proxied"},
        {**good, "messages": inside},
        {**good, "messages": [inside]},
        {**good, "messages": [{"role": inside, "content": "x"}]},
        {**good, "messages": [{"role": "user", "content": {"secret": inside}}]},
        {**good, "max_tokens": inside},
        {**good, "temperature": inside},
        {**good, "n": inside},
        {**good, "stop": {"a": inside}},
        {**good, "tools": inside},
        {**good, "stream_options": inside},
        {**good, "model": [inside]},
        {"messages": good["messages"]},
        json.dumps(good)[:-3].encode(),
        inside.encode(),
        b"\xff" + inside.encode(),
        json.dumps([inside]).encode(),
    ]
    headers = {
        "x-secret": SECRETS["header"],
        "cookie": f"session={SECRETS['cookie']}",
        "x-api-key": SECRETS["header"],
    }
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
        for body in bodies:
            yield path, wire.ask("POST", path, body, key=key, headers=headers).body
    for name in ("x-penstock-timeout", "x-penstock-priority"):
        yield name, wire.ask("POST", "/v1/chat/completions", good, key=key, headers={name: SECRETS["header"]}).body
    presented = SECRETS["presented"]
    for path in ("/v1/models", "/admin/v1/keys", "/admin/live", "/v1/usage/none"):
        for bad in (presented, f"pk-admin-{presented}", f"{presented}.{presented}.{presented}", key + presented):
            answer = wire.get(path, bad)
            assert answer.status in (401, 403), (path, bad, answer)
            yield path, answer.body
    for path in (f"/v1/models?key={SECRETS['query']}", f"/admin/v1/keys?limit={SECRETS['query']}"):
        yield path, wire.get(path, key).body


def bad_acts(admin: Admin) -> Iterator[tuple[str, bytes]]:
    """Administrative requests that are refused."""
    inside = SECRETS["body"]
    for path in ("/keys", "/projects", "/users", "/limits", "/budgets", "/prices", "/roles", "/teams"):
        for body in ({"id": [inside]}, {"name": {"a": inside}}, inside.encode(), {"expires_at": inside}):
            answer = admin.ask("POST", path, body)
            assert answer.status in (400, 404, 422), (path, body, answer)
            yield path, answer.body


def pages(server: Penstock, admin: Admin) -> Iterator[tuple[str, bytes]]:
    """Everything that can be read over HTTP."""
    wire = Wire(server, server.key)
    paths = ["/metrics", "/admin/live", "/admin/deployment", "/openapi.json", "/readyz", "/healthz", "/v1/models"]
    paths += [f"/admin/v1/{each}" for each in ("keys", "projects", "users", "roles", "limits", "budgets", "prices")]
    paths += ["/admin/v1/keys/red", "/admin/v1/usage?by=key,model", "/admin/v1/usage/entries", "/admin/v1/audit"]
    paths += ["/admin/v1/usage/export", "/admin/v1/usage/export?format=parquet", "/admin/v1/audit/head"]
    for path in paths:
        answer = wire.get(path)
        assert answer.status in (200, 404), (path, answer)
        yield path, answer.body
    yield "verify", admin.ask("POST", "/audit/verify").body


def commands(server: Penstock, env: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """What the command line prints of the file, and of what would change."""
    config = json.loads(server.file.read_text())
    config["models"]["echo-200"]["api_key"] = "${file:" + str(server.home.parent / "other") + "}"
    config["models"]["quick"] = {"engine": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": "${PLANTED_KEY}"}
    tls = {"certificate": "/nowhere.crt", "key": "/nowhere.key", "password": "${PLANTED_TLS}"}
    config["server"]["tls"] = tls
    for model in config["models"].values():
        if str(model.get("api_key", "")).startswith("${command"):
            model["api_key"] = "${vault:secret/data/planted#key}"
    (server.home.parent / "other").write_text(SECRETS["api_key-file"])
    changed = server.home.parent / "changed.yaml"
    changed.write_text(json.dumps(config))
    broken = server.home.parent / "broken.yaml"
    broken.write_text(json.dumps(config | {"models": {"a": {"engine": "${PLANTED_KEY}", "slots": "${PLANTED_TLS}"}}}))
    lines = [
        ["check", "-c", str(server.file)],
        ["check", "-c", str(broken)],
        ["apply", "--dry-run", "-c", str(changed)],
        ["apply", "-c", str(broken)],
        ["doctor", "-c", str(server.file)],
        ["keys", "list", "--json"],
        ["audit", "list", "--json"],
    ]
    for line in lines:
        done = subprocess.run(
            [sys.executable, "-m", "penstock", *line],
            env=env | {"PENSTOCK_HOME": str(server.home)}, cwd=server.home.parent, capture_output=True, timeout=60,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        yield "penstock " + " ".join(line[:2]), done.stdout + done.stderr
        if line[1] == "--dry-run":
            assert b"would be applied" in done.stdout, done


def arguments(server: Penstock) -> Iterator[tuple[str, bytes]]:
    """The command lines of all processes, and what children inherit of what is the supervisor's alone."""
    for pid in (server.pid, *(each.pid for each in server.family())):
        yield f"arguments of {pid}", Path(f"/proc/{pid}/cmdline").read_bytes()
        if pid != server.pid:
            kept = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            yield f"environment of {pid}", b"\0".join(each for each in kept if not each.startswith(b"PLANTED_"))


def dumped(url: str) -> Iterator[tuple[str, bytes]]:
    """Every table of a database in PostgreSQL, every value as it is."""
    with psycopg.connect(url) as connection:
        tables = [
            name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ]
        for table in tables:
            rows = connection.execute(f'SELECT * FROM "{table}"').fetchall()  # type: ignore[call-overload]
            values = [each if isinstance(each, bytes) else str(each).encode() for row in rows for each in row]
            yield f"table {table}", b"\n".join(values)


def hashes_alone(home: Path, ids: set[str], secrets: list[str]) -> None:
    """What is kept of keys is 32 bytes each, and not their plain SHA-256."""
    with contextlib.closing(sqlite3.connect(home / "state.db")) as database:
        (text,) = {row[0] for row in database.execute("SELECT sql FROM sqlite_schema WHERE name = 'keys'")}
        assert "digest" in text
        rows = list(database.execute("SELECT id, digest, previous_digest FROM keys"))
    assert {row[0] for row in rows} >= ids
    digests = {each for row in rows for each in row[1:] if each is not None}
    assert {len(each) for each in digests} == {32}
    assert len(digests) == len(secrets), "of each key, and of one that was rotated two"
    assert not {hashlib.sha256(each.encode()).digest() for each in secrets} & digests


@pytest.mark.parametrize("house", ["sqlite", "postgresql and redis"])
def test_no_output_has_any_secret_of_any_input(house: str, tmp_path: Path, postgres: Postgres) -> None:
    with contextlib.ExitStack() as held:
        upstream = held.enter_context(echoing())
        address = f"http://127.0.0.1:{upstream.server_port}"
        vault = held.enter_context(
            Vault("t", {"/v1/secret/data/planted": (200, wire.version_2({"key": SECRETS["api_key-vault"]}))})
        )
        made = on_sqlite(tmp_path, address)
        if house != "sqlite":
            made = on_postgresql_and_redis(tmp_path, address, postgres)
        config = held.enter_context(made)
        planted = {"VAULT_ADDR": vault.address, "VAULT_TOKEN": "t", "PLANTED_KEY": SECRETS["api_key-env"]}
        planted |= {"PLANTED_HEADER": SECRETS["upstream-header"], "PLANTED_TLS": SECRETS["tls-password"]}
        planted["PENSTOCK_ADMIN_KEY"] = SECRETS["admin-key"]
        server = held.enter_context(running(json.dumps(config), env=planted))
        admin = Admin(server)
        assert server.key == SECRETS["admin-key"]
        admin.post("/projects", {"id": "red"})
        key = admin.key("red", id="red")
        rotated = admin.post("/keys/red/rotate", {"grace_s": 600})["secret"]
        once = admin.ask("POST", "/keys", {"project": "red"}, idempotency_key="only-once").json["secret"]
        revoked = admin.key("red")
        admin.post(f"/keys/{id_of(revoked)}/revoke")
        created = {"key": key, "rotated": rotated, "once": once, "revoked": revoked}
        search = Search(
            SECRETS
            | {name: secret.split("-", 2)[2] for name, secret in created.items()}
            | {"pepper": PEPPER, "pepper-text": base64.b64encode(PEPPER)}
        )
        wire_ = Wire(server, key)
        wait_until(lambda: wire_.chat(model="echo-200").status == 200, 10, server.said)
        assert any(SECRETS["api_key-env"] in each for each in upstream.asked), "the upstream has been told its key"
        errors = 0
        for where, body in (*bad_requests(wire_, key), *bad_acts(admin)):
            search(f"an answer of {where}", body)
            errors += b'"error"' in body
        for secret in (key, rotated, once, revoked):
            wire_.chat(secret)
        for where, data in pages(server, admin):
            search(where, data)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
        for where, data in commands(server, environment | planted):
            search(where, data)
        for where, data in arguments(server):
            search(where, data)
        admin.get("/usage")
        search("standard output and error", server.said())
        search("the access log", (tmp_path / "access.log").read_bytes())
        assert (tmp_path / "access.log").stat().st_size
        kept = {"credentials": ["admin-key"]}
        files = search.folder(server.home, kept)
        if house == "sqlite":
            hashes_alone(server.home, set(map(id_of, created.values())), [*created.values(), SECRETS["admin-key"]])
        else:
            for where, data in dumped(str(config["state"]["store"])):  # type: ignore[index]
                search(where, data)
        print(
            f"\n{house}: {len(created) + len(SECRETS) + 1} secrets, {errors} errors, {files} files, "
            f"{search.looked_at / 1e6:.1f} MB looked at"
        )
        assert errors > 60
        assert not search.found, "\n".join(search.found)
