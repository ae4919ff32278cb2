"""What the kernel holds in the sockets of one process, by its own account in ``/proc/net/tcp``."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

_INODE = re.compile(r"socket:\[(\d+)\]")


def queued_bytes(pid: int) -> int:
    """Bytes that wait in the send and receive queues of the TCP sockets of ``pid``."""
    own = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if found := _INODE.match(os.readlink(entry)):
                own.add(found[1])
    total = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        # 0A is a listener, whose queues count connections.
        if fields[9] in own and fields[3] != "0A":
            sent, received = fields[4].split(":")
            total += int(sent, 16) + int(received, 16)
    return total
