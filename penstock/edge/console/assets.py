"""What pages load beside themselves: style, scripts, the libraries that come along. All of it is in the package."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from pathlib import Path

import msgspec

STATIC = "/console/static"
_FOLDER = Path(__file__).parent / "static"
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_SMALL = 1 << 10


class Asset(msgspec.Struct, frozen=True):
    """``packed`` is the body as gzip, empty where that gains nothing."""

    body: bytes
    content_type: str
    packed: bytes = b""


class Assets:
    """The files by their names, such as ``js/app.js``. ``digest`` changes when any of them does: it is in the address
    of each, so that browsers keep them for good and never mix those of two versions."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        hashed = hashlib.sha256()
        for name, body in sorted(files.items()):
            hashed.update(b"%s\0%d\0" % (name.encode(), len(body)))
            hashed.update(body)
        self.digest = hashed.hexdigest()[:16]
        self._files = dict(files)
        self._made: dict[str, Asset] = {}

    def url(self, name: str) -> str:
        """The address of a file. Raises ``LookupError`` where there is none of the name."""
        if name not in self._files:
            raise LookupError(f"the console has no file {name}")
        return f"{STATIC}/{self.digest}/{name}"

    def find(self, name: str) -> Asset | None:
        """A file, packed when it is first asked for."""
        asset = self._made.get(name)
        if asset is None and (body := self._files.get(name)) is not None:
            packed = gzip.compress(body, 9, mtime=0) if len(body) > _SMALL else b""
            kind = _KINDS.get(Path(name).suffix, "application/octet-stream")
            asset = self._made[name] = Asset(body, kind, packed if len(packed) < len(body) else b"")
        return asset


def shipped() -> Assets:
    """Those in the package."""
    return Assets(
        {
            each.relative_to(_FOLDER).as_posix(): each.read_bytes()
            for each in sorted(_FOLDER.rglob("*"))
            if each.is_file() and each.suffix in _KINDS
        }
    )
