"""Secrets from files, commands and a Vault: what they give, and what is said when they do not."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.config.command import output
from penstock.config.environment import Unresolved, expand, refers
from penstock.config.sources import TOGETHER_S, Sources
from penstock.config.vault import secret
from tests.config import vault_double as wire
from tests.config.vault_double import Vault

TOKEN = "hvs.CAESIt0ken"
ENV = {"PATH": os.environ["PATH"]}


def got(text: str, env: dict[str, str] | None = None, *, commands: bool = True) -> str:
    env = ENV if env is None else env
    return expand(text, env, Sources(env, commands=commands).value)


def said(text: str, env: dict[str, str] | None = None, *, commands: bool = True) -> str:
    with pytest.raises(Unresolved) as caught:
        got(text, env, commands=commands)
    return str(caught.value)


def python(code: str) -> str:
    return f"${{command:{shlex.quote(sys.executable)} -c {shlex.quote(code)}}}"


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "text"),
    [(b"s3cr3t", "s3cr3t"), (b"s3cr3t\n", "s3cr3t"), (b" a\nb \r\n", " a\nb "), ("ключ".encode(), "ключ")],
)
def test_a_file_gives_its_text_without_the_last_newline(tmp_path: Path, raw: bytes, text: str) -> None:
    (tmp_path / "key").write_bytes(raw)
    assert got(f"Bearer ${{file:{tmp_path}/key}}!") == f"Bearer {text}!"


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"s3cr3t\xff", "UTF-8"),
        (b"s3cr3t\0", "NUL"),
        (b"s3cr3t" * 20_000, "more than 64 KiB"),
    ],
)
def test_a_file_that_is_no_secret(tmp_path: Path, raw: bytes, fault: str) -> None:
    (tmp_path / "key").write_bytes(raw)
    message = said(f"${{file:{tmp_path}/key}}")
    assert fault in message
    assert ";" in message
    assert "s3cr3t" not in message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is not there; write it" in said(f"${{file:{tmp_path}/none}}")
    assert "not a plain file" in said(f"${{file:{tmp_path}/pipe}}")
    assert "not a plain file" in said("${file:/dev/zero}")
    assert "not a plain file" in said(f"${{file:{tmp_path}}}")
    assert "it is no path" in said("${file:a\0b}")
    assert "names nothing" in said("${file: }")


# -- commands ------------------------------------------------------------------------------------------------------


def test_a_command_gives_what_it_says() -> None:
    assert got("x${command: printf '%s\\n' 'a b'}") == "xa b"
    assert got("${command:sh -c 'echo $GIVEN; echo no >&2'}", ENV | {"GIVEN": "7"}) == "7"
    # No shell looks at it.
    assert got("${command:echo $HOME * ; id}") == "$HOME * ; id"


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("import sys; print('s3cr3t'); print('s3cr3t', file=sys.stderr); sys.exit(3)", "failed with exit code 3"),
        ("import os; print('s3cr3t', flush=True); os.kill(os.getpid(), 9)", "was ended by signal 9"),
        ("pass", "is empty"),
        ("print('s3cr3t' * 20000)", "more than 64 KiB"),
        ("import sys; sys.stdout.buffer.write(b's3cr3t' + bytes([255]))", "UTF-8"),
    ],
)
def test_a_command_that_fails(code: str, fault: str) -> None:
    message = said(python(code))
    assert fault in message
    assert ";" in message
    assert "s3cr3t" not in message


def test_commands_that_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x")
    assert "the command no-such-command is not there" in said("${command:no-such-command s3cr3t}")
    assert "s3cr3t" not in said("${command:no-such-command s3cr3t}")
    assert "Permission denied" in said(f"${{command:{tmp_path}/text}}")
    assert "quotation mark" in said("${command:echo 'a}")
    assert "names nothing" in said("${command:}")


def test_a_command_that_does_not_end_is_killed_with_its_children() -> None:
    begun = time.monotonic()
    for line in ("sleep 600", "sh -c 'echo s3cr3t; sleep 600'", "sh -c 'sleep 600 & echo s3cr3t'", "yes s3cr3t"):
        with pytest.raises(Unresolved, match=r"has not ended after 0\.2 s|more than 64 KiB") as caught:
            output(line, ENV, 0.2)
        assert "s3cr3t" not in str(caught.value)
    assert time.monotonic() - begun < 20


def test_a_deployment_that_was_sent_runs_nothing(tmp_path: Path) -> None:
    assert "cannot run commands" in said(f"${{command:touch {tmp_path}/ran}}", commands=False)
    assert not (tmp_path / "ran").exists()


def test_one_pass_asks_once(tmp_path: Path) -> None:
    sources = Sources(ENV, commands=True)
    line = f"sh -c 'echo x >> {tmp_path}/times; echo s'"
    assert [sources.value("command", line) for _ in range(3)] == ["s"] * 3
    for _ in range(2):
        with pytest.raises(Unresolved):
            sources.value("command", f"sh -c 'echo x >> {tmp_path}/times; exit 1'")
    assert (tmp_path / "times").read_text() == "x\nx\n"


def test_all_of_them_together_have_a_deadline() -> None:
    now = [0.0]
    sources = Sources(ENV, commands=True, now=lambda: now[0])
    assert sources.value("command", "echo a") == "a"
    now[0] = TOGETHER_S
    assert sources.value("command", "echo a") == "a"
    with pytest.raises(Unresolved, match="more than 30 s together"):
        sources.value("command", "echo b")


# -- a Vault -------------------------------------------------------------------------------------------------------

ANSWERS = {
    "/v1/secret/data/app": (200, wire.version_2({"key": "s3cr3t", "count": 3, "empty": ""})),
    "/v1/kv/app": (200, wire.version_1({"key": "old s3cr3t", "data": "s3cr3t too"})),
    "/v1/secret/data/a%20b": (200, wire.version_2({"key": "spaced"})),
    "/v1/secret/data/sealed": (503, wire.SEALED),
    "/v1/secret/data/standby": (307, "s3cr3t"),
    "/v1/secret/data/odd": (200, "s3cr3t"),
    "/v1/secret/data/list": (200, '["s3cr3t"]'),
    "/v1/secret/data/broken": (500, "s3cr3t"),
    "/v1/secret/data/slow": (200, "slow"),
}


@pytest.fixture
def vault() -> Iterator[Vault]:
    with Vault(TOKEN, ANSWERS) as vault:
        yield vault


def reaching(vault: Vault, **more: str) -> dict[str, str]:
    return {"VAULT_ADDR": vault.address, "VAULT_TOKEN": TOKEN} | more


def test_a_vault_gives_fields_of_both_versions_and_is_asked_once(vault: Vault) -> None:
    env = reaching(vault)
    sources = Sources(env, commands=False)
    text = "${vault:secret/data/app#key} ${vault:/kv/app/#key} ${vault:kv/app#data} ${vault:secret/data/app#key}"
    assert expand(text, env, sources.value) == "s3cr3t old s3cr3t s3cr3t too s3cr3t"
    assert expand("${vault:secret/data/a b#key}", env, sources.value) == "spaced"
    assert len(vault.asked) == len(set(vault.asked)) + 1


def test_the_token_may_lie_in_a_file_and_the_namespace_is_sent(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    with Vault(TOKEN, ANSWERS, namespace="team/a") as vault:
        env = {"VAULT_ADDR": vault.address, "VAULT_TOKEN_FILE": f"{tmp_path}/token", "VAULT_NAMESPACE": "team/a"}
        assert got("${vault:secret/data/app#key}", env) == "s3cr3t"
        del env["VAULT_NAMESPACE"]
        assert "renew the token" in said("${vault:secret/data/app#key}", env)


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ("secret/data/app#other", "has no field other"),
        ("secret/data/app#count", "has no text in the field count"),
        ("secret/data/app#empty", "is empty"),
        ("secret/data/none#key", "is not there; write it, or mend the path: version 2"),
        ("secret/data/sealed#key", "is sealed"),
        ("secret/data/standby#key", "stands by for another"),
        ("secret/data/odd#key", "does not answer as a Vault"),
        ("secret/data/list#key", "does not answer as a Vault"),
        ("secret/data/broken#key", "answered 500"),
        ("secret/data/app", "lacks its path or its field"),
        ("#key", "lacks its path or its field"),
        ("", "names nothing"),
    ],
)
def test_what_a_vault_does_not_give(vault: Vault, what: str, fault: str) -> None:
    message = said(f"${{vault:{what}}}", reaching(vault))
    assert fault in message
    assert "s3cr3t" not in message
    assert TOKEN not in message


@pytest.mark.parametrize(
    ("env", "fault"),
    [
        ({"VAULT_TOKEN": "wrong"}, "renew the token"),
        ({"VAULT_TOKEN": ""}, "no token for the Vault"),
        ({"VAULT_TOKEN": "s3cr3t\r\nX-Other: 1"}, "characters that no token has"),
        ({"VAULT_TOKEN": "", "VAULT_TOKEN_FILE": "/none/at/all"}, "the file /none/at/all is not there"),
        ({"VAULT_ADDR": ""}, "VAULT_ADDR is not set to an address"),
        ({"VAULT_ADDR": "file:///etc/passwd"}, "VAULT_ADDR is not set to an address"),
        ({"VAULT_ADDR": "http://user:s3cr3t@h"}, "VAULT_ADDR is not set to an address"),
        ({"VAULT_ADDR": "http://127.0.0.1:9"}, "cannot be reached"),
        ({"VAULT_ADDR": "https://127.0.0.1:9", "VAULT_CACERT": "/none"}, "VAULT_CACERT does not name"),
    ],
)
def test_ways_to_a_vault_that_do_not_lead_there(vault: Vault, env: dict[str, str], fault: str) -> None:
    message = said("${vault:secret/data/app#key}", reaching(vault) | env)
    assert fault in message
    assert "s3cr3t" not in message


def test_a_vault_that_is_slow_or_speaks_in_the_clear(vault: Vault) -> None:
    with pytest.raises(Unresolved, match=r"did not come within 0\.2 s"):
        secret("secret/data/slow", reaching(vault), 0.2)
    plain = reaching(vault, VAULT_ADDR=vault.address.replace("http:", "https:"))
    assert "the Vault" in said("${vault:secret/data/app#key}", plain)


# -- all of them ---------------------------------------------------------------------------------------------------


def test_what_is_filled_in_is_not_looked_at_again(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("${HOME} $$ ${command:id}")
    assert got(f"${{file:{tmp_path}/key}}") == "${HOME} $$ ${command:id}"


def test_a_variable_may_be_called_as_a_source_is() -> None:
    assert got("${file} ${vault:-none} ${command:--x}", {"file": "a"}) == "a none -x"
    assert got("$${file:/etc/passwd}") == "${file:/etc/passwd}"
    assert all(refers(text) for text in ("${file:a}", "x${command:a}", "${vault:a#b}", "${A}"))
    assert not refers("$${file:a} file:a {file:a}")
