"""Where a worker writes what happened: a line for each request where one is wanted, and what went wrong."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from penstock.core.errors import CANNOT_START, PenstockError
from penstock.edge.http.config import ServerSettings
from penstock.observe.lines import JsonFormatter, LineWriter


def access_log(settings: ServerSettings) -> LineWriter | None:
    """The log of requests; None: there is none. Raises ``PenstockError(CANNOT_START)`` when it cannot be written."""
    if settings.access_log == "off":
        return None
    if settings.access_log == "stdout":
        return LineWriter(os.dup(1))
    path = Path(settings.access_log).expanduser()
    try:
        return LineWriter(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise PenstockError(
            CANNOT_START,
            f"The access log {path} cannot be written: {error.strerror}. Mend `server: access_log:`; "
            "it may be stdout, off, or a file.",
        ) from error


def log_as_json() -> None:
    """Warnings and worse go to standard error, a JSON object a line."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
