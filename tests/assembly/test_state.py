"""What outlives a process is one for all gateways of a store, and each gateway's own where it is not."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.access.config import AccessSettings
from penstock.access.keyring import Keyring
from penstock.assembly.state import opened
from penstock.core.clock import SystemClock
from penstock.core.errors import STORE_UNAVAILABLE, PenstockError
from penstock.core.usage import Act
from penstock.observe.config import ObserveSettings
from penstock.store.config import StateSettings
from penstock.store.database import open_database, sqlite_url
from tests.postgres import postgres, postgres_url

__all__ = ["postgres", "postgres_url"]

CLOCK = SystemClock()
ROOT = Path(__file__).parents[2]
PEPPER = "cGVwcGVycGVwcGVycGVwcGVycGVwcGVycGVwcGVycGU="


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir(mode=0o700)
    return made


def test_a_home_is_the_same_at_every_start(home: Path) -> None:
    with opened(home, StateSettings(), AccessSettings(), ObserveSettings(), CLOCK) as first:
        names = (first.gateway, first.peppers, first.store.created_at())
        assert not first.shared
        assert first.gateway.startswith("g")
        assert len(first.gateway) == 9
    with opened(home, StateSettings(), AccessSettings(), ObserveSettings(), CLOCK) as second:
        assert (second.gateway, second.peppers, second.store.created_at()) == names
    for name in ("state.db", "gateway", "pepper", "audit.key"):
        assert stat.S_IMODE((home / name).stat().st_mode) & 0o077 == 0, name


def test_gateways_of_two_homes_have_names_of_their_own(tmp_path: Path) -> None:
    names = set()
    for number in range(5):
        home = tmp_path / str(number)
        home.mkdir()
        with opened(home, StateSettings(), AccessSettings(), ObserveSettings(), CLOCK) as found:
            names.add(found.gateway)
    assert len(names) == 5


def test_the_store_is_closed_with_the_block(home: Path) -> None:
    with opened(home, StateSettings(), AccessSettings(), ObserveSettings(), CLOCK) as found:
        found.store.version()
    with pytest.raises(PenstockError):
        found.store.version()


def test_what_is_no_store_is_said(home: Path) -> None:
    with (
        pytest.raises(PenstockError) as caught,
        opened(home, StateSettings(store="mysql://x:secret@y/z"), AccessSettings(), ObserveSettings(), CLOCK),
    ):
        pass
    assert caught.value.fault is STORE_UNAVAILABLE
    assert "secret" not in caught.value.message


def test_a_tail_that_was_cut_off_is_found_by_the_heads_that_the_gateway_keeps(home: Path) -> None:
    with opened(home, StateSettings(), AccessSettings(), ObserveSettings(), CLOCK) as found:
        for number in range(3):
            act = Act(at=CLOCK.wall(), actor="k", project="red", action="keys.create")
            found.audit.append_acts([(f"a{number}", act)])
            found.audit.head()
        assert found.audit.verify(()) == []
    database = open_database(sqlite_url(home / "state.db"))
    with database.begin() as connection:
        # With the heads in the store, so that nothing in it knows of the last row.
        connection.exec_driver_sql("DELETE FROM audit_heads WHERE number = 3")
        connection.exec_driver_sql("DELETE FROM audit WHERE number = 3")
    database.close()
    with opened(home, StateSettings(), AccessSettings(), ObserveSettings(), CLOCK) as found:
        assert found.audit.verify(()) != []


# -- several gateways on one PostgreSQL ----------------------------------------------------------------------------

# What the supervisor does first, all of them at the same moment.
GATEWAY = """
import logging, sys
from pathlib import Path
from penstock.access.config import AccessSettings
from penstock.assembly import admin
from penstock.assembly.state import opened
from penstock.observe.config import ObserveSettings
from penstock.core.clock import SystemClock
from penstock.store.config import StateSettings
logging.basicConfig(level=logging.INFO)
clock = SystemClock()
home, url, pepper = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
with opened(Path(home), StateSettings(store=url), AccessSettings(pepper=pepper), ObserveSettings(), clock) as state:
    assert state.shared
    id = f"{admin.ADMIN}-{state.gateway}"
    made = admin.ensure(state.store, state.peppers, id, clock.wall(), chosen=None, kept=None)
    print(state.gateway, made.key, state.store.created_at(), flush=True)
"""


def test_gateways_that_start_together_migrate_once_and_have_keys_of_their_own(
    postgres_url: str, tmp_path: Path
) -> None:
    running = []
    for number in range(3):
        home = tmp_path / f"home{number}"
        home.mkdir()
        argv = [sys.executable, "-c", GATEWAY, str(home), postgres_url, PEPPER]
        running.append(
            subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
            )
        )
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    said = []
    for each in running:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in running:
        out, errors = each.communicate(timeout=60)
        assert each.returncode == 0, errors
        said.append((out.split(), errors))
    assert sum("was brought from revision none" in errors for _, errors in said) == 1
    names, keys, made_at = zip(*(words for words, _ in said), strict=True)
    assert len(set(names)) == len(set(keys)) == 3
    assert len(set(made_at)) == 1
    access = AccessSettings(pepper=PEPPER)
    with opened(tmp_path / "home0", StateSettings(store=postgres_url), access, ObserveSettings(), CLOCK) as state:
        keyring = Keyring(state.store.directory(), state.peppers, CLOCK.wall, lambda _: None)
        assert all(keyring.find(key).everywhere for key in keys)
        assert {key.id for key in state.store.directory().keys} == {f"admin-{name}" for name in names}
