"""TLS: an authority of one's own is trusted when it is named, and an unknown one is refused with the mend."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from penstock.core.errors import BAD_DEPLOYMENT, UPSTREAM_UNREACHABLE, PenstockError
from penstock.engines.http import Http
from tests.contracts.double import Double, Played


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "double")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, plain)
    )
    return cert_file, key_file


async def test_an_authority_of_ones_own(tmp_path: Path) -> None:
    cert_file, key_file = self_signed(tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(cert_file, key_file)
    async with Double(lambda asked: Played(pieces=[b"ok"]), ssl=server) as double:
        trusting = Http(connect_timeout_s=5, read_timeout_s=5, ca_file=str(cert_file))
        assert await (await trusting.post(trusting.prepared("POST", double.url), b"{}")).read_all(10) == b"ok"
        await trusting.aclose()
        doubting = Http(connect_timeout_s=5, read_timeout_s=5)
        with pytest.raises(PenstockError) as caught:
            await doubting.post(doubting.prepared("POST", double.url), b"{}")
        assert caught.value.fault is UPSTREAM_UNREACHABLE
        assert "ca_file" in caught.value.message
        await doubting.aclose()


async def test_tls_to_a_server_that_speaks_none() -> None:
    async with Double(lambda asked: Played(raw=b"HTTP/1.1 400 Bad Request\r\n\r\n")) as double:
        http = Http(connect_timeout_s=1, read_timeout_s=1)
        with pytest.raises(PenstockError) as caught:
            await http.post(http.prepared("POST", double.url.replace("http:", "https:")), b"{}")
        assert caught.value.fault.retry
        assert "base_url" in caught.value.message or "connect_timeout_s" in caught.value.message
        await http.aclose()


def test_a_file_that_holds_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("hello")
    with pytest.raises(PenstockError) as caught:
        Http(connect_timeout_s=5, read_timeout_s=5, ca_file=str(tmp_path / "ca.pem"))
    assert caught.value.fault is BAD_DEPLOYMENT
