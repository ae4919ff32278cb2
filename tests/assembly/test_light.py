"""A worker is started again in a moment and there are many of them: what only the supervisor needs is not in them."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "alembic",
    "cryptography",
    "httpx",
    "jwt",
    "numpy",
    "psycopg",
    "pyarrow",
    "redis",
    "sqlalchemy",
    "usearch",
    "yaml",
)


def loaded(module: str, names: tuple[str, ...]) -> list[str]:
    """Which of them are loaded by whoever imports the module."""
    script = f"import sys, {module}; print(*(each for each in {names!r} if each in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_worker_loads_nothing_of_the_stores_and_of_what_is_optional() -> None:
    assert loaded("penstock.assembly.worker", HEAVY) == []


def test_a_supervisor_loads_nothing_of_the_semantic_cache_before_somebody_asks() -> None:
    assert (
        loaded(
            "penstock.assembly.supervisor", ("usearch", "penstock.control.semantic.desks", "penstock.caches.semantic")
        )
        == []
    )
