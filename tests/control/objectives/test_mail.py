"""E-mail, against a server that speaks SMTP."""

from __future__ import annotations

import email
import email.policy
import socket
import ssl
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import msgspec
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from penstock.control.objectives.mail import Mail, compose, thread_of
from penstock.control.objectives.receivers import Undelivered
from penstock.observe import config
from tests.control.objectives.test_webhook import NASTY, NOW, alert, message
from tests.edge.http.certificates import made, trusting


class Box:
    """What has arrived; refuses by script."""

    def __init__(self) -> None:
        self.got: list[EmailMessage] = []
        self.secured: list[bool] = []
        self.signed_in: list[bool] = []
        self.refused: dict[str, str] = {}
        self.answer = "250 OK"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        if self.answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            found = email.message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(found, EmailMessage)
            self.got.append(found)
            self.secured.append(session.ssl is not None)
            self.signed_in.append(session.authenticated)
        return self.answer


def may(server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: object) -> AuthResult:
    good = isinstance(given, LoginPassword) and (given.login, given.password) == (b"gateway", b"pass word")
    return AuthResult(success=good, handled=False)


def serving(box: Box, **more: object) -> Controller:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    return Controller(box, hostname="127.0.0.1", port=port, **more)  # type: ignore[arg-type]


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def plain(box: Box) -> Iterator[Controller]:
    server = serving(box)
    server.start()
    yield server
    server.stop()


def settings(port: int, **more: object) -> config.Email:
    made = config.Email(
        host="127.0.0.1",
        port=port,
        starttls=False,
        sender="Gateway <gw@example.com>",
        to=["a@example.com", "b@example.com"],
    )
    return msgspec.structs.replace(made, **more)


async def test_plain(plain: Controller, box: Box) -> None:
    mail = Mail(settings(plain.port), 1)
    await mail.send(message(console_url="https://gw.example"))
    await mail.aclose()
    (got,) = box.got
    assert got["To"] == "a@example.com, b@example.com"
    assert got["From"] == "Gateway <gw@example.com>"
    assert got["Subject"] == "Page: assistant: availability"
    assert got["Auto-Submitted"] == "auto-generated"
    text = got.get_content()
    assert "日本" in text
    assert "slo/assistant/availability/page, since 2023-11-14T22:13:20Z" in text
    assert "https://gw.example/console/alerts" in text


async def test_starttls_and_a_password(tmp_path: Path, box: Box) -> None:
    files = made(tmp_path)
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    shown.load_cert_chain(files.certificate, files.key)
    server = serving(
        box, tls_context=shown, require_starttls=True, authenticator=may, auth_required=True, auth_require_tls=True
    )
    server.start()
    try:
        mail = Mail(
            settings(server.port, starttls=True, user="gateway", password="pass word"), 1, context=trusting(files)
        )
        await mail.send(message())
        assert (box.secured, box.signed_in) == ([True], [True])
        await mail.aclose()
        wrong = Mail(
            settings(server.port, starttls=True, user="gateway", password="hunter2"), 1, context=trusting(files)
        )
        with pytest.raises(Undelivered, match="refuses `user` and `password`") as found:
            await wrong.send(message())
        await wrong.aclose()
        assert not found.value.retry
        assert "hunter2" not in str(found.value)
        stranger = Mail(settings(server.port, starttls=True), 1)
        with pytest.raises(Undelivered, match="certificate is not trusted"):
            await stranger.send(message())
        await stranger.aclose()
        bare = Mail(settings(server.port), 1)
        with pytest.raises(Undelivered, match="530"):
            await bare.send(message())
        await bare.aclose()
    finally:
        server.stop()
    assert len(box.got) == 1


async def test_tls_from_the_start(tmp_path: Path, box: Box) -> None:
    files = made(tmp_path)
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    shown.load_cert_chain(files.certificate, files.key)
    server = serving(box, ssl_context=shown)
    server.start()
    try:
        mail = Mail(settings(server.port), 1, context=trusting(files), tls=True)
        await mail.send(message())
        await mail.aclose()
    finally:
        server.stop()
    assert len(box.got) == 1


async def test_a_server_without_starttls_gets_no_password(plain: Controller, box: Box) -> None:
    mail = Mail(settings(plain.port, starttls=True, user="gateway", password="x"), 1)
    with pytest.raises(Undelivered, match="STARTTLS") as found:
        await mail.send(message())
    await mail.aclose()
    assert not found.value.retry
    assert not box.got


@pytest.mark.parametrize(("answer", "retry"), [("452 4.3.1 disk full", True), ("554 5.7.1 spam", False)])
async def test_what_the_server_refuses(plain: Controller, box: Box, answer: str, retry: bool) -> None:
    box.answer = answer
    mail = Mail(settings(plain.port), 1)
    with pytest.raises(Undelivered, match=answer[:3]) as found:
        await mail.send(message())
    assert found.value.retry == retry
    await mail.aclose()


async def test_addresses_that_are_refused(plain: Controller, box: Box, caplog: pytest.LogCaptureFixture) -> None:
    mail = Mail(settings(plain.port), 1)
    box.refused = {"a@example.com": "550 nobody"}
    await mail.send(message())
    assert "refuses 1 of 2" in caplog.text
    box.refused["b@example.com"] = "450 later"
    with pytest.raises(Undelivered, match=r"all of `to` \(450, 550\)") as found:
        await mail.send(message())
    assert found.value.retry
    await mail.aclose()


async def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mail = Mail(settings(silent.getsockname()[1]), 1, deadline_s=0.3)
        with pytest.raises(Undelivered) as found:
            await mail.send(message())
        assert found.value.retry
        await mail.aclose()
    nobody = Mail(settings(9), 1)
    with pytest.raises(Undelivered, match="cannot be reached"):
        await nobody.send(message())
    await nobody.aclose()


async def test_a_server_that_dribbles_is_cut_off() -> None:
    """Each byte is in time, the whole is not."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def dribble() -> None:
            client, _ = server.accept()
            with client:
                while not over.wait(0.05):
                    try:
                        client.sendall(b"2")
                    except OSError:
                        return

        thread = threading.Thread(target=dribble)
        thread.start()
        try:
            mail = Mail(settings(server.getsockname()[1]), 1, deadline_s=0.5)
            with pytest.raises(Undelivered, match="within 0"):
                await mail.send(message())
            await mail.aclose()
        finally:
            over.set()
            thread.join(5)


def test_what_is_said_of_one_alert_is_one_conversation() -> None:
    at = settings(25)
    first, other = alert(), alert("slo/assistant/latency-2s/page")
    begun = compose(message(first, other), at)
    still = compose(message(first, repeat=True, at=NOW + 99), at)
    over = compose(message(msgspec.structs.replace(other, resolved_at=NOW + 99), status="resolved"), at)
    again = compose(message(msgspec.structs.replace(first, since=NOW + 500)), at)
    assert begun["References"].split() == [thread_of(first), thread_of(other)]
    assert still["References"] == still["In-Reply-To"] == thread_of(first)
    assert over["References"] == thread_of(other)
    assert thread_of(first) not in again["References"]
    assert len({each["Message-ID"] for each in (begun, still, over, again)}) == 4


def test_no_header_is_smuggled_in() -> None:
    odd = message(alert("store/x\r\nBcc: evil@example.com", text=NASTY), service="")
    assert compose(odd, settings(25))["Bcc"] is None
    assert "password" not in repr(settings(25, user="gateway", password="pass word"))
