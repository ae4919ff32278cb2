"""``hf:`` weights, by huggingface_hub.

``HF_TOKEN`` (or what ``hf auth login`` has stored), ``HF_ENDPOINT`` for a mirror, and every other variable of that
library are honoured; a file that already lies in its cache is copied from there. The library resumes a download
while it runs, but not once it was killed: the finished parts of a split GGUF are then kept, a half one is not.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Self, cast

import huggingface_hub.errors as faults
from huggingface_hub import HfApi

from penstock.weights import Progress
from penstock.weights.address import Hub
from penstock.weights.disk import need_room
from penstock.weights.fetching import Part, unavailable
from penstock.weights.split import parts_of

_SILENCE_S = 30.0
_NOT_MODELS = ("mmproj", "imatrix")
_PART = re.compile(r"-[0-9]{5}-of-[0-9]{5}$")

# Which HTTP client the library uses changes with its major versions; this is the root of that client's faults.
_HttpFault = cast(type[Exception], faults.HfHubHTTPError.__mro__[1])


def fetch(address: Hub, into: Path, progress: Progress) -> tuple[Part, ...]:
    """The file, or all parts of it, at one commit; each with the SHA-256 that the hub says it has."""
    # Given outright, because the library reads the environment only once, when it is first imported.
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=os.environ.get("HF_TOKEN") or None)
    with _hub_faults(address):
        info = api.model_info(address.repo, revision=address.revision, files_metadata=True, timeout=_SILENCE_S)
        files = {file.rfilename: file for file in info.siblings or ()}
        names = choose(address, tuple(files))
        need_room(into, sum(files[name].size or 0 for name in names if not (into / name).exists()))
        found = []
        for name in names:
            lfs = files[name].lfs
            path = api.hf_hub_download(
                address.repo,
                name,
                revision=info.sha,
                local_dir=into,
                etag_timeout=_SILENCE_S,
                tqdm_class=_bar(f"downloading {PurePosixPath(name).name}", progress),
            )
            found.append(Part(Path(path), lfs.sha256 if lfs is not None else None))
    return tuple(found)


def choose(address: Hub, files: Sequence[str]) -> tuple[str, ...]:
    """Which of the repository's files are meant: one, or all parts of one.

    A quantization is a file's when its name ends in it, after ``-``, ``.`` or ``_`` and in any case, or when the
    file lies in a folder of that name. Raises ``PenstockError`` that lists what there is when it is not one file's.
    """
    models = [name for name in files if name.endswith(".gguf") and not _base(name).startswith(_NOT_MODELS)]
    if address.file is not None:
        names = parts_of(address.file)
        if missing := [name for name in names if name not in files]:
            raise unavailable(address, f"the repository has no file {missing[0]}; it has {_listed(models)}")
        return names
    wanted = (address.quant or "").lower()
    matching = {parts_of(name) for name in models if _is_of(name.lower(), wanted)}
    if not matching:
        quants = sorted({re.split("[-.]", _stem(name))[-1] for name in models})
        what = f"its quantizations are {_listed(quants)}" if models else "it has no GGUF file at all"
        raise unavailable(address, f"the repository has no {address.quant}; {what}")
    if len(matching) > 1:
        several = _listed(sorted(parts[0] for parts in matching))
        raise unavailable(address, f"{address.quant} is the end of {several}; name one, hf:{address.repo}/FILE")
    (names,) = matching
    if missing := [name for name in names if name not in files]:
        raise unavailable(address, f"the repository lacks {missing[0]}, a part of it; take another quantization")
    return names


def _is_of(name: str, quant: str) -> bool:
    stem = _stem(name)
    return stem == quant or stem.endswith(tuple(mark + quant for mark in "-._")) or quant in name.split("/")[:-1]


def _base(name: str) -> str:
    return PurePosixPath(name).name


def _stem(name: str) -> str:
    return _PART.sub("", _base(name).removesuffix(".gguf"))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12]) or "none"
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown


@contextlib.contextmanager
def _hub_faults(address: Hub) -> Iterator[None]:
    """The library's faults in our words; those of the local disk pass."""
    try:
        yield
    except faults.GatedRepoError:
        mend = "accept its terms on the hub, and set HF_TOKEN to a token of that account"
        raise unavailable(address, f"the repository is gated; {mend}") from None
    except faults.RepositoryNotFoundError:
        mend = "mend the name, or set HF_TOKEN to a token that may see it"
        raise unavailable(address, f"the hub shows no repository {address.repo}; {mend}") from None
    except faults.RevisionNotFoundError:
        raise unavailable(address, f"the repository has no revision {address.revision}; mend it") from None
    except faults.OfflineModeIsEnabled:
        raise unavailable(address, "HF_HUB_OFFLINE is set; unset it, or give a file: address") from None
    except faults.HfHubHTTPError as fault:
        status = fault.response.status_code if fault.response is not None else "an error"
        mend = "HF_TOKEN may be wrong" if status in {401, 403} else "try again later"
        raise unavailable(address, f"the hub answered {status}; {mend}") from None
    except (_HttpFault, faults.LocalEntryNotFoundError, faults.FileMetadataError, ConnectionError) as fault:
        mend = "check the network, and HF_ENDPOINT if it is set"
        raise unavailable(address, f"the hub cannot be reached ({type(fault).__name__}); {mend}") from fault
    except OSError as fault:
        if fault.errno is not None:
            raise
        said = str(fault).partition("\n")[0]
        raise unavailable(address, f"the download failed ({said}); try again") from fault


def _bar(what: str, progress: Progress) -> type[object]:
    """A class in the shape of tqdm's that shows nothing and tells ``progress``.

    The library makes one bar per file, or two that count the same bytes twice: the one further on is told.
    """
    furthest = 0

    class Bar:
        def __init__(self, *_: object, total: float | None = None, initial: float = 0, **__: object) -> None:
            self.total = total
            self.n = initial

        def update(self, n: float | None = 1) -> None:
            nonlocal furthest
            self.n += n or 0
            furthest = max(furthest, int(self.n))
            progress.step(what, furthest, int(self.total) if self.total is not None else None)

        def set_postfix_str(self, *_: object, **__: object) -> None: ...

        def refresh(self, *_: object, **__: object) -> None: ...

        def close(self) -> None: ...

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None: ...

    return Bar
