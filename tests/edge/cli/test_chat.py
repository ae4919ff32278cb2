"""``penstock chat`` against a real socket: once, piped, and on a real terminal with Ctrl-C and Ctrl-D."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.core.errors import PenstockError
from penstock.edge.cli import credentials
from penstock.edge.cli.chat import reach
from penstock.edge.cli.credentials import Credentials
from penstock.edge.cli.main import main
from penstock.edge.cli.talk import Gateway, Message, same_place
from penstock.edge.cli.terminal import Screen, harmless
from tests.e2e.running import wait_until
from tests.edge.cli.gateway import KEY, Double, gateway


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    with gateway() as running:
        credentials.write(tmp_path, Credentials(running.url, KEY))
        monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))
        monkeypatch.delenv("PENSTOCK_API_KEY", raising=False)
        yield running


def test_once(double: Double, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "--once", "Hi"]) == 0
    assert capsys.readouterr() == ("Hello there\n", "")
    assert double.requests == [
        {"model": "assistant", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    ]


def test_what_is_piped_in_is_one_prompt(
    double: Double, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo\n"))
    assert main(["chat", "embed"]) == 0
    assert capsys.readouterr().out == "Hello there\n"
    assert double.requests[0]["model"] == "embed"
    assert double.requests[0]["messages"] == [{"role": "user", "content": "one\ntwo\n"}]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["asistant"], 'has no service `asistant`; did you mean "assistant"?'),
        (["zzz"], "has no service `zzz`; known: assistant, embed"),
        (["--url", "http://127.0.0.1:1"], "no gateway answers at http://127.0.0.1:1 (Connection refused); start one"),
        (["--url", "nonsense://x"], "--url must be the gateway's http:// or https:// URL"),
        (["--once", "  "], "the prompt is empty"),
    ],
)
def test_what_goes_wrong_is_one_line(
    double: Double, args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chat", "--once", "Hi", *args]) == 1
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert out == ""


def test_a_wrong_key(double: Double, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_API_KEY", "sk-wrong")
    assert main(["chat", "--once", "Hi"]) == 1
    err = capsys.readouterr().err
    assert "refuses the key; set PENSTOCK_API_KEY" in err
    assert "sk-wrong" not in err


def test_a_failure_in_mid_answer_keeps_what_came(double: Double, capsys: pytest.CaptureFixture[str]) -> None:
    double.error = "the engine died"
    assert main(["chat", "--once", "Hi"]) == 1
    assert capsys.readouterr() == ("Hello there\n", "penstock: the engine died\n")


def test_a_connection_that_breaks_in_mid_answer(double: Double, capsys: pytest.CaptureFixture[str]) -> None:
    double.finish = None
    assert main(["chat", "--once", "Hi"]) == 1
    out, err = capsys.readouterr()
    assert out == "Hello there\n"
    assert re.fullmatch(r"penstock: the connection to \S+ is lost \(.+\); ask again\n", err)


def test_a_server_that_is_no_gateway(double: Double) -> None:
    with pytest.raises(PenstockError, match="no such URL"):
        Gateway(double.url + "/elsewhere", KEY).services()


def test_closing_an_answer_hangs_up(double: Double) -> None:
    double.pieces = ["a", "HOLD", "b"]
    chunks = Gateway(double.url + "/v1/", KEY).answer("assistant", [Message("user", "Hi")])
    assert [next(chunks).choices[0].delta.content for _ in range(2)] == ["", "a"]  # type: ignore[union-attr]
    chunks.close()
    assert double.gone.wait(10)


def test_a_kept_key_opens_any_port_of_this_machine(double: Double, tmp_path: Path) -> None:
    credentials.write(tmp_path, Credentials("http://127.0.0.1:1", KEY))
    assert reach(double.url, {"PENSTOCK_HOME": str(tmp_path)}).services() == ["assistant", "embed"]


def test_a_kept_key_is_not_shown_to_another_machine(double: Double, tmp_path: Path) -> None:
    credentials.write(tmp_path, Credentials("https://gateway.example", KEY))
    with pytest.raises(PenstockError, match="refuses the key"):
        reach(double.url, {"PENSTOCK_HOME": str(tmp_path)}).services()
    assert double.keys == [""]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://127.0.0.1:8080", "localhost:9999", True),
        ("http://[::1]:8080/v1", "http://127.0.0.2", True),
        ("https://a.example/v1", "https://a.example", True),
        ("https://a.example", "http://a.example", False),
        ("https://a.example", "https://a.example:8443", False),
        ("http://127.0.0.1:8080", "http://127.0.0.1.example:8080", False),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080@evil.example", False),
    ],
)
def test_which_servers_are_the_same(one: str, other: str, same: bool) -> None:
    assert same_place(one, other) is same


def test_without_credentials_the_mend_is_named(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="start a gateway with `penstock up`, or give --url"):
        reach(None, {"PENSTOCK_HOME": str(tmp_path)})


def _hears_ctrl_c() -> None:
    """A shell starts what it puts in the background deaf to Ctrl-C, and the tests may run there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """``penstock`` on a pseudo-terminal."""

    def __init__(self, *args: str) -> None:
        self.master, slave = pty.openpty()
        env = {**os.environ, "TERM": "dumb"}
        command = [sys.executable, "-m", "penstock.edge.cli.main", *args]
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=env,
            start_new_session=True,
            preexec_fn=_hears_ctrl_c,
        )
        os.close(slave)
        self.shown = ""

    def until(self, text: str) -> str:
        """Reads up to and with ``text``; returns what came before it since the last call."""
        deadline = time.monotonic() + 20
        while text not in self.shown:
            ready, _, _ = select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {text!r} in {self.shown!r}"
            try:
                self.shown += os.read(self.master, 4096).decode()
            except OSError:
                pytest.fail(f"ended before {text!r}: {self.shown!r}")
        before, _, self.shown = self.shown.partition(text)
        return before

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C, once the program waits for something: CPython misses one between its last look and the call."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        wait_until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S", 20.0)
        os.kill(self.process.pid, signal.SIGINT)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal(double: Double) -> Iterator[Terminal]:
    running = Terminal("chat")
    yield running
    running.close()


def test_a_conversation(double: Double, terminal: Terminal) -> None:
    terminal.until("Ctrl-D ends.")
    terminal.until("> ")
    double.pieces = ["?hm", "one \x1b]0;title\x07", "HOLD", "two"]
    terminal.type("first\n")
    terminal.until("hm")
    assert "\x1b]0;" not in terminal.until("one ")
    terminal.interrupt()
    terminal.until("(stopped)")
    assert double.gone.wait(10)
    terminal.until("> ")
    terminal.interrupt()
    terminal.until("(Ctrl-D ends)")
    terminal.until("> ")
    double.pieces, double.finish = ["three"], "length"
    terminal.type("second\n")
    terminal.until("three")
    terminal.until("(cut off")
    assert double.requests[1]["messages"] == [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "one \x1b]0;title\x07"},
        {"role": "user", "content": "second"},
    ]
    terminal.until("> ")
    double.error = "the engine died"
    terminal.type("third\n")
    terminal.until("penstock: the engine died")
    terminal.until("> ")
    terminal.type("\x04")
    assert terminal.process.wait(10) == 0


def test_a_screen_off_the_terminal_leaves_bytes_as_they_are() -> None:
    out = io.StringIO()
    screen = Screen(out, {})
    screen.note("n")
    screen.think("t")
    screen.say("a\x1b[1m")
    screen.end()
    screen.end()
    assert out.getvalue() == "a\x1b[1m\n"


def test_what_a_model_writes_does_not_drive_the_terminal() -> None:
    assert harmless("a\x1b[2J\r\x07\x9b1m\tb\n\x7fé") == "a[2J1m\tb\né"
