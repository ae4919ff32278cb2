"""The request log at size: rows of a day written by its own way, searches of it, and what it takes on the disk.

    python -m benchmarks request-log [--rows 10000000] [--days 1] [--archive] [--folder FOLDER]

Rows are made, not waited for: as a gateway with twenty services, two thousand keys and a hundred thousand subjects
would write them, evenly over the days; late ones are among them, as a request is told of when it is over. Each search
is timed three times, from its call to the last row of its page; the median is shown. Each opens the files anew; the
operating system has them in its memory as far as they go.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from benchmarks import machine
from penstock.core.requests import AttemptMade, Marks, RequestQuery, RequestRecord
from penstock.core.usage import Tokens
from penstock.store.database import open_database, sqlite_url
from penstock.store.migrations import migrate
from penstock.store.requests import RequestLog, open_requests

BATCH = 5_000
PAGE = 50
DAY = 86400.0
END = 20_780 * DAY
_SERVICES, _MODELS, _KEYS, _USERS, _SUBJECTS = 20, 8, 2_000, 5_000, 100_000
_KINDS = 100_000


def parse(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--days", type=float, default=1.0, help="over which they are spread")
    parser.add_argument("--archive", action="store_true", help="the same searches again once all is archived")
    parser.add_argument("--folder", type=Path, default=None, help="where there is room (default: the system's)")


def main(asked: argparse.Namespace) -> None:
    """Prints a table."""
    print(machine.described())
    with tempfile.TemporaryDirectory(prefix="request-log-", dir=asked.folder) as home:
        folder = Path(home)
        database = open_database(sqlite_url(folder / "state.db"))
        migrate(database, now=END)
        log = open_requests(database, folder / "requests", str(folder / "archive"), gateway="gw", wall=lambda: END)
        _write(log, asked.rows, asked.days)
        log.close()
        print(f"{_bytes(folder / 'requests') / asked.rows:,.0f} bytes a row of facts, lists for searches included\n")
        log = open_requests(database, folder / "requests", str(folder / "archive"), gateway="gw", wall=lambda: END)
        _search(log, asked.rows)
        if asked.archive:
            began = time.perf_counter()
            log.archive(END)
            print(f"\narchived in {time.perf_counter() - began:,.0f} s")
            print(f"{_bytes(folder / 'archive') / asked.rows:,.0f} bytes a row as Parquet\n")
            _search(log, asked.rows)
        log.close()
        database.close()


def _write(log: RequestLog, rows: int, days: float) -> None:
    spent = 0.0
    for batch in _batches(rows, days):
        began = time.process_time()
        log.append_requests(batch, [])
        spent += time.process_time() - began
    print(f"{rows:,} rows over {days:g} days: {spent / rows * 1e6:.1f} us of CPU a row, in batches of {BATCH:,}")


def _search(log: RequestLog, rows: int) -> None:
    day = RequestQuery(service="service-3", since=END - DAY)
    newest = log.find(day, None, 1)[0]
    searches = {
        "one service, last 24 hours (the default)": day,
        "everything": RequestQuery(),
        "a key": RequestQuery(key_id="key_000077"),
        "a user": RequestQuery(user="user-77@example.com"),
        "a subject": RequestQuery(subject=newest.subject),
        "a project": RequestQuery(project="project-7"),
        "failed (5xx) of a service": RequestQuery(service="service-3", status="5xx"),
        "a status that is rare (429)": RequestQuery(status="429"),
        "a status that never was (418)": RequestQuery(status="418"),
        "the dearest": RequestQuery(min_cost_nano=9_999_000),
        "dearer than any": RequestQuery(min_cost_nano=20_000_000),
        "slower than 60 s": RequestQuery(min_s=60.0),
        "first chunk later than 30 s": RequestQuery(min_first_s=30.0),
        "slow ones of a key": RequestQuery(key_id="key_000077", min_s=20.0),
        "one trace": RequestQuery(trace=newest.trace.hex()),
        "one id": RequestQuery(request_id=newest.request_id),
        "an id that never was": RequestQuery(request_id="chatcmpl-0"),
        "a user of yesterday who never was": RequestQuery(user="nobody", since=END - DAY),
    }
    print(f"| search of {rows:,} rows, newest {PAGE} | found | ms |\n| --- | ---: | ---: |")
    for name, query in searches.items():
        times = []
        for _ in range(3):
            began = time.perf_counter()
            found = len(log.find(query, None, PAGE))
            times.append(time.perf_counter() - began)
        print(f"| {name} | {found} | {statistics.median(times) * 1e3:,.1f} |", flush=True)


def _batches(rows: int, days: float) -> Iterator[list[RequestRecord]]:
    chance = random.Random(20)
    kinds = [_record(chance) for _ in range(_KINDS)]
    step, begin = days * DAY / rows, END - days * DAY
    for first in range(0, rows, BATCH):
        # Told of when they are over, so in the order of their ends.
        yield [
            replace(
                kind := kinds[chance.randrange(_KINDS)],
                at=max(begin + step * number - kind.duration_s, begin),
                request_id=f"chatcmpl-{chance.getrandbits(128):032x}",
                user=f"user-{chance.randrange(_USERS)}@example.com",
                subject=f"sub_{chance.randrange(_SUBJECTS):016x}",
                trace=chance.randbytes(16),
                span=chance.randbytes(8),
            )
            for number in range(first, min(first + BATCH, rows))
        ]


def _record(chance: random.Random) -> RequestRecord:
    service, model = chance.randrange(_SERVICES), chance.randrange(_MODELS)
    duration = chance.lognormvariate(0.7, 1.1)
    first = duration * 0.3
    luck = chance.random()
    status, code = (502, "upstream_failed") if luck < 0.01 else (429, "rate_limited") if luck < 0.0102 else (200, "")
    failed = status != 200
    replica = f"model-{model}/{chance.randrange(3)}"
    key = int(_KEYS * chance.random() ** 3)
    return RequestRecord(
        request_id="",
        at=0.0,
        gateway="gw-1",
        worker=chance.randrange(4),
        project=f"project-{key % 40}",
        key_id=f"key_{key:06d}",
        team=f"team-{key % 10}",
        asked=f"service-{service}",
        service=f"service-{service}",
        release=f"rel_{service:016x}",
        model=f"model-{model}",
        replica=replica,
        kind="chat",
        dialect="chat/completions",
        stream=luck > 0.5,
        ending="failed" if failed else "complete",
        status=status,
        code=code,
        message="the upstream closed the connection" if failed else "",
        tokens=Tokens(input=chance.randrange(4000), cached_read=chance.randrange(400), output=chance.randrange(800)),
        cost_nano=int(chance.random() * 10_000_000),
        duration_s=duration,
        first_chunk_s=None if failed else first,
        queued_s=chance.random() * 0.01,
        overhead_s=chance.random() * 0.002,
        between_s=chance.random() * 0.02,
        marks=Marks(0.000123, 0.000212, 0.000351, 0.000412, 0.000533, first, duration),
        attempts=(AttemptMade(1, f"model-{model}", replica, 0.0006, duration, first, code, "", chance.randbytes(8)),),
        content="masked",
    )


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
