"""The admin API of one gateway, asked by the names of its operations."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from penstock.control.accounts.operations import BY_NAME, Operation
from penstock.core.errors import UPSTREAM_BROKEN, UPSTREAM_GARBLED, PenstockError
from penstock.edge.cli.talk import Gateway

T = TypeVar("T", bound=msgspec.Struct)

PAGE = 200
_NO_QUERY: Mapping[str, str | None] = MappingProxyType({})


class Told(msgspec.Struct, Generic[T], frozen=True):
    """One object of an answer: the JSON as it came, and what it says."""

    raw: msgspec.Raw
    value: T


class _Page(msgspec.Struct, frozen=True):
    data: tuple[msgspec.Raw, ...]
    next: str | None = None


class Asking:
    """What a command asks of ``gateway``. ``form`` is always the struct of the operation's answer. A None in a query
    is left out."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.url = gateway.url

    def one(
        self,
        name: str,
        form: type[T],
        target: str = "",
        *,
        query: Mapping[str, str | None] = _NO_QUERY,
        body: msgspec.Struct | None = None,
    ) -> Told[T]:
        """The answer to one operation. A request whose answer is lost is sent once more, which does it once.

        Raises ``PenstockError``.
        """
        operation = BY_NAME[name]
        path = _path(operation, target, query)
        sent = None if body is None else msgspec.json.encode(body)
        headers = {"idempotency-key": str(uuid.uuid4())} if operation.method == "POST" else {}
        try:
            answer = self._gateway.ask(operation.method, path, sent, headers)
        except PenstockError as error:
            if error.fault is not UPSTREAM_BROKEN or operation.method not in ("GET", "POST"):
                raise
            answer = self._gateway.ask(operation.method, path, sent, headers)
        return self._read(answer, form)

    def pages(
        self,
        name: str,
        form: type[T],
        query: Mapping[str, str | None] = _NO_QUERY,
        most: int | None = None,
        target: str = "",
    ) -> Iterator[Told[T]]:
        """Every object of a list, or the first ``most``, page by page. Raises ``PenstockError``."""
        after: str | None = None
        left = most
        while left is None or left > 0:
            limit = str(PAGE if left is None else min(left, PAGE))
            path = _path(BY_NAME[name], target, {**query, "limit": limit, "after": after})
            page = self._decoded(self._gateway.ask("GET", path), _Page)
            for raw in page.data:
                yield self._read(raw, form)
            if page.next is None:
                return
            after = page.next
            left = None if left is None else left - len(page.data)

    def file(self, name: str, query: Mapping[str, str | None]) -> Generator[bytes, None, None]:
        """The file that an operation gives, piece by piece. Raises ``PenstockError``."""
        return self._gateway.fetch(_path(BY_NAME[name], "", query))

    def _read(self, raw: bytes | msgspec.Raw, form: type[T]) -> Told[T]:
        return Told(msgspec.Raw(raw), self._decoded(raw, form))

    def _decoded(self, raw: bytes | msgspec.Raw, form: type[T]) -> T:
        try:
            return msgspec.json.decode(raw, type=form)
        except msgspec.DecodeError:
            raise PenstockError(
                UPSTREAM_GARBLED,
                f"{self.url} does not answer as a gateway of this version does; use the penstock that it runs",
            ) from None


def _path(operation: Operation, target: str, query: Mapping[str, str | None]) -> str:
    path = operation.path.replace("{id}", quote(target, safe=""))
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path
