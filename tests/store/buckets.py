"""S3 by moto's server, which speaks the real protocol."""

from __future__ import annotations

import http.client
import itertools
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from moto.server import ThreadedMotoServer

_names = itertools.count(1)


def put(url: str, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    # moto asks for a signature's form, not for its truth.
    credential = (
        "AWS4-HMAC-SHA256 Credential=testing/20300101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x"
    )
    connection.request("PUT", path, body=b"", headers={"Authorization": credential})
    assert connection.getresponse().status == 200
    connection.close()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new bucket."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    name = f"bucket-{next(_names)}"
    put(s3, f"/{name}")
    return f"s3://{name}"
