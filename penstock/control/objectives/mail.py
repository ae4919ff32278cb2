"""Tells by e-mail. What is said of one alert over time is one conversation: its messages refer to one id."""

from __future__ import annotations

import asyncio
import email.utils
import hashlib
import logging
import smtplib
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage

from penstock.control.objectives.receivers import Undelivered
from penstock.control.objectives.telling import Message, when
from penstock.core.series import Alert, Severity
from penstock.observe import config

DEADLINE_S = 30.0
"""How long a message may take in all; each answer of the server a third of it."""
TLS_PORT = 465

_log = logging.getLogger("penstock.alerts")


class Mail:
    """A ``Receiver``. ``number`` tells it from others of the file, ``context`` says whom it trusts (default: the
    system's authorities); ``tls`` whether TLS is spoken from the start, None: on port 465."""

    def __init__(
        self,
        settings: config.Email,
        number: int,
        *,
        context: ssl.SSLContext | None = None,
        tls: bool | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.name = f"e-mail {number} ({settings.host})"
        self.severities: Sequence[Severity] = settings.severities
        self._settings = settings
        self._context = context or ssl.create_default_context()
        self._tls = settings.port == TLS_PORT if tls is None else tls
        self._deadline_s = deadline_s
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="penstock-mail")
        self._open: set[smtplib.SMTP] = set()

    async def send(self, message: Message) -> None:
        written = compose(message, self._settings)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._deadline_s):
                await loop.run_in_executor(self._threads, self._sent, written)
        except TimeoutError:
            self._drop()
            raise Undelivered(f"the server did not take it within {self._deadline_s:g} s") from None
        except smtplib.SMTPAuthenticationError as error:
            raise Undelivered(f"the server refuses `user` and `password` ({error.smtp_code})", retry=False) from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            raise Undelivered(
                f"the server refuses all of `to` ({_codes(codes)})", retry=any(code < 500 for code in codes)
            ) from None
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else ""
            raise Undelivered(
                f"the server says {error.smtp_code} {said[:200]}", retry=error.smtp_code < 500
            ) from None
        except smtplib.SMTPNotSupportedError as error:
            raise Undelivered(f"{error} Set `starttls` and `user` as the server has it.", retry=False) from None
        except ssl.SSLCertVerificationError as error:
            raise Undelivered(
                f"the server's certificate is not trusted: {error.verify_message}", retry=False
            ) from None
        except (smtplib.SMTPException, OSError) as error:
            raise Undelivered(f"the server cannot be reached: {error or type(error).__name__}") from None

    async def aclose(self) -> None:
        self._drop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- in a thread -------------------------------------------------------------------------------------------------

    def _sent(self, written: EmailMessage) -> None:
        settings, patience_s = self._settings, self._deadline_s / 3
        smtp = (
            smtplib.SMTP_SSL(settings.host, settings.port, timeout=patience_s, context=self._context)
            if self._tls
            else smtplib.SMTP(settings.host, settings.port, timeout=patience_s)
        )
        self._open.add(smtp)
        try:
            with smtp:
                if settings.starttls and not self._tls:
                    smtp.starttls(context=self._context)
                if settings.user:
                    smtp.login(settings.user, settings.password)
                refused = smtp.send_message(written)
        finally:
            self._open.discard(smtp)
        if refused:
            _log.warning("%s: the server refuses %d of %d addresses", self.name, len(refused), len(settings.to))

    def _drop(self) -> None:
        # A thread cannot be cancelled, but what it waits for can be closed.
        for smtp in tuple(self._open):
            smtp.close()


def compose(message: Message, settings: config.Email) -> EmailMessage:
    """The message in RFC 5322. It refers to the conversation of each of its alerts."""
    written = EmailMessage()
    threads = [thread_of(each) for each in message.alerts[:20]]
    written["From"] = settings.sender
    written["To"] = ", ".join(settings.to)
    written["Subject"] = " ".join(message.title.split())[:200]
    written["Date"] = email.utils.formatdate(message.at)
    written["Message-ID"] = _unique(message)
    written["In-Reply-To"] = threads[0]
    written["References"] = " ".join(threads)
    # RFC 3834: so that nobody's absence note answers.
    written["Auto-Submitted"] = "auto-generated"
    lines = []
    for alert in message.alerts:
        over = f", over at {when(alert.resolved_at)}" if alert.resolved_at is not None else ""
        lines += [alert.text, f"    {alert.id}, since {when(alert.since)}{over}", ""]
    if message.console_url:
        lines += [f"{message.console_url.rstrip('/')}/console/alerts", ""]
    lines += ["To silence an alert for an hour: penstock alerts silence ID --for 1h"]
    written.set_content("\n".join(lines))
    return written


def thread_of(alert: Alert) -> str:
    """The id that all messages of one alert, from its begin to its end, refer to."""
    name = hashlib.sha256(f"{alert.id}@{alert.since}".encode()).hexdigest()[:24]
    return f"<alert.{name}@penstock>"


def _unique(message: Message) -> str:
    about = "".join(thread_of(each) for each in message.alerts)
    name = hashlib.sha256(f"{message.status}{message.at}{about}".encode()).hexdigest()[:24]
    return f"<{name}@penstock>"


def _codes(codes: Sequence[int]) -> str:
    return ", ".join(str(code) for code in sorted(set(codes)))
