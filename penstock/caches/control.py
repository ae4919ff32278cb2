"""What a client says of the cache: in ``cache-control`` (RFC 9111, section 5.2.1, directives of requests), and by the
tags of its answer."""

from __future__ import annotations

import msgspec

_MOST_S = 2**31
_MOST_TAGS = 8
_LONGEST_TAG = 128


class CacheControl(msgspec.Struct, frozen=True):
    """``read``: an answer may come from the cache. ``store``: what is made may be kept. An answer may then be
    ``max_age_s`` old at most, must be fresh for ``min_fresh_s`` more, and may be past its time by ``max_stale_s``,
    None: as its service has it. ``only_cached``: nothing is to be made."""

    read: bool = True
    store: bool = True
    max_age_s: float | None = None
    min_fresh_s: float = 0.0
    max_stale_s: float | None = None
    only_cached: bool = False


NOTHING_SAID = CacheControl()


def control(header: str) -> CacheControl:
    """Reads the header's value, all its lines joined by commas. What nobody knows, or makes no sense, is nothing
    said (RFC 9111, 5.2.3); of an age that is no number the strictest holds."""
    if not header:
        return NOTHING_SAID
    said: dict[str, str] = {}
    for directive in header.split(","):
        name, _, value = directive.partition("=")
        said.setdefault(name.strip().lower(), value.strip().strip('"'))
    stale = said.get("max-stale")
    return CacheControl(
        read="no-cache" not in said and "no-store" not in said,
        store="no-store" not in said,
        max_age_s=_seconds(said["max-age"], 0) if "max-age" in said else None,
        min_fresh_s=_seconds(said["min-fresh"], _MOST_S) if "min-fresh" in said else 0.0,
        max_stale_s=None if stale is None else _seconds(stale, 0) if stale else _MOST_S,
        only_cached="only-if-cached" in said,
    )


def _seconds(text: str, otherwise: float) -> float:
    return float(min(int(text), _MOST_S)) if text.isascii() and text.isdigit() and len(text) < 20 else otherwise


def tags_of(header: bytes) -> tuple[str, ...] | None:
    """The tags of a header, by comma. None: they are more or longer than an invalidation could name."""
    try:
        # As whoever invalidates by them writes them, where that is no ASCII.
        words = header.decode("utf-8")
    except UnicodeDecodeError:
        words = header.decode("latin-1")
    said = tuple(tag for each in words.split(",") if (tag := each.strip()))
    return None if len(said) > _MOST_TAGS or any(len(tag) > _LONGEST_TAG for tag in said) else said
