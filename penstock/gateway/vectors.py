"""Vectors: the texts of an embedding request that were embedded before are not embedded again, whichever request they
came in; and embeddings that the gateway asks for itself.

A vector belongs to the model's version, to whatever else the request says beside its texts, and to whoever's texts
they are: the project's, or the caller's where its service keeps callers apart.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable, Sequence

import msgspec

from penstock.caches.answers import Answers
from penstock.caches.canonical import canonical
from penstock.caches.control import CacheControl
from penstock.caches.embeddings import Dated, Embeddings, Vector
from penstock.core.caching import Entry, subject_digest
from penstock.core.chat import Call, Kind
from penstock.core.clock import Clock
from penstock.core.policy import Terms
from penstock.core.serving import Deployment, Service
from penstock.core.splice import raw
from penstock.gateway.backlog import Backlog
from penstock.gateway.directory import resolve
from penstock.gateway.inside import NOBODY, Ask, inner, read
from penstock.gateway.lot import FORCE
from penstock.gateway.recollection import Kept, Recollection
from penstock.gateway.record import subject
from penstock.gateway.snapshot import Admission, Snapshot
from penstock.gateway.vectors_split import Split, garbled, items, vector
from penstock.routing.assignment import shares

MOST_TEXTS = 512
"""Texts of one request that are looked for; one with more is embedded whole."""

# Size from which vectors are read beside the event loop: it has other requests.
_THREAD_FROM = 64 << 10
_WAITING = 64
_WAITING_BYTES = 64 << 20
_WITHIN_S = 60.0

# What does not change a vector: the texts are keys by themselves, and every form of a vector is one to us.
_BESIDE = frozenset({"input", "model", "encoding_format"})

_inputs = msgspec.json.Decoder(str | list[str])


class Vectors:
    """One object per worker, used by all its tasks at once. ``answers`` knows what has been invalidated."""

    def __init__(self, embeddings: Embeddings, answers: Answers, clock: Clock) -> None:
        self._embeddings = embeddings
        self._answers = answers
        self._wall = clock.wall
        self._behind = Backlog(at_once=1, waiting=_WAITING, size=_WAITING_BYTES, within_s=_WITHIN_S)

    async def split(
        self,
        call: Call,
        service: Service,
        deployment: Deployment,
        *,
        project: str,
        caller: str,
        release: str,
        key: str,
        said: CacheControl,
    ) -> Split | None:
        """The prepared call of a client as its service's ``exact`` has it; ``release`` is what serves it, ``key`` its
        own, in 40 digits. None:
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
            answers = self._answers
            newest = answers.newest(project=project, service=service.name, release=release, tags=policy.tags, key=key)
            least = max(now - oldest_s, newest)
            found = zip(names, await self._embeddings.known(space, names), strict=True)
            known = {
                text: each
                for text, each in found
                if each is not None and each.made_at > least and not answers.forgets(each.subject, each.made_at)
            }
        who = subject_digest(subject(call))

        # Of vectors that could not be read there is none.
        def keep(wanted: Sequence[str], vectors: Sequence[Vector]) -> None:
            for text, each in zip(wanted, vectors, strict=False):
                self._embeddings.keep(space, text, Dated(each, now, who), for_s=ttl_s)

        def made(wanted: Sequence[str], raws: Sequence[bytes], tokens: int | None) -> None:
            size = sum(map(len, raws))
            if size < _THREAD_FROM:
                keep(wanted, _read(raws, tokens))
                return

            async def later() -> None:
                keep(wanted, await asyncio.to_thread(_read, raws, tokens))

            # The next one who asks for what is dropped here has it made anew.
            self._behind.offer(later, size)

        oldest = min((each.made_at for each in known.values()), default=now)
        return Split(call, texts, known, age_s=max(0.0, now - oldest), made=made)

    async def into(self, of: Recollection, service: Service, deployment: Deployment, said: CacheControl) -> None:
        """Has the request ask for the texts that are not known, and be given the answer where all are. Never
        raises."""
        call = of.call
        if of.tags:
            # What is invalidated by a client's tag is its answer, whole.
            return
        split = await self.split(
            call, service, deployment,
            project=of.project, caller=of.caller, release=of.release, key=of.key.digest.hex(), said=said,
        )  # fmt: skip
        if split is None or split.call is not None:
            of.split = split
            return
        exact = of.policy.exact
        assert exact is not None
        entry = split.entry(
            Entry(
                key=of.key.digest,
                kind=call.kind,
                chunks=(),
                streamed=False,
                usage=None,
                created_at=self._wall() - split.age_s,
                fresh_for_s=exact.ttl_s,
                service=service.name,
                release=of.release,
                project=of.project,
                model=service.models[0],
            )
        )
        if of.seat is not None:
            # Its vectors are of several people, times and tags, so nobody may keep it as one answer.
            of.seat.disband()
        of.give(Kept(entry, "hit", split.age_s, "vectors"))

    async def idle(self) -> None:
        """Returns once what was made is kept."""
        await self._behind.idle()

    async def aclose(self) -> None:
        """Keeps no more."""
        await self._behind.aclose()


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
        self,
        service: str,
        texts: Sequence[str],
        models: frozenset[str] | None,
        *,
        name: str = "",
        subject: str = "",
    ) -> tuple[Vector, ...]:
        """The vector of each text, in order, by the service of this name or alias; ``models`` are those that whoever
        it asks for may use, None: any. Only the first model of the service is asked, of the release that most get:
        vectors of another are not comparable (``serving`` tells which it is). Texts that are not known are asked for
        in batches, short with short; ``name`` begins the ids of these requests. What is made is forgotten with the
        person ``subject``, a ``subject_digest``.

        Has no deadline of its own but that of the service; may be cancelled. Raises ``PenstockError`` as a request
        does, and UPSTREAM_GARBLED where the answer is no list of as many vectors.
        """
        snapshot = self._snapshots()
        named = resolve(service, Admission(snapshot, inner(models)))
        serves = serving(named)
        model = serves.models[0]
        only = frozenset({model}) if models is None else models & {model}
        headers = {FORCE: serves.release.encode()} if named.assignment is not None else {}
        fields = {"model": raw(service)}
        named_so, numbers = name or f"req_{secrets.token_hex(12)}:embed", itertools.count()

        async def embed(batch: Sequence[str]) -> Sequence[Vector]:
            number = next(numbers)
            id = f"{named_so}:{number}" if number else named_so
            call = Call(id, Kind.EMBEDDING, service, {**fields, "input": raw(batch)})
            whole = await read(await self._ask(call, inner(only), Terms(headers=headers)))
            try:
                raws, usage = items(whole)
                tokens = usage.prompt_tokens if usage is not None and len(batch) == 1 else None
                return [vector(raw, tokens) for raw in raws]
            except (ValueError, OverflowError) as error:
                raise garbled(f"the service '{service}' gave no list of embeddings") from error

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


def _read(raws: Sequence[bytes], tokens: int | None) -> Sequence[Vector]:
    """None of them where one is no vector."""
    try:
        return [vector(raw, tokens) for raw in raws]
    except (ValueError, OverflowError):
        return ()
