"""The index and Parquet in one process: a supervisor has both."""

from __future__ import annotations

import subprocess
import sys

_BOTH = """
import numpy as np
from penstock.caches.semantic.index_usearch import UsearchIndex
index = UsearchIndex(8)
index.add(1, np.ones(8, np.float32) / np.sqrt(8).astype(np.float32))
import datetime, pyarrow
now = pyarrow.array([datetime.datetime.now(datetime.UTC)], pyarrow.timestamp("us", "UTC"))
pyarrow.table({"at": now}).to_pandas()
"""


def test_neither_ends_the_process() -> None:
    ran = subprocess.run([sys.executable, "-c", _BOTH], capture_output=True, timeout=60, check=False)
    assert ran.returncode == 0, ran
