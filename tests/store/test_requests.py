"""The request log keeps its contract: in both databases, with the archive in a folder and in S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.store import archive_parquet, requests_postings, requests_words
from penstock.store.database import open_database, sqlite_url
from penstock.store.forgetful_requests import ForgetfulRequests
from penstock.store.migrations import migrate
from penstock.store.requests import RequestLog, open_requests
from tests.contracts.requests import NOON, RequestsContract
from tests.postgres import postgres, postgres_url  # noqa: F401
from tests.store.buckets import bucket, s3  # noqa: F401


class Opened(RequestsContract):
    @pytest.fixture(autouse=True)
    def _opened(self, url: str, place: str, tmp_path: Path) -> Iterator[None]:
        self.database = open_database(url)
        migrate(self.database, now=0.0)
        self.log_of_test = open_requests(
            self.database, tmp_path / "requests", place, gateway="gw", wall=lambda: NOON + 1e6
        )
        yield
        self.log_of_test.close()
        self.database.close()

    def make(self) -> RequestLog:
        return self.log_of_test


class InFolder:
    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return str(tmp_path / "archive")


class InS3:
    @pytest.fixture
    def place(self, bucket: str) -> str:  # noqa: F811
        return f"{bucket}/logs"


class InSqlite:
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return sqlite_url(tmp_path / "state.db")


class InPostgres:
    @pytest.fixture
    def url(self, postgres_url: str) -> str:  # noqa: F811
        return postgres_url


class TestSqlite(InSqlite, InFolder, Opened): ...


class TestSqliteAndS3(InSqlite, InS3, Opened):
    EXAMPLES = 8


class TestSqliteInShortRuns(InSqlite, InFolder, Opened):
    """Every border is met: between runs of rows, groups of the archive, and words with and without a number."""

    EXAMPLES = 60

    @pytest.fixture(autouse=True)
    def _short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(requests_postings, "BITS", 3)
        monkeypatch.setattr(requests_postings, "RUN", 8)
        monkeypatch.setattr(requests_postings, "DENSE", 3)
        monkeypatch.setattr(requests_words, "LIMIT", 4)
        monkeypatch.setattr(archive_parquet, "ROWS", 8)
        monkeypatch.setattr(archive_parquet, "CONTENTS", 2)


class TestPostgres(InPostgres, InFolder, Opened): ...


class TestPostgresAndS3(InPostgres, InS3, Opened):
    EXAMPLES = 5


class TestForgetful(RequestsContract):
    def make(self) -> ForgetfulRequests:
        return ForgetfulRequests()
