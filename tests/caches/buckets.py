"""A private S3 for tests: moto's server as a process of its own, which can be killed and made to hang.

It forgets everything when it is killed; ``start`` makes the bucket again.
"""

from __future__ import annotations

import http.client
import socket
import sys
from types import TracebackType

from tests.killable import Killable

BUCKET = "cache"
# moto asks for a signature's form, not for its truth.
_CREDENTIAL = (
    "AWS4-HMAC-SHA256 Credential=testing/20300101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x"
)


class S3Server(Killable):
    """Use as a context. ``url`` stays the same over ``kill`` and ``start``."""

    def __enter__(self) -> S3Server:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which clients find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Returns when it answers and has an empty bucket."""
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._begin(command, self._answers, 60)

    def empty(self) -> None:
        """All that it holds is gone."""
        assert self._ask("POST", "/moto-api/reset") == 200
        assert self._ask("PUT", f"/{BUCKET}") == 200

    def put(self, path: str, data: bytes) -> None:
        """An object, behind the gateway's back."""
        assert self._ask("PUT", f"/{BUCKET}/{path}", data) == 200

    def _answers(self) -> bool:
        try:
            return self._ask("PUT", f"/{BUCKET}") == 200
        except OSError:
            return False

    def _ask(self, method: str, path: str, body: bytes = b"") -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body=body, headers={"Authorization": _CREDENTIAL})
            return connection.getresponse().status
        finally:
            connection.close()
