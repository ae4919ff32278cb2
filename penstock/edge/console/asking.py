"""What a page asks of the admin API, in the name of whoever looks: every right is checked there."""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

import msgspec

from penstock.control.accounts.operations import BY_NAME
from penstock.core.administration import Answer, Ask
from penstock.core.console import PageAsk
from penstock.core.errors import INTERNAL, PenstockError

Administer = Callable[[Ask], Awaitable[Answer]]

T = TypeVar("T")

Said = str | int | float | None


class Rows(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list. ``next`` is the ``after`` of the page that follows, None: there is none."""

    data: tuple[T, ...]
    next: str | None = None


class Asking:
    """Asks in the name of one visit. In a query what is None or empty is left out, a trailing underscore of a name
    too (``from_``).

    A POST is carried out once, however often its form is sent: the field ``once`` of the form is its idempotency
    key. Each method raises ``PenstockError``: what the operation refuses.
    """

    def __init__(self, administer: Administer, page: PageAsk) -> None:
        self._administer = administer
        self._page = page
        self._posted = 0

    async def get(self, operation: str, form: type[T], target: str = "", **query: Said) -> T:
        """The answer to an operation that reads."""
        return _read(operation, (await self._asked(operation, target, query)).body, form)

    async def list(self, operation: str, row: type[T], target: str = "", **query: Said) -> Rows[T]:
        """One page of a list."""
        answer = await self._asked(operation, target, query)
        # What a type holds is only known here.
        return _read(operation, answer.body, Rows[row])  # type: ignore[valid-type]

    async def all(
        self, operation: str, row: type[T], target: str = "", *, most: int = 1000, **query: Said
    ) -> Rows[T]:
        """The pages of a list, one after the other, until there are ``most`` rows or a few more."""
        found: list[T] = []
        after: Said = query.pop("after", None)
        while True:
            page = await self.list(operation, row, target, **query, after=after)
            found += page.data
            if page.next is None or len(found) >= most:
                return Rows(tuple(found), page.next)
            after = page.next

    async def post(
        self,
        operation: str,
        form: type[T],
        target: str = "",
        *,
        body: msgspec.Struct | Mapping[str, object] | None = None,
        **query: Said,
    ) -> T:
        """The answer to an operation that changes something, whatever its method. A mapping is the body's JSON; what
        is ``msgspec.UNSET`` in it is left out."""
        if isinstance(body, Mapping):
            body = {name: value for name, value in body.items() if value is not msgspec.UNSET}
        sent = b"" if body is None else msgspec.json.encode(body)
        return _read(operation, (await self._asked(operation, target, query, sent)).body, form)

    async def raw(self, operation: str, target: str = "", **query: Said) -> Answer:
        """What an operation that reads answers, as it is."""
        return await self._asked(operation, target, query)

    async def _asked(self, operation: str, target: str, query: Mapping[str, Said], body: bytes = b"") -> Answer:
        page = self._page
        once = ""
        if BY_NAME[operation].method == "POST" and (given := page.form.get("once", "")):
            # One form may lead to several requests, and each of them is another one.
            self._posted += 1
            once = f"{given[:200]}.{self._posted}"
        return await self._administer(
            Ask(
                actor=page.actor,
                operation=operation,
                target=target,
                query={name.rstrip("_"): _text(value) for name, value in query.items() if value not in (None, "")},
                body=body,
                idempotency_key=once,
                address=page.address,
                request_id=page.request_id,
            )
        )


def _text(value: Said) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _read(operation: str, body: bytes, form: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.DecodeError as error:
        raise PenstockError(INTERNAL, f"The answer of {operation} is not what a page expects ({error}).") from None


def instant(text: str, now: float) -> float | None:
    """A time that somebody wrote: seconds since the epoch, or RFC 3339 (UTC where it does not say); None when it is
    neither."""
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=datetime.UTC)).timestamp()
