"""``penstock prompts``: files checked, rendered and tried without a gateway; versions pushed, shown and named."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from penstock.control.accounts.aliases import AliasView, SetAlias
from penstock.control.accounts.differences import DiffView, Part
from penstock.control.accounts.prompts import CreatePrompt, PromptVersionView
from penstock.control.accounts.turn import Gone
from penstock.edge.cli import credentials
from penstock.edge.cli.main import main
from penstock.prompts.config import Prompt
from tests.edge.cli.accounts import KEY, Accounts

ROOT = Path(__file__).resolve().parents[3]
Out = pytest.CaptureFixture[str]
GREETING = """\
variables:
  name: {max_length: 9}
  times: {type: integer, default: 1}
  share: {type: number, default: 0.5}
  loud: {type: boolean, default: false}
  tags: {type: list, required: false}
system: "{{ times }} {{ share }} {{ loud }} {{ tags }}"
user: Greet {{ name }}.
tests:
  - {name: plain, variables: {name: Ada}, rendered: {contains: [Greet Ada.]}, reply: {contains: [Ada]}}
  - {name: said, variables: {name: Bob}, messages: [{role: user, content: Hi}], reply: {not_contains: [Ada]}}
"""
KEPT = PromptVersionView(
    id="greeting@0123456789abcdef",
    name="greeting",
    source=msgspec.Raw(b'{"system":"Hi"}'),
    parent="",
    aliases=("production",),
    current=True,
    author="key_1",
    message="first",
    created_at=0.0,
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "prompts"
    place.mkdir()
    (place / "greeting.yaml").write_text(GREETING)
    return place


def test_check_says_what_there_is_or_what_is_wrong(folder: Path, capsys: Out) -> None:
    assert main(["prompts", "check"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "ok: prompts: 1 prompt"
    (folder / "bad.yaml").write_text("sytem: x\n")
    assert main(["prompts", "check", str(folder)]) == 1
    assert capsys.readouterr().err == f'{folder}/bad.yaml:1: sytem: unknown key; did you mean "system"?\n'
    assert main(["prompts", "check", "elsewhere"]) == 1
    assert "there is no folder elsewhere" in capsys.readouterr().err


def test_render_shows_every_message(folder: Path, capsys: Out) -> None:
    typed = ["times=3", "share=1.5", "loud=true", "tags=a", "tags=b=c", "name=Ada"]
    arguments = ["prompts", "render", "greeting", *(part for each in typed for part in ("--var", each))]
    assert main(arguments) == 0
    assert capsys.readouterr().out == "[system]\n3 1.5 True a, b=c\n\n[user]\nGreet Ada.\n"
    assert main([*arguments, "--message", "Hi", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[1:] == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (["--var", "name"], 2, "write --var NAME=VALUE"),
        (["--var", "nmae=x"], 2, 'did you mean "name"?'),
        (["--var", "name=a", "--var", "name=b"], 2, "is given twice"),
        (["--var", "times=x"], 2, "is of type integer"),
        (["--var", "loud=yes"], 2, "is of type boolean"),
        ([], 1, "'prompt_variables.name' is missing"),
        (["--var", "name=aaaaaaaaaaaaaa"], 1, "at most 9 characters"),
    ],
)
def test_what_is_typed_wrongly_is_told(folder: Path, capsys: Out, typed: list[str], code: int, said: str) -> None:
    assert main(["prompts", "render", "greeting", *typed]) == code
    assert said in capsys.readouterr().err


def test_the_tests_of_a_prompt_run_without_a_gateway(folder: Path, capsys: Out) -> None:
    assert main(["prompts", "test"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["ok     greeting: plain", "ok     greeting: said", "2 of 2 tests pass."]
    assert err.startswith("What 2 of them expect of a reply was not looked at")
    (folder / "greeting.yaml").write_text(GREETING.replace("[Greet Ada.]", "[Greet Bob.]"))
    assert main(["prompts", "test", "greeting"]) == 1
    out, _ = capsys.readouterr()
    assert "FAILED greeting: plain\n       the rendered prompt does not contain 'Greet Bob.'\n" in out
    assert "       | Greet Ada.\n" in out
    assert "1 of 2 tests pass." in out
    assert main(["prompts", "test", "greting"]) == 1


@contextlib.contextmanager
def answering(reply: str) -> Iterator[tuple[str, list[dict[str, object]]]]:
    asked: list[dict[str, object]] = []

    class Answers(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            return

        def do_GET(self) -> None:
            self._say({"data": [{"id": "assistant"}]})

        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self._say({"choices": [{"message": {"role": "assistant", "content": reply}}]})

        def _say(self, what: object) -> None:
            body = json.dumps(what).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def test_a_service_tries_the_prompt_that_is_named(folder: Path, capsys: Out) -> None:
    (folder / "other.yaml").write_text("system: Be brief.")
    assert main(["prompts", "test", "--service", "assistant"]) == 2
    assert "name it before --service" in capsys.readouterr().err


def test_with_a_service_its_replies_are_looked_at(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    with answering("Hello, Ada!") as (url, asked):
        credentials.write(tmp_path / "home", credentials.Credentials(url, KEY))
        assert main(["prompts", "test", "--service", "assistant"]) == 1
        out, err = capsys.readouterr()
        assert "FAILED greeting: said\n       the reply contains 'Ada'\n       | Hello, Ada!\n" in out
        assert err == ""
        assert asked == [
            {"model": "assistant", "prompt_variables": {"name": "Ada"}},
            {
                "model": "assistant",
                "prompt_variables": {"name": "Bob"},
                "messages": [{"role": "user", "content": "Hi"}],
            },
        ]
        assert main(["prompts", "test", "--service", "asistant"]) == 1
        assert 'did you mean "assistant"?' in capsys.readouterr().err


def test_versions_are_pushed_listed_shown_compared_and_named(
    folder: Path, gateway_accounts: Accounts, capsys: Out
) -> None:
    (folder / "greeting.yaml").write_text("system: Hi\n")
    gateway_accounts.answer("prompts.create", KEPT)
    assert main(["prompts", "push", "-m", "first"]) == 0
    assert capsys.readouterr().out == "greeting@0123456789abcdef is kept.\n"
    assert gateway_accounts.bodies("prompts.create") == [
        CreatePrompt(name="greeting", source=Prompt(system="Hi"), message="first")
    ]
    gateway_accounts.answer("prompts.create", KEPT)
    assert main(["prompts", "push", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["id"] == KEPT.id
    gateway_accounts.list("prompts.list", KEPT)
    assert main(["prompts", "list", "--name", "greeting"]) == 0
    assert f"{KEPT.id}  yes        production  1970-01-01T00:00:00Z  key_1  first" in capsys.readouterr().out
    gateway_accounts.answer("prompts.get", KEPT)
    assert main(["prompts", "show", "greeting@production"]) == 0
    assert "  system: Hi\n" in capsys.readouterr().out
    part = Part(what="prompt", before="a", after="b", text="-old\n+new")
    gateway_accounts.answer("prompts.diff", DiffView(before="a", after="b", parts=(part,)))
    assert main(["prompts", "diff", KEPT.id]) == 0
    assert "+new" in capsys.readouterr().out
    alias = AliasView(
        id="prompt:greeting:production", kind="prompt", name="greeting", alias="production", version=KEPT.id,
        author="key_1", changed_at=0.0,
    )  # fmt: skip
    gateway_accounts.answer("aliases.create", alias)
    assert main(["prompts", "alias", "greeting", "production"]) == 0
    assert gateway_accounts.bodies("aliases.create") == [
        SetAlias(kind="prompt", alias="production", version="greeting")
    ]
    gateway_accounts.answer("aliases.delete", Gone(object="alias", id=alias.id))
    assert main(["prompts", "unalias", "greeting@production", "-y"]) == 0
    assert gateway_accounts.asked[-1].target == alias.id


def test_the_examples_of_prompts_are_good(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    monkeypatch.chdir(ROOT / "examples")
    assert main(["prompts", "check"]) == 0
    assert main(["prompts", "test"]) == 0
    assert main(["check", "-c", "prompts.yaml"]) == 0
    assert "  greeter  small (llamacpp); prompt greeting\n" in capsys.readouterr().out
