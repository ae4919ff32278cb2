"""``s3:`` weights, by obstore (``pip install 'penstock[s3]'``).

Region, credentials and endpoint come from the ``AWS_*`` variables of the environment, or from the machine's role:
``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``, ``AWS_REGION``, ``AWS_ENDPOINT_URL`` for a
store that is not Amazon's, ``AWS_SKIP_SIGNATURE=true`` for a public bucket.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
import obstore.exceptions as faults
from obstore.store import S3Store

from penstock.core.errors import PenstockError
from penstock.weights import Progress
from penstock.weights.address import S3, file_name
from penstock.weights.disk import BLOCK
from penstock.weights.fetching import Part, unavailable
from penstock.weights.resume import Body, Broken, Stale, download
from penstock.weights.split import parts_of

if TYPE_CHECKING:
    from obstore import BytesStream

_SILENCE = datetime.timedelta(seconds=60)
_RETRIES = 2


def fetch(address: S3, into: Path, progress: Progress) -> tuple[Part, ...]:
    """The object, or each part of a GGUF in parts from beside the first."""
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    bucket = S3Store(
        address.bucket,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": _SILENCE,
            "read_timeout": _SILENCE,
            # The library's default is 30 seconds for the whole body.
            "timeout": datetime.timedelta(days=7),
        },
        retry_config={"max_retries": _RETRIES, "retry_timeout": _SILENCE},
    )
    folder = address.key.removesuffix(address.name)
    found = []
    for name in parts_of(address.name):
        key, target = folder + name, into / file_name(name)
        try:
            if not target.exists():
                download(_Objects(address, bucket, key), target, of=f"{address.bucket}/{key}", progress=progress)
        except Broken as fault:
            raise unavailable(address, f"{fault.why}; what came is kept, try again") from fault
        found.append(Part(target))
    return tuple(found)


class _Objects:
    """One object, as a source to resume from."""

    def __init__(self, address: S3, bucket: S3Store, key: str) -> None:
        self._address, self._bucket, self._key = address, bucket, key

    @contextlib.contextmanager
    def open(self, offset: int, validator: str | None) -> Iterator[Body]:
        try:
            if offset and validator:
                found = obstore.get(
                    self._bucket, self._key, options={"range": {"offset": offset}, "if_match": validator}
                )
            else:
                found = obstore.get(self._bucket, self._key)
        except (faults.BaseError, FileNotFoundError) as fault:
            raise _ours(self._address, fault) from None
        start, _ = found.range
        yield Body(start, found.meta["size"], found.meta["e_tag"], self._chunks(found.stream(min_chunk_size=BLOCK)))

    def _chunks(self, stream: BytesStream) -> Iterator[bytes]:
        try:
            for chunk in stream:
                yield bytes(chunk)
        except (faults.BaseError, FileNotFoundError) as fault:
            raise _ours(self._address, fault) from None


def _ours(address: S3, fault: Exception) -> Broken | PenstockError:
    if isinstance(fault, faults.PreconditionError):
        return Stale("the object was replaced since the last attempt")
    if isinstance(fault, faults.NotFoundError | FileNotFoundError):
        return unavailable(address, "there is no such object; mend the bucket or the key")
    if isinstance(fault, faults.PermissionDeniedError | faults.UnauthenticatedError):
        mend = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket"
        return unavailable(address, f"the store forbids it; {mend}")
    said = str(fault).strip().partition("\n")[0][:200]
    return Broken(
        f"the store failed or cannot be reached ({said}); AWS_ENDPOINT_URL and AWS_REGION say which is asked"
    )
