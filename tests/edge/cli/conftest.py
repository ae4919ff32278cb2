"""A gateway's admin API whose credentials lie in the home of the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.edge.cli import credentials
from tests.edge.cli.accounts import KEY, Accounts, accounts


@pytest.fixture
def gateway_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Accounts]:
    for name in ("PENSTOCK_CONFIG", "PENSTOCK_API_KEY", "PENSTOCK_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with accounts() as double:
        credentials.write(tmp_path / "home", credentials.Credentials(double.url, KEY))
        yield double
