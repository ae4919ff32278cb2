"""S3 against moto's server, which speaks the real protocol, ranges and preconditions included."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from moto.server import ThreadedMotoServer

from penstock.core.errors import PenstockError
from penstock.weights import resume
from penstock.weights.store import ModelStore
from tests.weights.doubles import Cancel, CancelsAt, Heard, Served, WebServer, files_below, gguf, sha256

DATA = gguf(3_000_000)


def put(url: str, path: str, data: bytes) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    # moto asks for a signature's form, not for its truth.
    credential = (
        "AWS4-HMAC-SHA256 Credential=testing/20300101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x"
    )
    connection.request("PUT", path, body=data, headers={"Authorization": credential})
    assert connection.getresponse().status == 200
    connection.close()


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    put(url, "/models", b"")
    yield url
    server.stop()


@pytest.fixture
def store(tmp_path: Path, moto: str, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setattr(resume, "_FIRST_PAUSE_S", 0.001)
    put(moto, "/models/a/m.gguf", DATA)
    return ModelStore(tmp_path / "store")


def test_an_object_is_fetched_once(store: ModelStore) -> None:
    heard = Heard()
    kept = store.fetch("s3://models/a/m.gguf", sha256=sha256(DATA), progress=heard)
    assert kept.path.read_bytes() == DATA
    assert heard.of("downloading")[-1][1:] == (len(DATA), len(DATA))
    assert store.cached("s3:models/a/m.gguf") == kept
    assert files_below(store.root) == {kept.path.name}


def test_an_interrupted_download_goes_on(store: ModelStore) -> None:
    with pytest.raises(Cancel):
        store.fetch("s3://models/a/m.gguf", progress=CancelsAt("downloading", 1_500_000))
    heard = Heard()
    assert store.fetch("s3://models/a/m.gguf", progress=heard).path.read_bytes() == DATA
    assert heard.of("downloading")[0][1] > 1_500_000


def test_an_object_that_was_replaced_meanwhile_is_fetched_whole(store: ModelStore, moto: str) -> None:
    with pytest.raises(Cancel):
        store.fetch("s3://models/a/m.gguf", progress=CancelsAt("downloading", 1_500_000))
    other = gguf(3_000_000, 1)
    put(moto, "/models/a/m.gguf", other)
    assert store.fetch("s3://models/a/m.gguf", progress=Heard()).path.read_bytes() == other


def test_parts_come_together(store: ModelStore, moto: str) -> None:
    for number in (1, 2):
        put(moto, f"/models/p/m-0000{number}-of-00002.gguf", gguf(1000, number))
    kept = store.fetch("s3://models/p/m-00001-of-00002.gguf", progress=Heard())
    assert kept.sha256 == sha256(gguf(1000, 1) + gguf(1000, 2))


@pytest.mark.parametrize("address", ["s3://models/none.gguf", "s3://no-such-bucket/m.gguf"])
def test_an_object_that_is_not_there(store: ModelStore, address: str) -> None:
    with pytest.raises(PenstockError, match="no such object; mend the bucket or the key"):
        store.fetch(address, progress=Heard())


def test_a_connection_that_drops_is_resumed(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with WebServer({"/models/m.gguf": Served(DATA, modified=1e9)}) as web:
        monkeypatch.setenv("AWS_ENDPOINT_URL", web.url)
        web.cuts = [2_500_000]
        assert store.fetch("s3://models/m.gguf", progress=Heard()).path.read_bytes() == DATA
        assert len(web.asked) > 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_store_that_forbids_says_which_variables(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with WebServer() as web:
        monkeypatch.setenv("AWS_ENDPOINT_URL", web.url)
        web.statuses = [status] * 10
        with pytest.raises(PenstockError, match="forbids it; set AWS_ACCESS_KEY_ID"):
            store.fetch("s3://models/m.gguf", progress=Heard())


def test_a_store_that_is_not_there(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "_ATTEMPTS", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(PenstockError, match=r"cannot be reached .*AWS_ENDPOINT_URL") as caught:
            store.fetch("s3://models/m.gguf", progress=Heard())
    assert "testing" not in str(caught.value)
