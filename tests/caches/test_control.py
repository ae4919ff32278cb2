"""``cache-control`` as RFC 9111 has it, and what a client may have by it."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from penstock.caches.answers import Found, served
from penstock.caches.control import CacheControl, control
from tests.caches.doubles import entry_of

AT = 1_000_000.0


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ("", CacheControl()),
        ("no-cache", CacheControl(read=False)),
        ("no-store", CacheControl(read=False, store=False)),
        ("No-Cache , NO-STORE", CacheControl(read=False, store=False)),
        ("max-age=60", CacheControl(max_age_s=60.0)),
        ('max-age="60", min-fresh=5', CacheControl(max_age_s=60.0, min_fresh_s=5.0)),
        ("max-age=0", CacheControl(max_age_s=0.0)),
        ("max-age=soon", CacheControl(max_age_s=0.0)),
        ("max-age=-1", CacheControl(max_age_s=0.0)),
        ("max-age=" + "9" * 400, CacheControl(max_age_s=0.0)),
        ("max-age=1, max-age=9", CacheControl(max_age_s=1.0)),
        ("max-stale", CacheControl(max_stale_s=2.0**31)),
        ("max-stale=7", CacheControl(max_stale_s=7.0)),
        ("only-if-cached", CacheControl(only_cached=True)),
        ("private, s-maxage=3, no-transform, ,=", CacheControl()),
    ],
)
def test_what_is_said(header: str, meant: CacheControl) -> None:
    assert control(header) == meant


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_read(header: str) -> None:
    assert control(header).max_age_s != float("inf")


ENTRY = entry_of(created_at=AT, fresh_for_s=60.0, stale_for_s=30.0, fallback_for_s=300.0)


@pytest.mark.parametrize(
    ("said", "age_s", "how"),
    [
        ("", 0, "fresh"),
        ("", 59.9, "fresh"),
        ("", 60, "stale"),
        ("", 89.9, "stale"),
        ("", 90, None),
        ("", -5, "fresh"),
        ("no-cache", 0, None),
        ("max-age=10", 10, "fresh"),
        ("max-age=10", 10.1, None),
        ("max-age=70", 65, "stale"),
        ("min-fresh=20", 40, "fresh"),
        ("min-fresh=20", 41, None),
        ("max-stale=5", 64, "stale"),
        ("max-stale=5", 66, None),
        ("max-stale=500", 95, None),
        ("max-stale", 89, "stale"),
    ],
)
def test_what_a_client_may_have(said: str, age_s: float, how: str | None) -> None:
    found = served(ENTRY, control(said), AT + age_s)
    assert found == (None if how is None else Found(ENTRY, how == "stale", max(0.0, AT + age_s - AT)))
