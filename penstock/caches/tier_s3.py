"""The cold tier: an S3-compatible store, by obstore (``pip install 'penstock[s3]'``).

Region, credentials and endpoint come from the ``AWS_*`` variables of the environment, or from the machine's role, as
for weights. Nothing expires there by itself: sweeps delete it, or a lifecycle rule of the bucket.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from typing import TypeVar

import obstore
import obstore.exceptions as faults
from obstore.store import S3Store

from penstock.caches import Items, Kept, TierFailed
from penstock.caches.config import S3Settings

T = TypeVar("T")

AT_ONCE = 16
"""Requests of one process to the store, at most."""
_WALKED = 64


class S3Tier:
    """A ``Tier`` in the place of ``settings``: one object for each key, under its hexadecimal digits."""

    name = "s3"

    def __init__(self, settings: S3Settings) -> None:
        bucket, _, prefix = settings.place.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        longest = datetime.timedelta(seconds=max(settings.read_s, settings.write_s))
        self._store = S3Store(
            bucket,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": longest,
                "timeout": longest,
            },
            retry_config={"max_retries": 0, "retry_timeout": longest},
        )
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def get(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        return await _all([self._get(key) for key in keys])

    async def put(self, items: Sequence[Kept]) -> None:
        await _all([self._put(item) for item in items])

    async def delete(self, keys: Sequence[bytes]) -> None:
        await _all([self._delete(key) for key in keys])

    async def walk(self) -> AsyncIterator[Items]:
        listed = obstore.list(self._store, self._prefix or None, chunk_size=_WALKED).__aiter__()
        while True:
            with _said():
                objects = await anext(listed, None)
            if objects is None:
                return
            keys = [key for each in objects if (key := self._key(str(each["path"]))) is not None]
            yield [(key, value) for key, value in zip(keys, await self.get(keys), strict=True) if value is not None]

    async def aclose(self) -> None:
        """The client lets go of its connections by itself."""

    async def _get(self, key: bytes) -> bytes | None:
        async with self._turns:
            try:
                with _said():
                    answer = await obstore.get_async(self._store, self._path(key))
                    return bytes(await answer.bytes_async())
            except FileNotFoundError:
                return None

    async def _put(self, item: Kept) -> None:
        async with self._turns:
            try:
                with _said():
                    await obstore.put_async(self._store, self._path(item.key), item.value)
            except FileNotFoundError:
                raise TierFailed("the bucket is not there; make it") from None

    async def _delete(self, key: bytes) -> None:
        async with self._turns:
            with contextlib.suppress(FileNotFoundError), _said():
                await obstore.delete_async(self._store, self._path(key))

    def _path(self, key: bytes) -> str:
        name = key.hex()
        # Stores spread their load by the beginning of names.
        return f"{self._prefix}{name[:2]}/{name[2:]}"

    def _key(self, path: str) -> bytes | None:
        """None for what a stranger put there."""
        try:
            return bytes.fromhex(path.removeprefix(self._prefix).replace("/", "", 1))
        except ValueError:
            return None


async def _all(work: Sequence[Coroutine[object, object, T]]) -> list[T]:
    """What each brings, in order. Raises what the first that fails raises, once all have ended."""
    done = await asyncio.gather(*work, return_exceptions=True)
    for each in done:
        if isinstance(each, BaseException):
            raise each
    return [each for each in done if not isinstance(each, BaseException)]


@contextlib.contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except (faults.NotFoundError, FileNotFoundError) as fault:
        if "NoSuchBucket" in str(fault):
            raise TierFailed("there is no such bucket; make it") from None
        raise FileNotFoundError from None
    except (faults.PermissionDeniedError, faults.UnauthenticatedError):
        raise TierFailed("it is forbidden; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") from None
    except Exception as fault:
        raise TierFailed(str(fault).strip().partition("\n")[0][:200]) from fault
