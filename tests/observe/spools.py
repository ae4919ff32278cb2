"""What tests of spools write and read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import msgspec

from penstock.core.requests import Beat, RequestContent, RequestRecord
from penstock.observe.spool import HEADER, MANY, segment_name
from penstock.observe.spool_reader import Batch

ALL = 100_000


def record(number: int, worker: int = 0, message: str = "") -> RequestRecord:
    return RequestRecord(request_id=f"r{number}", at=float(number), gateway="g", worker=worker, message=message)


def content(number: int, size: int) -> RequestContent:
    return RequestContent(
        request_id=f"r{number}", at=float(number), project="p", service="s", request=b'"%s"' % (b"x" * size)
    )


def until(true: Callable[[], bool], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while not true():
        assert time.monotonic() < deadline, "it did not come to be in time"
        pause.wait(0.01)


def names(batch: Batch) -> list[str]:
    return [each.request_id for each in batch.records]


def frames(*records: RequestRecord | RequestContent | Beat) -> bytes:
    found = b""
    for each in records:
        payload = msgspec.msgpack.encode(each)
        found += HEADER.pack(len(payload), crc32(payload)) + payload
    return found


def many(*records: RequestRecord | RequestContent) -> bytes:
    payload = MANY + msgspec.msgpack.encode(records)
    return HEADER.pack(len(payload), crc32(payload)) + payload


def laid(folder: Path, data: bytes, owner: str = "w1", number: int = 1) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / segment_name(owner, number)
    path.write_bytes(data)
    return path
