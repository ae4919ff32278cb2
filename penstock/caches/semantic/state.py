"""A desk as bytes, to begin again with after a restart: the ledger, the labels, the model and what is known of words.

What was served after the bytes were made is unknown to a desk that begins from them, so they are made often; a miss
or an audit that was open is lost, and the audit stays counted as wrong.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

from penstock.caches.semantic.control import Limits, Optimism
from penstock.caches.semantic.desk import Desk
from penstock.caches.semantic.features import COUNT, Rarity
from penstock.caches.semantic.ledger import Ledger, LedgerState
from penstock.caches.semantic.memory import Correction, Ring
from penstock.caches.semantic.model import Model, Scale

VERSION: Final = 1
"""Of the layout, and of what features mean: bytes of another version are not read."""


class Unreadable(ValueError):
    """These bytes are no desk of this version and these embeddings: begin with a new one."""


class _Rows(msgspec.Struct, array_like=True):
    rows: bytes
    first: bytes
    second: bytes


class _Model(msgspec.Struct, array_like=True):
    knots: bytes
    middle: bytes
    unit: bytes
    weights: bytes
    labels: int


class _State(msgspec.Struct, array_like=True):
    version: int
    dimensions: int
    requests: int
    tickets: int
    threshold: float
    due: int
    texts: int
    met: dict[str, int]
    ledger: LedgerState
    found: float
    predicted: float
    labels_added: int
    labels: _Rows
    window_added: int
    window: _Rows
    entries: list[tuple[str, float, float, int]]
    model: _Model | None


def saved(desk: Desk) -> bytes:
    """About a kilobyte for each label that is remembered: 25 MB at most with 384 dimensions."""
    state = _State(
        version=VERSION,
        dimensions=desk.dimensions,
        requests=desk.requests,
        tickets=desk.tickets,
        threshold=desk.threshold,
        due=desk.due,
        texts=desk.rarity.texts,
        met=dict(desk.rarity.met),
        ledger=desk.ledger.state(),
        found=desk.optimism.found,
        predicted=desk.optimism.predicted,
        labels_added=desk.labels.added,
        labels=_rows(desk.labels),
        window_added=desk.window.added,
        window=_rows(desk.window),
        entries=[(entry, met.slope, met.curve, met.faults) for entry, met in desk.entries.found.items()],
        model=_model(desk.model) if desk.model else None,
    )
    return msgspec.msgpack.encode(state)


def restored(limits: Limits, dimensions: int, data: bytes) -> Desk:
    """The desk that ``saved`` made these bytes of, under these limits, which may be others. Raises ``Unreadable``."""
    try:
        state = msgspec.msgpack.decode(data, type=_State)
    except msgspec.MsgspecError as error:
        raise Unreadable(f"no state of a semantic cache: {error}") from error
    if (state.version, state.dimensions) != (VERSION, dimensions):
        raise Unreadable(
            f"a state of version {state.version} with {state.dimensions} dimensions; "
            f"this is version {VERSION} with {dimensions}"
        )
    desk = Desk(limits, dimensions)
    try:
        _fill(desk, state)
    except ValueError as error:
        raise Unreadable(f"a damaged state of a semantic cache: {error}") from error
    return desk


def _fill(desk: Desk, state: _State) -> None:
    desk.requests, desk.tickets, desk.threshold, desk.due = state.requests, state.tickets, state.threshold, state.due
    desk.rarity = Rarity(state.texts, state.met)
    desk.ledger = Ledger(desk.limits.alpha, state.ledger)
    desk.optimism = Optimism(state.found, state.predicted)
    _refill(desk.labels, state.labels, state.labels_added)
    _refill(desk.window, state.window, state.window_added)
    for entry, slope, curve, faults in state.entries:
        desk.entries.found[entry] = Correction(slope, curve, faults)
    if (of := state.model) is not None:
        width = COUNT + desk.dimensions
        scale = Scale(_numbers(of.knots).reshape(-1, 5), _numbers(of.middle), _numbers(of.unit))
        weights = _numbers(of.weights)
        if len(weights) != len(scale.middle) + 1 or len(scale.middle) != width + scale.knots.size:
            raise ValueError("the model has another size")
        desk.model = Model(scale, weights, of.labels)


def _rows(ring: Ring) -> _Rows:
    rows, first, second = ring.kept()
    return _Rows(rows.tobytes(), first.tobytes(), second.tobytes())


def _refill(ring: Ring, of: _Rows, added: int) -> None:
    rows = np.frombuffer(of.rows, np.float16).reshape(-1, ring.rows.shape[1])
    for row, first, second in zip(rows, _numbers(of.first), _numbers(of.second), strict=True):
        ring.add(row, float(first), float(second))
    ring.resume(added)


def _numbers(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.frombuffer(data, np.float32).copy()


def _model(model: Model) -> _Model:
    return _Model(
        knots=model.scale.knots.tobytes(),
        middle=model.scale.middle.tobytes(),
        unit=model.scale.unit.tobytes(),
        weights=model.weights.tobytes(),
        labels=model.labels,
    )
