"""The archive in S3, by obstore (``pip install 'penstock[s3]'``).

Region, credentials and endpoint come from the ``AWS_*`` variables of the environment, or from the machine's role, as
for weights.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import obstore
import obstore.exceptions as faults
from obstore.store import S3Store

from penstock.core.errors import STORE_UNAVAILABLE, PenstockError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CONNECT = datetime.timedelta(seconds=3)
_ANSWER = datetime.timedelta(seconds=20)
_UPLOAD = datetime.timedelta(minutes=30)
_BLOCK = 1 << 20


class S3Objects:
    """``Objects`` under ``s3://BUCKET/PREFIX``."""

    def __init__(self, url: str) -> None:
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self._place = url
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._reading = _store(bucket, _ANSWER)
        self._writing = _store(bucket, _UPLOAD)

    @property
    def place(self) -> str:
        return self._place

    def put(self, name: str, path: Path) -> None:
        with self._said():
            obstore.put(self._writing, self._prefix + name, path)

    def open(self, name: str) -> BinaryIO:
        with self._said():
            size = obstore.head(self._reading, self._prefix + name)["size"]
        # Parquet's footer is at the end and read in small pieces.
        return cast(BinaryIO, io.BufferedReader(_Ranges(self, self._prefix + name, size), _BLOCK))

    def delete(self, name: str) -> None:
        with self._said(), contextlib.suppress(faults.NotFoundError, FileNotFoundError):
            obstore.delete(self._reading, self._prefix + name)

    def range(self, key: str, start: int, end: int) -> bytes:
        """Some of an object."""
        with self._said():
            return bytes(obstore.get_range(self._reading, key, start=start, end=end))

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except (faults.NotFoundError, FileNotFoundError) as fault:
            if "NoSuchBucket" in str(fault):
                raise self._unavailable("there is no such bucket; make it") from None
            raise FileNotFoundError(self._place) from None
        except (faults.PermissionDeniedError, faults.UnauthenticatedError):
            raise self._unavailable("it is forbidden; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from None
        except faults.BaseError as fault:
            said = str(fault).strip().partition("\n")[0][:200]
            mend = "AWS_ENDPOINT_URL and AWS_REGION say which store is asked"
            raise self._unavailable(f"it failed or cannot be reached ({said}); {mend}") from None

    def _unavailable(self, why: str) -> PenstockError:
        return PenstockError(STORE_UNAVAILABLE, f"The archive of the request log at {self._place}: {why}.")


class _Ranges(io.RawIOBase):
    """An object as a file that can be read anywhere."""

    def __init__(self, objects: S3Objects, key: str, size: int) -> None:
        self._objects, self._key, self._size, self._at = objects, key, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        end = min(self._at + len(view), self._size)
        if end <= self._at:
            return 0
        data = self._objects.range(self._key, self._at, end)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


def _store(bucket: str, timeout: datetime.timedelta) -> S3Store:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return S3Store(
        bucket,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": _CONNECT,
            "timeout": timeout,
        },
        retry_config={"max_retries": 2, "retry_timeout": timeout},
    )
