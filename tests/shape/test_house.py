"""The house stands: every rule holds over the source as it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.shape import floors, habits
from tests.shape.source import House, Offence, listed

ROOT = Path(__file__).resolve().parents[2]
RULES: tuple[Callable[[House], list[Offence]], ...] = (
    floors.unknown_rooms,
    floors.floors,
    floors.adapters,
    floors.catalog_entries,
    floors.loading,
    floors.core_is_light,
    floors.tests_stay_out,
    floors.circles,
    habits.long_files,
    habits.file_names,
    habits.class_names,
    habits.loose_mappings,
    habits.swallowed,
    habits.sleeping_tests,
    habits.singletons,
    habits.import_flags,
    habits.provider_branches,
    habits.docstrings,
    habits.relative_imports,
    habits.left_behind,
    habits.faults,
)


@pytest.fixture(scope="module")
def house() -> House:
    return House(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(house: House, rule: Callable[[House], list[Offence]]) -> None:
    offences = rule(house)
    assert not offences, listed(offences)


def test_the_house_was_read(house: House) -> None:
    assert len(house.package) > 10
    assert {"core", "engines", "gateway"} <= {file.room for file in house.package}


def test_tests_mirror_the_package(house: House) -> None:
    rooms = {file.room for file in house.package} | {"browser", "contracts", "shape", "e2e", "docs"}
    strange = {file.where.split("/")[1] for file in house.tests if file.where.count("/") > 1} - rooms
    assert not strange, f"tests/ has {sorted(strange)}, which mirror no room"


@pytest.mark.parametrize("module", ["penstock.config", "penstock.catalog"])
def test_checking_a_file_imports_nothing_heavy(module: str) -> None:
    """``penstock check`` starts fast: beside the standard library, only the YAML reader and msgspec are loaded."""
    script = (
        f"import sys; before = set(sys.modules); import {module}; "
        "new = {name for name in set(sys.modules) - before if getattr(sys.modules[name], '__file__', None)}; "
        "print(*sorted({name.split('.')[0] for name in new} - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(done.stdout.split()) <= {"penstock", "msgspec", "yaml", "_yaml", "typing_extensions"}
