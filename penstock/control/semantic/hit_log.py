"""What a desk has served and what audits found since its state was saved last: written before a hit is given, so that
a gateway that is killed knows of each when it begins again.

A record is one byte (1: a hit, 2: a hit that is audited, 3: an audit found it right, 4: wrong), and big-endian its
ticket and the requests so far (eight bytes each), the probability of its audit and its risk (doubles), and four bytes
of CRC-32. What follows the first record that is not whole is not read.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from penstock.caches.semantic.desk import Desk
from penstock.caches.semantic.ledger import Audit

_RECORD: Final = struct.Struct(">BQQdd")
_SUM: Final = struct.Struct(">I")
_SIZE: Final = _RECORD.size + _SUM.size
_HIT, _AUDITED, _RIGHT, _WRONG = 1, 2, 3, 4


class Noted(msgspec.Struct, frozen=True):
    """One record."""

    kind: int
    ticket: int
    requests: int
    probability: float
    risk: float


class HitLog:
    """Appends. What was written is safe from the end of this process at once, from the end of the machine once
    somebody has brought ``unsynced`` to the disk. ``enter`` and ``close_audit`` raise ``OSError``."""

    def __init__(self, path: Path) -> None:
        """Raises ``OSError``."""
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._synced = True

    def enter(self, ticket: int, requests: int, audit: Audit, audited: bool) -> None:
        """A hit is about to be given."""
        self._write(_AUDITED if audited else _HIT, ticket, requests, audit.probability, audit.risk)

    def close_audit(self, ticket: int, wrong: bool) -> None:
        """The audit of this hit has come to its end."""
        self._write(_WRONG if wrong else _RIGHT, ticket, 0, 0.0, 0.0)

    def unsynced(self) -> int | None:
        """A descriptor of the file, for whoever brings it to the disk and closes it; None: nothing was written since
        the last one. Raises ``OSError``."""
        if self._synced:
            return None
        self._synced = True
        return os.dup(self._file)

    def close(self) -> None:
        """Once."""
        os.close(self._file)

    def _write(self, kind: int, ticket: int, requests: int, probability: float, risk: float) -> None:
        record = _RECORD.pack(kind, ticket, requests, probability, risk)
        if os.write(self._file, record + _SUM.pack(zlib.crc32(record))) != _SIZE:
            raise OSError("a record of a hit was written in part")
        self._synced = False


def read(path: Path) -> list[Noted]:
    """The records that are whole. Raises ``OSError``."""
    data = path.read_bytes()
    found = []
    for at in range(0, len(data) - _SIZE + 1, _SIZE):
        record = data[at : at + _RECORD.size]
        if _SUM.unpack_from(data, at + _RECORD.size)[0] != zlib.crc32(record):
            break
        found.append(Noted(*_RECORD.unpack(record)))
    return found


def replay(desk: Desk, records: Iterable[Noted]) -> None:
    """Brings the desk's ledger to where it was. An audit that has not ended is lost and counts as wrong."""
    audits: dict[int, Audit] = {}
    for each in records:
        if each.kind in (_HIT, _AUDITED):
            audit = Audit(each.probability, each.risk)
            # What is certain to be audited is entered as audited, whatever the record says.
            audited = each.kind == _AUDITED or audit.probability >= 1.0
            desk.ledger.enter(audit, audited)
            if audited:
                audits[each.ticket] = audit
            desk.requests = max(desk.requests, each.requests)
            desk.tickets = max(desk.tickets, each.ticket)
        elif (audit_of := audits.pop(each.ticket, None)) is not None:
            desk.ledger.close(audit_of, each.kind == _WRONG)
    for audit in audits.values():
        desk.ledger.close(audit, wrong=True)
