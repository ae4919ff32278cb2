"""The catalog: every engine that the deployment file may name is in it, and a wrong name is explained."""

from __future__ import annotations

import sys
from typing import get_args

import pytest

from penstock import catalog
from penstock.core.errors import PenstockError
from penstock.engines.config import EngineSettings


def test_every_engine_of_the_deployment_file_is_in_the_catalog() -> None:
    tags = {f"engine.{settings.__struct_config__.tag}" for settings in get_args(EngineSettings)}
    assert tags == {name for name in catalog.ENTRIES if name.startswith("engine.")}


@pytest.mark.parametrize("name", list(catalog.ENTRIES))
def test_every_entry_loads(name: str) -> None:
    assert catalog.load(name).__name__ == catalog.ENTRIES[name].partition(":")[2]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("engine.lamacpp", 'the catalog has no `engine.lamacpp`; did you mean "engine.llamacpp"?'),
        ("zzz", "the catalog has no `zzz`; known: engine.llamacpp, "),
    ],
)
def test_a_name_that_it_has_not(name: str, said: str) -> None:
    with pytest.raises(PenstockError) as caught:
        catalog.load(name)
    assert caught.value.message.startswith(said)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "ENTRIES", {"engine.x": "no_such_package.engine:X"})
    with pytest.raises(PenstockError, match="needs the package no_such_package, which is not installed"):
        catalog.load("engine.x")


def test_a_package_of_an_extra_is_installed_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "usearch.compiled", None)
    monkeypatch.delitem(sys.modules, "penstock.caches.semantic.index_usearch", raising=False)
    with pytest.raises(PenstockError, match=r"needs the package usearch.*; pip install 'penstock\[semantic\]'"):
        catalog.load("semantic.index")
