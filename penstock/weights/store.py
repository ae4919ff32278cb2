"""The model store: every file of weights that this machine has fetched, whole and checked.

``root/<12 digits of SHA-256>-<name>`` are the files (a directory of that name when the GGUF comes in parts),
``root/index/`` says which address each belongs to and holds the locks, ``root/partial/`` is what is under way.
All of it may be deleted while nothing serves from it; what is needed is fetched again.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import cast

from penstock.core.errors import BAD_DEPLOYMENT, WEIGHTS_UNAVAILABLE, PenstockError
from penstock.weights import Artefact, Progress
from penstock.weights.address import (
    CHECKPOINT_SUFFIX,
    S3,
    Address,
    File,
    Hub,
    PyPI,
    Web,
    file_name,
    parse,
    sha256_digest,
)
from penstock.weights.checkpoint import RECIPE
from penstock.weights.defaults import PINNED_FILES
from penstock.weights.disk import disk_faults, exclusive, move_durably, sha256_of
from penstock.weights.fetching import Converter, Fetcher, Part, unavailable
from penstock.weights.index import Entry, Index

# By name, because each of them loads a library that most deployments never need.
_FETCHERS: Mapping[type[Address], str] = MappingProxyType(
    {
        File: "penstock.weights.file",
        Web: "penstock.weights.https",
        Hub: "penstock.weights.hf",
        S3: "penstock.weights.s3",
        PyPI: "penstock.weights.pypi",
    }
)
_CONVERTER = "penstock.weights.convert"
_EXTRAS: Mapping[str, str] = MappingProxyType({"obstore": "penstock[s3]"})
_MAGIC = b"GGUF"


class ModelStore:
    """The store in the directory ``root``, which is made when first needed.

    Any number of stores, threads and processes may share one root: one fetches, the others wait for it, at most
    ``wait_s`` seconds. Safe to interrupt and to kill at any moment; what was downloaded by then is used again
    where the protocol can resume (``https:``, ``s3:``, and the finished parts of ``hf:``).
    """

    def __init__(self, root: Path, *, wait_s: float = 3600.0) -> None:
        self.root = root.expanduser().absolute()
        self._index = Index(self.root)
        self._wait_s = wait_s

    def cached(self, address: str, sha256: str | None = None) -> Artefact | None:
        """What ``fetch`` would return at once, without a network or a digest; None when it would have to work.

        Goes by the size and the time of change that the file had when it was checked. Raises ``PenstockError``
        (``BAD_DEPLOYMENT``) for an address or a SHA-256 that is not one.
        """
        place = parse(address)
        return self._found(place, _wanted(place, sha256))

    def fetch(self, address: str, *, sha256: str | None = None, progress: Progress) -> Artefact:
        """The weights that ``address`` names, as a file of this machine that llama.cpp can load.

        ``sha256`` is what the file that the address names must have (for a checkpoint that is converted: the
        checkpoint; for a GGUF in parts: the parts laid end to end). Blocks, for as long as the download takes; an
        exception that ``progress`` raises ends it. Raises ``PenstockError``: ``BAD_DEPLOYMENT`` for an address
        that is not one, ``WEIGHTS_UNAVAILABLE`` for everything else, and then nothing is in the store that
        was not before.
        """
        place = parse(address)
        wanted = _wanted(place, sha256)
        if found := self._found(place, wanted):
            return found
        if isinstance(place, Web) and not place.trusted_wire and not wanted:
            mend = "use https:, or say with `sha256` what it must be"
            raise PenstockError(BAD_DEPLOYMENT, f"{place.shown} can be changed on its way, being plain http: {mend}")
        with disk_faults(self.root):
            self._index.prepare()
            with exclusive(self._index.lock(place), wait_s=self._wait_s, progress=progress):
                found = self._found(place, wanted) or self._checked_again(place, wanted, progress)
                return found or self._fetch(place, wanted, progress)

    def _found(self, place: Address, wanted: frozenset[str]) -> Artefact | None:
        entry = self._index.read(place)
        if entry is None or not wanted <= {entry.source_sha256} or entry.recipe not in {0, _recipe(place)}:
            return None
        if not self._index.untouched(entry.files) or not self._index.untouched(entry.sources):
            return None
        return self._index.artefact(entry)

    def _checked_again(self, place: Address, wanted: frozenset[str], progress: Progress) -> Artefact | None:
        """A store that was copied or restored has new times of change: its files are hashed, not fetched again."""
        entry = self._index.read(place)
        if entry is None or entry.sources or not wanted <= {entry.source_sha256}:
            return None
        paths = self._index.paths(entry)
        if entry.recipe not in {0, _recipe(place)} or not all(path.is_file() for path in paths):
            return None
        digest, _ = sha256_of(paths, what=f"checking {paths[0].name}", progress=progress)
        if digest != entry.sha256:
            return None
        return self._remember(place, digest, entry.source_sha256, paths, (), entry.recipe)

    def _fetch(self, place: Address, wanted: frozenset[str], progress: Progress) -> Artefact:
        into = self.root / "partial" / self._index.key(place)
        into.mkdir(parents=True, exist_ok=True)
        parts = _fetcher(place)(place, into, progress)
        paths = tuple(part.path for part in parts)
        digest, each = sha256_of(paths, what=f"checking {place.name}", progress=progress)
        try:
            _compare(place, parts, each, digest, wanted)
            if place.name.endswith(CHECKPOINT_SUFFIX):
                return self._convert(place, paths[0], digest, into, progress)
            _check_magic(place, paths[0])
        except PenstockError:
            shutil.rmtree(into)
            raise
        if isinstance(place, File):
            kept = self._remember(place, digest, digest, paths, (), 0)
        else:
            kept = self._remember(place, digest, digest, self._shelve(paths, digest), (), 0)
        shutil.rmtree(into)
        return kept

    def _convert(self, place: Address, source: Path, digest: str, into: Path, progress: Progress) -> Artefact:
        target = into / _converted_name(place)
        convert = cast(Converter, importlib.import_module(_CONVERTER).convert)
        read = convert(source, target, progress)
        made, _ = sha256_of([target], what=f"checking {target.name}", progress=progress)
        sources = read if isinstance(place, File) else ()
        kept = self._remember(place, made, digest, self._shelve((target,), made), sources, _recipe(place))
        shutil.rmtree(into)
        return kept

    def _shelve(self, paths: tuple[Path, ...], digest: str) -> tuple[Path, ...]:
        """Moves finished files to where they stay."""
        names = [file_name(path.name) for path in paths]
        if len(paths) == 1:
            targets = [self.root / f"{digest[:12]}-{names[0]}"]
        else:
            folder = self.root / f"{digest[:12]}-{names[0].removesuffix('.gguf')}"
            folder.mkdir(exist_ok=True)
            targets = [folder / name for name in names]
        for path, target in zip(paths, targets, strict=True):
            move_durably(path, target)
        return tuple(targets)

    def _remember(
        self,
        place: Address,
        digest: str,
        source_digest: str,
        paths: Iterable[Path],
        sources: Iterable[Path],
        recipe: int,
    ) -> Artefact:
        seen = self._index.seen
        entry = Entry(
            address=place.shown,
            sha256=digest,
            source_sha256=source_digest,
            files=tuple(seen(path) for path in paths),
            sources=tuple(seen(path) for path in sources),
            recipe=recipe,
        )
        self._index.write(place, entry)
        return self._index.artefact(entry)


def _wanted(place: Address, sha256: str | None) -> frozenset[str]:
    """Every digest that the file must have at once; two that differ can never be met, and the error will say so."""
    return frozenset(filter(None, (sha256_digest(sha256) if sha256 else None, PINNED_FILES.get(place.text))))


def _recipe(place: Address) -> int:
    return RECIPE if place.name.endswith(CHECKPOINT_SUFFIX) else 0


def _fetcher(place: Address) -> Fetcher[Address]:
    module = _FETCHERS[type(place)]
    try:
        return cast(Fetcher[Address], importlib.import_module(module).fetch)
    except ModuleNotFoundError as fault:
        if (extra := _EXTRAS.get(fault.name or "")) is None:
            raise
        raise unavailable(place, f"{fault.name} is not installed; run `pip install '{extra}'`") from None


def _compare(
    place: Address, parts: tuple[Part, ...], each: tuple[str, ...], digest: str, wanted: frozenset[str]
) -> None:
    for part, found in zip(parts, each, strict=True):
        if part.sha256 is not None and part.sha256 != found:
            raise unavailable(place, f"{part.path.name} was damaged on its way (its SHA-256 is {found}); try again")
    for one in wanted - {digest}:
        raise PenstockError(
            WEIGHTS_UNAVAILABLE,
            f"{place.shown} has the SHA-256 {digest}, not {one} as it must: it was changed or damaged. "
            "Fetch it again, and mend the SHA-256 only if you trust the new file",
        )


def _check_magic(place: Address, path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head != _MAGIC:
        raise unavailable(place, f"it is not a GGUF file (it begins with {head!r}); name one, or convert it first")


def _converted_name(place: Address) -> str:
    if isinstance(place, PyPI):
        return f"{place.package}.gguf"
    assert isinstance(place, File)
    return f"{place.resolved().parent.name or 'model'}.gguf"
