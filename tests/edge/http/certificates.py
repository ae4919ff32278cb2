"""Certificates of tests: each its own authority, in files as an operator has them."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from penstock.edge.http.config import Tls


def made(folder: Path, name: str = "a", password: str = "", into: str = "served") -> Tls:
    """Writes a certificate for 127.0.0.1, and its key, as the files ``into`` in ``folder``."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    shut = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    files = Tls(certificate=str(folder / f"{into}.crt"), key=str(folder / f"{into}.key"), password=password)
    Path(files.certificate).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    Path(files.key).write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, shut)
    )
    return files


def trusting(files: Tls, *protocols: str) -> ssl.SSLContext:
    """A client's context that trusts this certificate alone, and offers these protocols."""
    context = ssl.create_default_context(cafile=files.certificate)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def name_of(transport_ssl: ssl.SSLObject) -> str:
    """The common name in the certificate that the server has shown."""
    subject = (transport_ssl.getpeercert() or {})["subject"]
    return str(dict(part[0] for part in subject)["commonName"])  # type: ignore[index, misc, arg-type]
