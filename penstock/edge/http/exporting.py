"""The ledger as a file, sent while it is read: of any length, and never more than a few thousand rows in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future

import msgspec

from penstock.control.accounts.administration import NEXT, WITHIN_S
from penstock.core.administration import Answer, Ask
from penstock.core.errors import INVALID_VALUE, PenstockError
from penstock.core.usage import Entry
from penstock.edge.http.exchange import Exchange, Headers
from penstock.store.export import ExportFormat, export_as

_log = logging.getLogger("penstock.edge")

_TYPES: dict[ExportFormat, bytes] = {
    "csv": b"text/csv; charset=utf-8",
    "parquet": b"application/vnd.apache.parquet",
}
_rows = msgspec.msgpack.Decoder(list[Entry])


async def export(exchange: Exchange, administer: Callable[[Ask], Awaitable[Answer]], ask: Ask) -> None:
    """Answers with the rows that are asked for, in the format of the query. Raises ``PenstockError`` before anything
    is sent; of what goes wrong later the client can tell by the reply that is broken off, and the log says why."""
    query = dict(ask.query)
    form = _form(query.pop("format", "csv"))
    pages = _Pages(administer, msgspec.structs.replace(ask, query=query))
    chunks = export_as(form)(pages.rows())
    try:
        while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
            if not exchange.started:
                exchange.start(200, _head(form))
            exchange.write(chunk)
            if exchange.full:
                await exchange.room()
    except PenstockError as error:
        if not exchange.started:
            raise
        _log.warning("request %s: the export is cut short: %s", exchange.request_id, error)
        return
    exchange.write(b"", more=False)


class _Pages:
    """Rows for a thread that writes a file, page by page from the loop that this is made on."""

    def __init__(self, administer: Callable[[Ask], Awaitable[Answer]], ask: Ask) -> None:
        self._administer = administer
        self._ask = ask
        self._loop = asyncio.get_running_loop()

    def rows(self) -> Iterator[Entry]:
        """Raises ``PenstockError``, as ``administer`` does."""
        ask = self._ask
        while True:
            page: Future[Answer] = asyncio.run_coroutine_threadsafe(self._page(ask), self._loop)
            # Whoever answers has a deadline of its own; this is for a loop that is no more.
            told = page.result(2 * WITHIN_S)
            yield from _rows.decode(told.body)
            if NEXT not in told.headers:
                return
            ask = msgspec.structs.replace(ask, query={**ask.query, "after": told.headers[NEXT]})

    async def _page(self, ask: Ask) -> Answer:
        return await self._administer(ask)


def _form(given: str) -> ExportFormat:
    for form in _TYPES:
        if form == given:
            return form
    raise PenstockError(INVALID_VALUE, "'format' must be 'csv' or 'parquet'.", param="format")


def _head(form: ExportFormat) -> Headers:
    return [
        (b"content-type", _TYPES[form]),
        (b"content-disposition", f'attachment; filename="usage.{form}"'.encode()),
        (b"cache-control", b"no-store"),
    ]
