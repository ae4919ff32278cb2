"""A worker is started again in a moment and there are many of them: what only the supervisor needs is not in them."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("alembic", "cryptography", "httpx", "jwt", "numpy", "psycopg", "pyarrow", "redis", "sqlalchemy", "yaml")


def test_a_worker_loads_nothing_of_the_stores_and_of_what_is_optional() -> None:
    script = f"import sys, penstock.assembly.worker; print(*(each for each in {HEAVY!r} if each in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
