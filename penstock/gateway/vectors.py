"""Vectors: the texts of an embedding request that were embedded before are not embedded again, whichever request they
came in; and embeddings that the gateway asks for itself.

A vector belongs to the model's version, to whatever else the request says beside its texts, and to whoever's texts
they are: the project's, or the caller's where its service keeps callers apart.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import struct
from collections.abc import Callable, Mapping, Sequence

import msgspec

from penstock.caches.answers import Answers
from penstock.caches.canonical import canonical
from penstock.caches.control import Control
from penstock.caches.embeddings import Dated, Embeddings, Vector
from penstock.core.caching import Entry, subject_digest
from penstock.core.chat import Call, Kind, Usage, WireUsage
from penstock.core.clock import Clock
from penstock.core.errors import UPSTREAM_GARBLED, PenstockError
from penstock.core.policy import Terms
from penstock.core.serving import Deployment, Service
from penstock.core.splice import joined, members
from penstock.gateway.directory import resolve
from penstock.gateway.inside import NOBODY, Ask, inner, read
from penstock.gateway.lot import FORCE
from penstock.gateway.record import subject
from penstock.gateway.snapshot import Admission, Snapshot
from penstock.routing.assignment import shares

MOST_TEXTS = 512
"""Texts of one request that are looked for; one with more is embedded whole."""

# What does not change a vector: the texts are keys by themselves, and every form of a vector is one to us.
_BESIDE = frozenset({"input", "model", "encoding_format"})


class _Item(msgspec.Struct, frozen=True):
    embedding: msgspec.Raw
    index: int | None = None


class _Answer(msgspec.Struct, frozen=True):
    data: list[_Item]
    usage: WireUsage | None = None


_inputs = msgspec.json.Decoder(str | list[str])
_answers = msgspec.json.Decoder(_Answer)
_floats = msgspec.json.Decoder(list[float])
_strings = msgspec.json.Decoder(str)


class Split:
    """One request's texts: those that are known, and ``call``, which asks for the others; None: there are no others.
    ``age_s`` is that of the oldest vector that is known, 0: none is."""

    __slots__ = ("_keep", "_known", "_packed", "_texts", "age_s", "call", "wanted")

    def __init__(
        self,
        call: Call,
        texts: Sequence[str],
        known: Mapping[str, Dated],
        *,
        age_s: float,
        keep: Callable[[str, Vector], None],
    ) -> None:
        self._texts = texts
        self._known = known
        self._keep = keep
        self._packed = bytes(call.fields.get("encoding_format", b"")) == b'"base64"'
        self.age_s = age_s
        self.wanted = tuple(text for text in dict.fromkeys(texts) if text not in known)
        self.call: Call | None = call
        if not self.wanted:
            self.call = None
        elif not self._whole:
            fields = {**call.fields, "input": msgspec.Raw(msgspec.json.encode(self.wanted))}
            self.call = msgspec.structs.replace(call, fields=fields)

    @property
    def _whole(self) -> bool:
        """Whether the model is asked for all that the client asks for."""
        return len(self.wanted) == len(self._texts)

    def merged(self, chunk: bytes) -> bytes:
        """The model's answer to ``call`` as that to the client's request, and its vectors kept. A watcher. The usage
        is what the model counted now. Raises ``PenstockError(UPSTREAM_GARBLED)`` when there are other than the
        vectors that were wanted."""
        try:
            made, usage = _items(chunk)
            vectors = [_vector(raw) for raw in made]
        except (
            msgspec.DecodeError,
            UnicodeDecodeError,
            binascii.Error,
            struct.error,
            ValueError,
            OverflowError,
        ) as e:
            if self._whole:
                return chunk
            raise _garbled("its answer is not a list of embeddings") from e
        if len(vectors) != len(self.wanted):
            if self._whole:
                return chunk
            raise _garbled(f"it gave {len(vectors)} embeddings for {len(self.wanted)} texts")
        # Of several texts together nobody knows how many tokens each has.
        tokens = usage.prompt_tokens if usage is not None and len(vectors) == 1 else None
        for text, vector in zip(self.wanted, vectors, strict=True):
            self._keep(text, Vector(vector.floats, tokens))
        if self._whole:
            return chunk
        return joined(members(chunk), data=self._data(dict(zip(self.wanted, made, strict=True))))

    def entry(self, of: Entry) -> Entry:
        """``of`` with the answer that is known without the model; only where ``call`` is None. What it used when it
        was made is only known where each text was embedded alone."""
        tokens = [self._known[text].vector.tokens for text in self._texts]
        counted = sum(each or 0 for each in tokens)
        used = None if None in tokens else Usage(prompt=counted)
        said = 0 if used is None else counted
        whole = {
            "object": "list",
            "data": self._data({}),
            "model": of.model,
            "usage": {"prompt_tokens": said, "total_tokens": said},
        }
        return msgspec.structs.replace(of, chunks=(msgspec.json.encode(whole),), usage=used)

    def _data(self, made: Mapping[str, bytes]) -> Sequence[Mapping[str, object]]:
        shown = {text: msgspec.Raw(raw) for text, raw in made.items()}
        for text, dated in self._known.items():
            vector = dated.vector
            written: object = base64.b64encode(vector.floats).decode() if self._packed else vector.values()
            shown[text] = msgspec.Raw(msgspec.json.encode(written))
        return [{"object": "embedding", "index": n, "embedding": shown[text]} for n, text in enumerate(self._texts)]


class Vectors:
    """One object per worker, used by all its tasks at once. ``answers`` knows what has been invalidated."""

    def __init__(self, embeddings: Embeddings, answers: Answers, clock: Clock) -> None:
        self._embeddings = embeddings
        self._answers = answers
        self._wall = clock.wall

    async def split(
        self,
        call: Call,
        service: Service,
        deployment: Deployment,
        *,
        project: str,
        caller: str,
        release: str,
        said: Control,
    ) -> Split | None:
        """The prepared call of a client as its service's ``exact`` has it; ``release`` is what serves it. None:
        its texts are not looked for, as they are no texts, are too many, or one of several models may answer, whose
        vectors do not go together.

        Waits for the deadlines of tiers at most, and never raises."""
        policy = service.policy.cache
        texts = _texts(call)
        if policy is None or policy.exact is None or texts is None or len(service.models) != 1:
            return None
        space = _space(call, service, deployment, project, caller)
        if space is None:
            return None
        now, ttl_s, known = self._wall(), policy.exact.ttl_s, dict[str, Dated]()
        if said.read and not said.min_fresh_s:
            names = list(dict.fromkeys(texts))
            oldest_s = ttl_s if said.max_age_s is None else min(ttl_s, said.max_age_s)
            newest = self._answers.newest(project=project, service=service.name, release=release)
            least = max(now - oldest_s, newest)
            found = zip(names, await self._embeddings.known(space, names), strict=True)
            known = {text: each for text, each in found if each is not None and each.made_at > least}
        who = subject_digest(subject(call))

        def keep(text: str, vector: Vector) -> None:
            self._embeddings.keep(space, text, Dated(vector, now, who), for_s=ttl_s)

        oldest = min((each.made_at for each in known.values()), default=now)
        return Split(call, texts, known, age_s=max(0.0, now - oldest), keep=keep)


class Inside:
    """Embeds as the gateway itself: bound by no limit, internal in the ledger, at the lowest priority, and each text
    of a model's version once. ``ask`` is the gateway's, ``snapshots`` gives the snapshot of this moment. One object
    per worker, used by all its tasks at once."""

    def __init__(self, embeddings: Embeddings, answers: Answers, ask: Ask, snapshots: Callable[[], Snapshot]) -> None:
        self._embeddings = embeddings
        self._answers = answers
        self._ask = ask
        self._snapshots = snapshots

    async def __call__(
        self, service: str, texts: Sequence[str], models: frozenset[str] | None, *, subject: str = ""
    ) -> tuple[Vector, ...]:
        """The vector of each text, in order, by the service of this name or alias; ``models`` are those that whoever
        it asks for may use, None: any. Only the first model of the service is asked, of the release that most get:
        vectors of another are not comparable (``serving`` tells which it is). Texts that are not known are asked for
        in batches, short with short. What is made is forgotten with the person ``subject``, a ``subject_digest``.

        Has no deadline of its own but that of the service; may be cancelled. Raises ``PenstockError`` as a request
        does, and UPSTREAM_GARBLED where the answer is no list of as many vectors.
        """
        snapshot = self._snapshots()
        named = resolve(service, Admission(snapshot, inner(models)))
        serves = serving(named)
        model = serves.models[0]
        only = frozenset({model}) if models is None else models & {model}
        headers = {FORCE: serves.release.encode()} if named.assignment is not None else {}
        fields = {"model": _raw(service)}

        async def embed(batch: Sequence[str]) -> Sequence[Vector]:
            call = Call(
                f"req_{secrets.token_hex(12)}:embed", Kind.EMBEDDING, service, {**fields, "input": _raw(batch)}
            )
            whole = await read(await self._ask(call, inner(only), Terms(headers=headers)))
            try:
                items, usage = _items(whole)
                tokens = usage.prompt_tokens if usage is not None and len(batch) == 1 else None
                return [Vector(_vector(raw).floats, tokens) for raw in items]
            except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error, struct.error, ValueError) as error:
                raise _garbled(f"the service '{service}' gave no list of embeddings") from error

        space = _space(Call("", Kind.EMBEDDING, service, fields), serves, snapshot.deployment, NOBODY, "")
        assert space is not None
        since = self._answers.newest(project=NOBODY, service=serves.name, release=serves.release)
        return (await self._embeddings.get(space, texts, embed, subject=subject, since=since)).vectors


def serving(service: Service) -> Service:
    """The variant that the release makes which most get; the service itself, where it has one."""
    assignment = service.assignment
    if assignment is None:
        return service
    had = shares(assignment.ranges)
    for release in sorted(had, key=lambda each: -had[each]):
        if (variant := assignment.variants.get(release)) is not None:
            return variant
    return service


def _texts(call: Call) -> Sequence[str] | None:
    try:
        said = _inputs.decode(call.fields["input"])
    except (KeyError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    texts = (said,) if isinstance(said, str) else said
    return texts if 0 < len(texts) <= MOST_TEXTS else None


def _space(call: Call, service: Service, deployment: Deployment, project: str, caller: str) -> str | None:
    model = deployment.models.get(service.models[0])
    beside = canonical({name: value for name, value in call.fields.items() if name not in _BESIDE})
    if model is None or beside is None:
        return None
    return f"{len(project)}:{project}{len(caller)}:{caller}{model.digest}\0{beside.decode()}"


def _items(answer: bytes) -> tuple[Sequence[bytes], WireUsage | None]:
    """Vectors as they are written, in the order of their texts."""
    said = _answers.decode(answer)
    items = said.data
    if sorted(-1 if item.index is None else item.index for item in items) == list(range(len(items))):
        items = sorted(items, key=lambda item: item.index or 0)
    return [bytes(item.embedding) for item in items], said.usage


def _vector(raw: bytes) -> Vector:
    """From an array of numbers, or a string of base64 of 32-bit floats. Raises ``msgspec.DecodeError``,
    ``UnicodeDecodeError``, ``binascii.Error``, ``struct.error``, ``OverflowError`` and ``ValueError``."""
    if raw.startswith(b'"'):
        floats = base64.b64decode(_strings.decode(raw), validate=True)
    else:
        floats = Vector.of(_floats.decode(raw)).floats
    if not floats or len(floats) % 4:
        raise ValueError("these are no 32-bit floats")
    return Vector(floats)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _garbled(what: str) -> PenstockError:
    return PenstockError(
        UPSTREAM_GARBLED,
        f"The engine was asked for embeddings, and {what}. Check that the model behind this service is an embedding "
        "model.",
    )
