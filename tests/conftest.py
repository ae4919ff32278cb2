"""What every run of tests begins with."""

from __future__ import annotations

import gc
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests, and what they import, are here to stay. The collector of garbage would look at all of it
    again and again while it grows, and whenever the tests have made a quarter as much: a third of the time of a run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()
