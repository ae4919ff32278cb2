"""A golden set: requests of which it is known that they matter, asked of two releases and scored."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from penstock.core.errors import BAD_REQUEST, INVALID_API_KEY, MODEL_NOT_FOUND, UPSTREAM_GARBLED, PenstockError
from penstock.core.releases import Measure
from penstock.edge.cli.talk import Gateway
from penstock.quality import scorers
from penstock.quality.config import FormatSettings, JudgeSettings, SimilaritySettings, settings_of
from penstock.quality.golden import Row

RELEASE = "x-penstock-release"
UNCHECKED = ("cost", "feedback")
"""Scorers that a golden set has nothing for."""

_OWN = ("id", "reference")
_NOT = ("model", "stream", "n")
_MOST_ROWS = 100_000
_TRIES = 3
_TURN_S = 1.0


class Golden(msgspec.Struct, frozen=True):
    """One row. ``members`` are those of its request; ``reference`` is a good reply, empty: none is known."""

    id: str
    members: Mapping[str, msgspec.Raw]
    reference: str = ""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """``tokens`` are those of the output, as far as they are told."""

    text: str = ""
    tokens: int = 0
    seconds: float = 0.0
    failed: bool = False


class _Said(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    message: _Said = _Said()


class _Usage(msgspec.Struct, frozen=True):
    completion_tokens: int = 0


class _Completion(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...]
    usage: _Usage | None = None


class _Embedding(msgspec.Struct, frozen=True):
    embedding: tuple[float, ...]


class _Embeddings(msgspec.Struct, frozen=True):
    data: tuple[_Embedding, ...]


_Read = TypeVar("_Read", _Completion, _Embeddings)


class _Turn(msgspec.Struct, frozen=True):
    role: str = ""
    content: msgspec.Raw = msgspec.Raw(b'""')


def read(path: str) -> Sequence[Golden]:
    """The rows of a file, a JSON object a line. Raises ``click.BadParameter`` that names the line."""
    rows: list[Golden] = []
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise click.BadParameter(f"{path}: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            members = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            id, reference = (msgspec.json.decode(members.pop(each, msgspec.Raw(b'""')), type=str) for each in _OWN)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise click.BadParameter(f"{path}, line {number}: {error}") from None
        if "messages" not in members and "prompt_variables" not in members:
            raise click.BadParameter(f"{path}, line {number}: it has neither 'messages' nor 'prompt_variables'")
        if unwanted := next((each for each in _NOT if each in members), None):
            raise click.BadParameter(f"{path}, line {number}: take '{unwanted}' out; the check sets it itself")
        rows.append(Golden(id or f"line {number}", members, reference))
    if not 1 <= len(rows) <= _MOST_ROWS:
        raise click.BadParameter(f"{path} has {len(rows)} rows, and should have 1 to {_MOST_ROWS}")
    return rows


class Checking:
    """Asks ``service`` for ``candidate`` and ``champion``, and scores by ``measures``. Its calls may overlap."""

    def __init__(
        self, gateway: Gateway, service: str, candidate: str, champion: str, measures: Sequence[Measure]
    ) -> None:
        self._gateway = gateway
        self._service = service
        self._candidate = candidate
        self._champion = champion
        self._measures = [(each, settings_of(each.scorer, each.settings)) for each in measures]
        self._forms = {
            each.metric: scorers.Form(settings)
            for each, settings in self._measures
            if isinstance(settings, FormatSettings)
        }

    def rows(self, golden: Sequence[Golden], at_once: int) -> Sequence[Row]:
        """Every row with what both scored, in order. Raises ``PenstockError``, and ``click.UsageError`` for a row
        that the champion refuses: of such nothing can be learnt."""
        with ThreadPoolExecutor(at_once) as threads:
            try:
                return list(threads.map(self._row, golden))
            finally:
                threads.shutdown(cancel_futures=True)

    def _row(self, golden: Golden) -> Row:
        champion = self._reply(golden, self._champion, strict=True)
        candidate = self._reply(golden, self._candidate, strict=False)
        return Row(
            id=golden.id,
            candidate=self._scores(golden, candidate, champion),
            champion=self._scores(golden, champion, champion),
        )

    def _reply(self, golden: Golden, release: str, *, strict: bool) -> Reply:
        body = msgspec.json.encode({**golden.members, "model": self._service})
        for tried in range(_TRIES):
            began = time.monotonic()
            try:
                answer, headers = self._gateway.answered("POST", "/v1/chat/completions", body, {RELEASE: release})
            except PenstockError as error:
                if strict and error.fault in (BAD_REQUEST, MODEL_NOT_FOUND, INVALID_API_KEY):
                    raise click.UsageError(f"{golden.id}: {release} refuses it: {error.message}") from None
                if error.fault is BAD_REQUEST or tried == _TRIES - 1:
                    return Reply(failed=True)
                # Another gateway may not have loaded it yet.
                time.sleep(_TURN_S * (tried + 1))
                continue
            took = time.monotonic() - began
            if headers.get(RELEASE) != release:
                raise PenstockError(
                    UPSTREAM_GARBLED,
                    f"{self._gateway.url} answered with another release than {release}; use one of this version",
                )
            said = self._decoded(answer, _Completion)
            text = said.choices[0].message.content or "" if said.choices else ""
            return Reply(text=text, tokens=0 if said.usage is None else said.usage.completion_tokens, seconds=took)
        raise AssertionError("the last try returns")

    def _scores(self, golden: Golden, reply: Reply, champion: Reply) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for measure, _ in self._measures:
            score = 0.0 if reply.failed else self._score(measure, golden, reply, champion)
            if score is not None:
                found[measure.metric] = score
        return found

    def _score(self, measure: Measure, golden: Golden, reply: Reply, champion: Reply) -> float | None:
        bound = measure.bound or 0.0
        settings = next(settings for each, settings in self._measures if each is measure)
        if isinstance(settings, FormatSettings):
            return self._forms[measure.metric].score(reply.text)
        if isinstance(settings, SimilaritySettings):
            near = {"prompt": _asked(golden), "champion": champion.text, "text": golden.reference or settings.text}
            return self._similar(settings.service, reply.text, near[settings.to])
        if isinstance(settings, JudgeSettings):
            return self._judged(settings, _asked(golden), reply.text)
        if measure.scorer == "latency":
            return scorers.latency(reply.seconds, bound)
        if measure.scorer == "speed":
            return scorers.speed(reply.tokens, reply.seconds, bound)
        return scorers.success(failed=reply.failed)

    def _similar(self, service: str, text: str, near: str) -> float:
        if not (text and near):
            return 0.0
        body = msgspec.json.encode({"model": service, "input": [text, near]})
        found = self._decoded(self._gateway.ask("POST", "/v1/embeddings", body), _Embeddings).data
        if len(found) != 2:
            raise PenstockError(UPSTREAM_GARBLED, f"{service} gave {len(found)} embeddings of two texts")
        return scorers.similarity(found[0].embedding, found[1].embedding)

    def _judged(self, settings: JudgeSettings, asked: str, reply: str) -> float | None:
        messages = scorers.judge_messages(settings, asked, reply)
        body = msgspec.json.encode({"model": settings.service, "messages": messages, "temperature": 0})
        said = self._decoded(self._gateway.ask("POST", "/v1/chat/completions", body), _Completion)
        return scorers.judged(settings, said.choices[0].message.content or "" if said.choices else "")

    def _decoded(self, raw: bytes, form: type[_Read]) -> _Read:
        try:
            return msgspec.json.decode(raw, type=form)
        except msgspec.DecodeError:
            raise PenstockError(UPSTREAM_GARBLED, f"{self._gateway.url} does not answer as a gateway does") from None


def _asked(golden: Golden) -> str:
    """What the last user says; without messages, the variables."""
    if "messages" not in golden.members:
        return bytes(golden.members["prompt_variables"]).decode()
    try:
        turns = msgspec.json.decode(golden.members["messages"], type=tuple[_Turn, ...])
        last = next((each.content for each in reversed(turns) if each.role == "user"), msgspec.Raw(b'""'))
        said = msgspec.json.decode(last)
    except msgspec.DecodeError:
        return ""
    return said if isinstance(said, str) else bytes(last).decode()
