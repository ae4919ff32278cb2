"""Each rule can fail: a bad file is caught at its line, and a good one like it is let through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.shape import floors, habits
from tests.shape.source import House, Offence
from tests.shape.test_house import RULES

Rule = Callable[[House], list[Offence]]
CATALOG = 'ENTRIES = {"engine.fake": "penstock.engines.fake:Fake"}\n'

BAD: tuple[tuple[Rule, Mapping[str, str], str], ...] = (
    (floors.unknown_rooms, {"penstock/attic.py": ""}, "penstock/attic.py:1"),
    (floors.floors, {"penstock/engines/a.py": "import penstock.gateway.chat\n"}, "penstock/engines/a.py:1"),
    (
        floors.floors,
        {"penstock/engines/a.py": "from penstock import fleet\n", "penstock/fleet/__init__.py": ""},
        ":1",
    ),
    (floors.floors, {"penstock/engines/a.py": "def f():\n    from penstock.fleet import x\n"}, ":2"),
    (floors.floors, {"penstock/gateway/a.py": "from penstock.control.loops import x\n"}, ":1"),
    (floors.floors, {"penstock/core/a.py": "import penstock.store\n"}, ":1"),
    (floors.floors, {"penstock/edge/http/a.py": "import penstock.assembly\n"}, ":1"),
    (floors.floors, {"penstock/assembly/a.py": "import penstock.edge.cli.main\n"}, ":1"),
    (floors.floors, {"penstock/config.py": "import penstock.engines.fake\n"}, ":1"),
    (floors.floors, {"penstock/catalog.py": "import penstock.engines\n"}, ":1"),
    (
        floors.adapters,
        {
            "penstock/catalog.py": CATALOG,
            "penstock/engines/fake.py": "class Fake: ...\n",
            "penstock/assembly/a.py": "from penstock.engines.fake import Fake\n",
        },
        "penstock/assembly/a.py:1",
    ),
    (floors.catalog_entries, {"penstock/catalog.py": CATALOG}, "penstock/catalog.py:1"),
    (floors.loading, {"penstock/store/a.py": "import_module('penstock.engines.fake')\n"}, ":1"),
    (floors.loading, {"penstock/store/a.py": "__import__('x')\n"}, ":1"),
    (
        floors.circles,
        {
            "penstock/edge/cli/a.py": "import_module(f'penstock.edge.cli.{name}')\n",
            "penstock/edge/cli/b.py": "import penstock.edge.cli.a\n",
        },
        "penstock/edge/cli/",
    ),
    (floors.core_is_light, {"penstock/core/a.py": "import aiohttp\n"}, ":1"),
    (floors.tests_stay_out, {"penstock/core/a.py": "import tests.models\n"}, ":1"),
    (
        floors.circles,
        {
            "penstock/store/a.py": "import penstock.store.b\n",
            "penstock/store/b.py": "def f():\n    import penstock.store.c\n",
            "penstock/store/c.py": "if TYPE_CHECKING:\n    from penstock.store.a import x\n",
        },
        "penstock/store/a.py:1",
    ),
    (habits.long_files, {"tests/a.py": "x = 1\n" * 401}, "tests/a.py:401"),
    (habits.file_names, {"penstock/store/utils.py": ""}, ":1"),
    (habits.file_names, {"penstock/common/a.py": ""}, ":1"),
    (habits.file_names, {"penstock/store/sqlite_v2.py": ""}, ":1"),
    (habits.class_names, {"penstock/store/a.py": "class KeyManager: ...\n"}, ":1"),
    (habits.class_names, {"tests/store/a.py": "class Service: ...\n"}, ":1"),
    (habits.loose_mappings, {"penstock/store/a.py": "x: dict[str, Any]\n"}, ":1"),
    (habits.loose_mappings, {"penstock/store/a.py": "x: typing.Mapping[str, typing.Any]\n"}, ":1"),
    (habits.swallowed, {"penstock/store/a.py": "try:\n    f()\nexcept Exception:\n    pass\n"}, ":3"),
    (habits.swallowed, {"tests/a.py": "try:\n    f()\nexcept:\n    ...\n"}, ":3"),
    (habits.swallowed, {"tests/a.py": "with contextlib.suppress(Exception):\n    f()\n"}, ":1"),
    (habits.sleeping_tests, {"tests/a.py": "async def test():\n    await asyncio.sleep(0.5)\n"}, ":2"),
    (habits.sleeping_tests, {"tests/a.py": "def test():\n    for _ in range(9):\n        time.sleep(1)\n"}, ":3"),
    (habits.singletons, {"penstock/store/a.py": "class Pool:\n    async def get(self): ...\npool = Pool()\n"}, ":3"),
    (
        habits.singletons,
        {"penstock/store/a.py": "class Seen:\n    def see(self, x):\n        self.all.append(x)\nseen = Seen()\n"},
        ":4",
    ),
    (habits.singletons, {"penstock/store/a.py": "_cache: dict[str, str] = {}\n"}, ":1"),
    (habits.singletons, {"penstock/store/a.py": "def f():\n    global x\n    x = 1\n"}, ":2"),
    (habits.singletons, {"penstock/store/a.py": "@functools.cache\ndef pool(): ...\n"}, ":2"),
    (habits.import_flags, {"penstock/store/a.py": "HAS_REDIS = False\n"}, ":1"),
    (habits.import_flags, {"penstock/store/a.py": "try:\n    import x\nexcept ImportError:\n    x = None\n"}, ":3"),
    (habits.provider_branches, {"penstock/gateway/a.py": "if model.engine == 'llamacpp': ...\n"}, ":1"),
    (habits.docstrings, {"penstock/store/a.py": "x = 1\n"}, ":1"),
    (habits.relative_imports, {"penstock/store/a.py": "from . import b\n"}, ":1"),
    (habits.left_behind, {"penstock/store/a.py": "x = 1  # TODO: later\n"}, ":1"),
    (habits.faults, {"penstock/core/errors.py": "LOST = Fault('lost', 500)\n"}, ":1"),
    (
        habits.faults,
        {"penstock/core/errors.py": "A = Fault('a', 4)\nB = Fault('a', 5)\n", "penstock/store/a.py": "A, B\n"},
        ":2",
    ),
)

GOOD: tuple[tuple[Rule, Mapping[str, str]], ...] = (
    (floors.floors, {"penstock/engines/a.py": "from penstock.core.chat import Call\nimport penstock.engines.b\n"}),
    (floors.floors, {"penstock/gateway/a.py": "import penstock.core.chat\nimport penstock.engines\n"}),
    (floors.floors, {"penstock/edge/cli/a.py": "import penstock.assembly\nimport penstock.config\n"}),
    (floors.floors, {"penstock/config.py": "import penstock.engines.config\nimport penstock.weights.address\n"}),
    (
        floors.adapters,
        {
            "penstock/catalog.py": CATALOG,
            "penstock/engines/fake.py": "class Fake: ...\n",
            "penstock/engines/other.py": "from penstock.engines.fake import Fake\n",
        },
    ),
    (floors.loading, {"penstock/store/a.py": "import_module('penstock.store.b')\n"}),
    (floors.circles, {"penstock/store/a.py": "import penstock.store.b\n", "penstock/store/b.py": ""}),
    (habits.long_files, {"penstock/a.py": "x = 1\n" * 400}),
    (habits.class_names, {"penstock/core/serving.py": "class Service: ...\n"}),
    (habits.loose_mappings, {"penstock/edge/a.py": "x: dict[str, Any]\n"}),
    (habits.loose_mappings, {"penstock/store/a.py": "x: dict[str, object]\n"}),
    (habits.swallowed, {"penstock/a.py": "try:\n    f()\nexcept OSError:\n    pass\n"}),
    (habits.swallowed, {"penstock/a.py": "try:\n    f()\nexcept Exception as error:\n    log(error)\n"}),
    (habits.sleeping_tests, {"tests/a.py": "async def test():\n    await asyncio.sleep(0)\n"}),
    (
        habits.sleeping_tests,
        {"tests/a.py": "def test():\n    while time.monotonic() < end:\n        time.sleep(0.1)\n"},
    ),
    (
        habits.sleeping_tests,
        {"tests/a.py": "async def double():\n    await asyncio.sleep(1)  # pace: a slow server\n"},
    ),
    (
        habits.singletons,
        {"penstock/a.py": "class Plain:\n    def read(self):\n        return self.x\nPLAIN = Plain()\n"},
    ),
    (habits.singletons, {"penstock/a.py": "class Fault(msgspec.Struct): ...\nLOST = Fault()\nTABLE = {'a': 1}\n"}),
    (
        habits.import_flags,
        {"penstock/a.py": "try:\n    import x\nexcept ImportError as e:\n    raise Bad() from e\n"},
    ),
    (habits.provider_branches, {"penstock/engines/a.py": "if name == 'llamacpp': ...\n"}),
)


def house_of(root: Path, files: Mapping[str, str]) -> House:
    for where, text in files.items():
        path = root / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return House(root)


@pytest.mark.parametrize(
    ("rule", "files", "where"), BAD, ids=[f"{rule.__name__}-{i}" for i, (rule, *_) in enumerate(BAD)]
)
def test_a_breach_is_caught(tmp_path: Path, rule: Rule, files: Mapping[str, str], where: str) -> None:
    offences = rule(house_of(tmp_path, files))
    assert len(offences) == 1
    assert where in str(offences[0])


@pytest.mark.parametrize(("rule", "files"), GOOD, ids=[f"{rule.__name__}-{i}" for i, (rule, _) in enumerate(GOOD)])
def test_what_is_allowed_passes(tmp_path: Path, rule: Rule, files: Mapping[str, str]) -> None:
    assert rule(house_of(tmp_path, files)) == []


def test_every_rule_has_a_breach_here() -> None:
    assert set(RULES) == {rule for rule, *_ in BAD}
