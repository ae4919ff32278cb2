from __future__ import annotations

import base64
import datetime
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from penstock.core.errors import WEIGHTS_UNAVAILABLE, PenstockError
from penstock.weights import https, resume
from penstock.weights.address import Web, parse
from tests.weights.doubles import Cancel, CancelsAt, Heard, Served, WebServer, gguf

DATA = gguf(400_000)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer({"/m.gguf": Served(DATA)}) as server:
        yield server


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "_FIRST_PAUSE_S", 0.001)


def fetch(url: str, into: Path, progress: object = None) -> bytes:
    address = parse(url)
    assert isinstance(address, Web)
    (part,) = https.fetch(address, into, progress or Heard())  # type: ignore[arg-type]
    return part.path.read_bytes()


def test_a_connection_that_drops_is_resumed(web: WebServer, tmp_path: Path) -> None:
    web.cuts = [100_000, 50_000, 0]
    heard = Heard()
    assert fetch(f"{web.url}/m.gguf", tmp_path, heard) == DATA
    ranges = [one.headers.get("range") for one in web.asked]
    assert ranges == [None, "bytes=100000-", "bytes=150000-", "bytes=150000-"]
    assert {one.headers.get("if-range") for one in web.asked[1:]} == {'"v1"'}
    assert "closed after 100000 of 400000" in heard.of("again")[0][0]
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]


@pytest.mark.parametrize(
    "served",
    [
        Served(gguf(400_000, 1), etag='"v2"'),
        Served(gguf(90_000, 1), etag='"v2"'),
        Served(DATA, etag=None),
        Served(DATA, etag='W/"v1"'),
    ],
    ids=["replaced", "replaced and shorter", "no validator", "a weak validator"],
)
def test_what_cannot_be_resumed_begins_again(web: WebServer, tmp_path: Path, served: Served) -> None:
    if served.data is DATA:
        web.files["/m.gguf"] = served
    with pytest.raises(Cancel):
        fetch(f"{web.url}/m.gguf", tmp_path, CancelsAt("downloading", 100_000))
    web.files["/m.gguf"] = served
    assert fetch(f"{web.url}/m.gguf", tmp_path) == served.data


def test_a_date_is_a_validator(web: WebServer, tmp_path: Path) -> None:
    web.files["/m.gguf"] = Served(DATA, etag=None, modified=1e9)
    web.cuts = [100_000]
    assert fetch(f"{web.url}/m.gguf", tmp_path) == DATA
    assert web.asked[1].headers["if-range"] == "Sun, 09 Sep 2001 01:46:40 GMT"


def test_a_server_without_ranges_sends_all_of_it_again(web: WebServer, tmp_path: Path) -> None:
    web.ranges = False
    web.cuts = [100_000]
    assert fetch(f"{web.url}/m.gguf", tmp_path) == DATA


def test_a_body_without_a_length(web: WebServer, tmp_path: Path) -> None:
    web.chunked = True
    web.cuts = [100_000]
    assert fetch(f"{web.url}/m.gguf", tmp_path) == DATA
    assert len(web.asked) == 2


def test_a_half_file_of_another_address_is_not_gone_on_with(web: WebServer, tmp_path: Path) -> None:
    web.files["/b/m.gguf"] = Served(gguf(400_000, 1))
    with pytest.raises(Cancel):
        fetch(f"{web.url}/m.gguf", tmp_path, CancelsAt("downloading", 100_000))
    assert fetch(f"{web.url}/b/m.gguf", tmp_path) == gguf(400_000, 1)


def test_a_download_that_was_whole_but_for_the_last_step(web: WebServer, tmp_path: Path) -> None:
    with pytest.raises(Cancel):
        fetch(f"{web.url}/m.gguf", tmp_path, CancelsAt("downloading", len(DATA)))
    assert fetch(f"{web.url}/m.gguf", tmp_path) == DATA
    assert web.asked[1].headers["range"] == "bytes=399999-"


def test_a_file_that_became_shorter_under_the_same_name(web: WebServer, tmp_path: Path) -> None:
    with pytest.raises(Cancel):
        fetch(f"{web.url}/m.gguf", tmp_path, CancelsAt("downloading", 200_000))
    web.files["/m.gguf"] = Served(DATA[:100_000])
    assert fetch(f"{web.url}/m.gguf", tmp_path) == DATA[:100_000]


def test_passing_faults_are_tried_again_and_told_apart(web: WebServer, tmp_path: Path) -> None:
    web.statuses = [503, 429, 500]
    assert fetch(f"{web.url}/m.gguf", tmp_path) == DATA
    web.statuses = [502] * 10
    with pytest.raises(PenstockError, match=r"answered 502 .*try again") as caught:
        fetch(f"{web.url}/m.gguf", tmp_path / "..", None)
    assert caught.value.fault is WEIGHTS_UNAVAILABLE
    assert len(web.asked) == 4 + 6


@pytest.mark.parametrize(
    ("status", "said"), [(401, "name and a password"), (403, "signed URL"), (404, "mend the path"), (418, "418")]
)
def test_lasting_faults_are_not(web: WebServer, tmp_path: Path, status: int, said: str) -> None:
    web.statuses = [status] * 10
    with pytest.raises(PenstockError, match=said):
        fetch(f"{web.url}/m.gguf", tmp_path)
    assert len(web.asked) == 1


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(PenstockError, match=r"cannot be reached .*refused"):
            fetch(f"http://127.0.0.1:{taken.getsockname()[1]}/m.gguf", tmp_path)


def test_a_name_and_a_password_go_to_the_host_that_they_are_for(web: WebServer, tmp_path: Path) -> None:
    with WebServer({"/real.gguf": Served(DATA)}) as other:
        web.statuses = [302]
        web.error_headers = {"Location": f"{other.url}/real.gguf"}
        url = web.url.replace("//", "//me:p%40ss@")
        assert fetch(f"{url}/m.gguf", tmp_path) == DATA
        assert web.asked[0].headers["authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()
        assert "authorization" not in other.asked[0].headers


def test_a_redirect_out_of_http_is_not_followed(web: WebServer, tmp_path: Path) -> None:
    web.statuses = [302]
    web.error_headers = {"Location": "file:///etc/passwd"}
    with pytest.raises(PenstockError, match="file:///etc/passwd' is not allowed"):
        fetch(f"{web.url}/m.gguf", tmp_path)


def test_a_server_that_compresses_all_the_same_is_refused(web: WebServer, tmp_path: Path) -> None:
    web.files["/m.gguf"].headers["Content-Encoding"] = "gzip"
    with pytest.raises(PenstockError, match="compresses the file"):
        fetch(f"{web.url}/m.gguf", tmp_path)


def test_a_body_that_ends_with_its_connection_is_refused(web: WebServer, tmp_path: Path) -> None:
    def bare(request: BaseHTTPRequestHandler) -> bool:
        request.send_response(200)
        request.send_header("Connection", "close")
        request.end_headers()
        request.wfile.write(DATA)
        return True

    web.extra = bare
    with pytest.raises(PenstockError, match="does not say how long"):
        fetch(f"{web.url}/m.gguf", tmp_path)


def test_a_range_that_was_not_asked_for_is_not_taken(web: WebServer, tmp_path: Path) -> None:
    def elsewhere(request: BaseHTTPRequestHandler) -> bool:
        if "Range" not in request.headers:
            return False
        request.send_response(206)
        request.send_header("Content-Range", "bytes 7-399999/400000")
        request.send_header("Content-Length", "399993")
        request.end_headers()
        request.wfile.write(DATA[7:])
        return True

    web.extra = elsewhere
    web.cuts = [100_000]
    assert fetch(f"{web.url}/m.gguf", tmp_path) == DATA


def test_parts_are_fetched_from_beside_the_first(web: WebServer, tmp_path: Path) -> None:
    for number in (1, 2):
        web.files[f"/d/m-0000{number}-of-00002.gguf"] = Served(gguf(1000, number))
    address = parse(f"{web.url}/d/m-00001-of-00002.gguf?x=1")
    assert isinstance(address, Web)
    parts = https.fetch(address, tmp_path, Heard())
    assert [part.path.read_bytes() for part in parts] == [gguf(1000, 1), gguf(1000, 2)]


# -- TLS ---------------------------------------------------------------------------------------------------------


def certificate(folder: Path) -> ssl.SSLContext:
    """A server's context for 127.0.0.1; ``folder/ca.pem`` is what vouches for it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "double")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[WebServer]:
    (tmp_path / "tls").mkdir()
    with WebServer({"/m.gguf": Served(DATA)}, tls=certificate(tmp_path / "tls")) as server:
        yield server


def test_a_certificate_is_trusted_when_its_authority_is_named(
    secure: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert secure.url.startswith("https:")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls/ca.pem"))
    secure.cuts = [100_000]
    assert fetch(f"{secure.url}/m.gguf", tmp_path) == DATA


def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(secure: WebServer, tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(PenstockError, match=r"not to be trusted .*SSL_CERT_FILE"):
        fetch(f"{secure.url}/m.gguf", tmp_path, heard)
    assert not heard.of("again")


def test_a_redirect_out_of_tls_is_not_followed(
    secure: WebServer, web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls/ca.pem"))
    secure.statuses = [302]
    secure.error_headers = {"Location": f"{web.url}/m.gguf"}
    with pytest.raises(PenstockError, match="redirects to an address that is not https"):
        fetch(f"{secure.url}/m.gguf", tmp_path)
    assert web.asked == []
