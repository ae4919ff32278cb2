"""Acts that cannot be taken back: asked once, with what they touch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from penstock.core.errors import PenstockError
from penstock.edge.console.page import Page


class Touched(msgspec.Struct, frozen=True):
    """Something that the act is about, or reaches. ``href`` leads to it, empty: nowhere."""

    label: str
    text: str
    href: str = ""


def sure(
    title: str,
    text: str,
    *,
    act: str,
    path: str,
    back: str,
    touched: Sequence[Touched] = (),
    template: str = "sure.html",
    error: PenstockError | None = None,
    values: Mapping[str, object] | None = None,
) -> Page:
    """The page that asks. ``text`` says what will happen, ``act`` is the word on the button, ``path`` takes the
    form, ``back`` is where whoever thinks better of it goes; both follow ``/console``."""
    return Page(
        title,
        template,
        {"text": text, "act": act, "path": path, "back": back, "touched": touched, "error": error, **(values or {})},
        status=200 if error is None else error.fault.status,
    )
