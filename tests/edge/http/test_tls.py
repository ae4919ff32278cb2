"""TLS on the listener: real handshakes, files that change under it, clients that do not keep to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import socket
import ssl
import time
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from penstock.core.errors import CANNOT_START, PenstockError
from penstock.edge.http.config import ServerSettings, Tls
from penstock.edge.http.listening import Patience
from penstock.edge.http.tls import Certificates, check
from tests.edge.http.certificates import made, name_of, trusting
from tests.edge.http.serving import DEADLINE_S, Site, chunk, heard, request, site, until, usual

CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}]}
QUICK = Patience(sweep_s=0.02)


async def opened(
    here: Site, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, ssl.SSLObject]:
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port, ssl=context)
    return reader, writer, writer.get_extra_info("ssl_object")


async def shown(here: Site, files: Tls) -> str:
    """The name in the certificate that a new connection is shown; empty when it is not one that ``files`` trusts."""
    try:
        _, writer, secured = await opened(here, trusting(files))
    except ssl.SSLCertVerificationError:
        return ""
    writer.close()
    return name_of(secured)


async def becomes_new(here: Site, files: Tls) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while await shown(here, files) != "new":  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_requests_and_streams_over_tls(tmp_path: Path) -> None:
    files = made(tmp_path)
    async with site(usual, settings=ServerSettings(tls=files)) as here:
        reader, writer, secured = await opened(here, trusting(files, "http/1.1"))
        assert (secured.selected_alpn_protocol(), secured.version()) == ("http/1.1", "TLSv1.3")
        for body in (CHAT, CHAT | {"stream": True}):
            writer.write(request("POST", "/v1/chat/completions", json.dumps(body).encode(), connection=""))
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 OK" in head
            rest = await reader.readuntil(b"0\r\n\r\n" if body.get("stream") else b"}}")
            assert b"there" in rest
        writer.write(request("GET", "/healthz"))
        assert heard(await asyncio.wait_for(reader.read(), DEADLINE_S)).status == 200
        writer.close()


async def test_what_is_spoken_is_agreed_on(tmp_path: Path) -> None:
    files = made(tmp_path)
    async with site(usual, settings=ServerSettings(tls=files)) as here:
        for offered, agreed in (
            (["h2", "http/1.1"], "h2"),
            (["http/1.1", "h2"], "h2"),
            (["http/1.1"], "http/1.1"),
            ([], None),
        ):
            reader, writer, secured = await opened(here, trusting(files, *offered))
            assert secured.selected_alpn_protocol() == agreed
            if agreed != "h2":
                writer.write(request("GET", "/healthz"))
                assert heard(await reader.read()).status == 200
            writer.close()


async def test_old_versions_and_weak_ciphers_are_refused(tmp_path: Path) -> None:
    files = made(tmp_path)
    async with site(usual, settings=ServerSettings(tls=files)) as here:
        context = trusting(files)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        _, writer, secured = await opened(here, context)
        assert secured.version() == "TLSv1.2"
        writer.close()
        context.set_ciphers("AES128-SHA:ECDHE-ECDSA-AES128-SHA")
        with pytest.raises(ssl.SSLError):
            await opened(here, context)


async def test_a_large_reply_reaches_a_slow_client_whole_before_the_connection_closes(tmp_path: Path) -> None:
    files = made(tmp_path)
    script = [[chunk("x" * 500_000)] for _ in range(8)]
    async with site(
        lambda _: script, settings=ServerSettings(tls=files), patience=Patience(sweep_s=0.02, write_s=0.5)
    ) as here:
        read = await asyncio.to_thread(read_slowly, here, trusting(files))
        assert read.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert len(read) > 4_000_000


def read_slowly(here: Site, context: ssl.SSLContext) -> bytes:
    """By blocking calls: the loop's own TLS, as a client, loses what it has when the connection ends."""
    with (
        socket.create_connection(("127.0.0.1", here.port), timeout=DEADLINE_S) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        client.sendall(request("POST", "/v1/chat/completions", json.dumps(CHAT | {"stream": True}).encode()))
        read = b""
        while part := client.recv(1 << 16):
            read += part
            time.sleep(0.004)  # pace: slower in all than what one that takes nothing is given
        return read


async def test_a_reader_that_stalls_is_cut(tmp_path: Path) -> None:
    files = made(tmp_path)
    script = [[chunk("x" * 100_000)] for _ in range(200)]
    async with site(
        lambda _: script, settings=ServerSettings(tls=files), patience=Patience(sweep_s=0.02, write_s=0.3)
    ) as here:
        reader, writer, _ = await opened(here, trusting(files))
        writer.write(request("POST", "/v1/chat/completions", json.dumps(CHAT | {"stream": True}).encode()))
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: here.samples.total("penstock_http_connections_cut", "write"))
        [line] = await here.logged()
        assert line.ending == "client_gone"
        assert here.engine.closed()
        writer.transport.abort()


async def test_websockets_over_tls(tmp_path: Path) -> None:
    files = made(tmp_path)
    async with (
        site(usual, settings=ServerSettings(tls=files)) as here,
        connect(
            f"wss://127.0.0.1:{here.port}/v1/websocket",
            ssl=trusting(files),
            additional_headers={"authorization": "Bearer key"},
            proxy=None,
        ) as client,
    ):
        await client.send(json.dumps({"id": "1", "body": CHAT}))
        assert "there" in str(await asyncio.wait_for(client.recv(), DEADLINE_S))


# -- clients that do not keep to it ----------------------------------------------------------------------------------


async def test_plain_http_on_a_tls_port_is_told_so(tmp_path: Path) -> None:
    async with site(usual, settings=ServerSettings(tls=made(tmp_path))) as here:
        reply = await here.get("/healthz")
    assert reply.status == 400
    assert b"https://" in reply.body


async def test_what_is_no_tls_is_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with site(usual, settings=ServerSettings(tls=made(tmp_path))) as here:
        for sent in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 100, b"\xff" * 2000):
            with contextlib.suppress(ConnectionResetError):
                assert b"HTTP" not in await here.raw(sent)
        await until(lambda: not here.app.listening or not here.app.listening.connections)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_client_that_leaves_in_the_handshake_is_forgotten(tmp_path: Path) -> None:
    async with site(usual, settings=ServerSettings(tls=made(tmp_path))) as here:
        _, writer = await asyncio.open_connection("127.0.0.1", here.port)
        listening = here.app.listening
        assert listening is not None
        await until(lambda: listening.opening == 1)
        assert listening.connections == 1
        writer.transport.abort()
        await until(lambda: listening.connections == 0)


async def test_a_handshake_that_hangs_does_not_outlive_the_server(tmp_path: Path) -> None:
    async with site(usual, settings=ServerSettings(tls=made(tmp_path))) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        listening = here.app.listening
        assert listening is not None
        await until(lambda: listening.opening == 1)
        here.stop(limit_s=0.0)
        assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
        writer.close()


# -- files -----------------------------------------------------------------------------------------------------------


async def test_a_new_certificate_is_shown_and_no_connection_dropped(tmp_path: Path) -> None:
    files = made(tmp_path, "old")
    async with site(usual, patience=QUICK, settings=ServerSettings(tls=files)) as here:
        reader, writer, secured = await opened(here, trusting(files, "http/1.1"))
        assert name_of(secured) == "old"
        made(tmp_path, "new")
        await becomes_new(here, files)
        writer.write(request("GET", "/healthz"))
        assert heard(await reader.read()).status == 200
        writer.close()


async def test_a_link_that_points_elsewhere_is_a_new_certificate(tmp_path: Path) -> None:
    """As Kubernetes mounts a secret."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        made(tmp_path / name, name, into="tls")
    current = tmp_path / "current"
    current.symlink_to("old")
    files = Tls(certificate=str(current / "tls.crt"), key=str(current / "tls.key"))
    async with site(usual, patience=QUICK, settings=ServerSettings(tls=files)) as here:
        assert await shown(here, files) == "old"
        (tmp_path / "next").symlink_to("new")
        os.replace(tmp_path / "next", current)
        await becomes_new(here, files)


def break_(files: Tls, fault: str) -> None:
    folder = Path(files.key).parent
    match fault:
        case "junk":
            Path(files.certificate).write_text("junk")
        case "gone":
            Path(files.key).unlink()
        case _:
            shutil.copy(made(folder, "other", into="other").key, files.key)


@pytest.mark.parametrize("fault", ["junk", "gone", "other key"])
async def test_a_bad_new_file_keeps_the_old_one_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    files = made(tmp_path, "old")
    trusted = Tls(certificate=str(tmp_path / "trusted.crt"), key="")
    shutil.copy(files.certificate, trusted.certificate)
    async with site(usual, patience=QUICK, settings=ServerSettings(tls=files)) as here:
        assert await shown(here, trusted) == "old"
        break_(files, fault)

        def said() -> list[str]:
            return [record.getMessage() for record in caplog.records if "the old one still is" in record.getMessage()]

        await until(said)
        assert await shown(here, trusted) == "old"
        assert len(said()) == 1
        made(tmp_path, "new")
        await becomes_new(here, files)


@pytest.mark.parametrize("which", ["certificate", "key"])
@pytest.mark.parametrize("fault", ["gone", "junk", "folder", "swapped"])
def test_files_that_cannot_be_used_stop_the_start(tmp_path: Path, which: str, fault: str) -> None:
    files = made(tmp_path)
    path = Path(files.certificate if which == "certificate" else files.key)
    other = files.key if which == "certificate" else files.certificate
    match fault:
        case "gone":
            path.unlink()
        case "junk":
            path.write_text("junk")
        case "folder":
            path.unlink()
            path.mkdir()
        case _:
            shutil.copy(other, path)
    with pytest.raises(PenstockError) as raised:
        check(files)
    assert raised.value.fault is CANNOT_START
    assert str(path) in raised.value.message
    assert f"`server: tls: {which}:`" in raised.value.message


def test_a_key_of_another_certificate_stops_the_start(tmp_path: Path) -> None:
    files, other = made(tmp_path), made(tmp_path, into="other")
    with pytest.raises(PenstockError, match="does not belong to the certificate"):
        Certificates(Tls(certificate=files.certificate, key=other.key))


def test_a_broken_certificate_stops_the_start(tmp_path: Path) -> None:
    files = made(tmp_path)
    path = Path(files.certificate)
    path.write_text(path.read_text().replace("M", "N", 1))
    with pytest.raises(PenstockError, match="cannot be used"):
        check(files)


@pytest.mark.parametrize("password", ["", "another"])
def test_a_wrong_password_stops_the_start_and_is_not_told(tmp_path: Path, password: str) -> None:
    files = made(tmp_path, password="secret word")
    with pytest.raises(PenstockError, match="encrypted") as raised:
        check(Tls(certificate=files.certificate, key=files.key, password=password))
    assert "another" not in raised.value.message
    assert "secret word" not in repr(ServerSettings(tls=files))


def test_a_key_with_a_password(tmp_path: Path) -> None:
    check(made(tmp_path, password="secret word"))
    check(None)
