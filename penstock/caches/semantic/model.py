"""The chance that the same answer serves two texts: a logistic model, pooled over all entries of a scope.

Its inputs are the features of ``features``, hinges of the first of them (so that a straight model bends), and the
product of the two embeddings, element by element. It is fitted by Newton's method from where it was, with a ridge, on
labels weighted by 1 / q where only a part q of them was looked at.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from penstock.caches.semantic import features

Rows = NDArray[np.float16]
"""One row a pair: its features, then the product of its embeddings. Half precision keeps a label below a kilobyte."""
Numbers = NDArray[np.float32]

_KNOTS: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
_RIDGE: Final = (3.0, 100.0, 1e-3)
"""Of features and hinges, of the product, of the constant."""
_CLIPPED: Final = 8.0
_AT_ONCE: Final = 2048
_CLOSE: Final = 0.02


class Scale(msgspec.Struct, frozen=True):
    """Where hinges bend and what is one unit of each input, from the first pairs; needs no labels."""

    knots: Numbers
    middle: Numbers
    unit: Numbers

    @classmethod
    def of(cls, rows: Rows) -> Scale:
        """From at least one row."""
        hand = rows[:, list(features.HINGED)].astype(np.float32)
        knots = np.quantile(hand, _KNOTS, axis=0).T.astype(np.float32)
        bent = _bent(rows, knots)
        return cls(knots, bent.mean(axis=0), bent.std(axis=0) + np.float32(1e-6))

    def inputs(self, rows: Rows) -> Numbers:
        """Row by row, the constant last."""
        found = (_bent(rows, self.knots) - self.middle) / self.unit
        np.clip(found, -_CLIPPED, _CLIPPED, out=found)
        return np.concatenate([found, np.ones((len(rows), 1), np.float32)], axis=1)


def _bent(rows: Rows, knots: Numbers) -> Numbers:
    wide = rows.astype(np.float32)
    hinged = wide[:, : len(knots), None] - knots
    hinges = np.maximum(hinged, 0.0).reshape(len(rows), -1)
    return np.concatenate([wide[:, : features.COUNT], hinges, wide[:, features.COUNT :]], axis=1)


class Model(msgspec.Struct, frozen=True):
    """What was learnt. ``labels`` is how many there were when it was."""

    scale: Scale
    weights: Numbers
    labels: int

    def scores(self, rows: Rows) -> Numbers:
        """Of each pair the log odds that the same answer serves."""
        parts = [self.scale.inputs(rows[at : at + _AT_ONCE]) @ self.weights for at in range(0, len(rows), _AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


class Lesson(msgspec.Struct, frozen=True):
    """What there is to learn from, as it is at one moment: ``learnt`` may run in another thread."""

    rows: Rows
    same: NDArray[np.bool_]
    weights: Numbers
    labels: int
    before: Model | None

    def learnt(self) -> Model:
        """The model of these labels. Deterministic on one machine."""
        scale = self.before.scale if self.before else Scale.of(self.rows)
        bent = len(scale.middle) - (self.rows.shape[1] - features.COUNT)
        ridge = np.full(len(scale.middle) + 1, _RIDGE[0], np.float32)
        ridge[bent:], ridge[-1] = _RIDGE[1], _RIDGE[2]
        weights: Numbers = self.before.weights if self.before else np.zeros(len(ridge), np.float32)
        best, kept = np.inf, weights
        for _ in range(6 if self.before else 12):
            loss, step = self._step(scale, weights, ridge)
            if loss > best + 1e-6 * abs(best):
                # Too far: half the way back to where it was better.
                weights = ((kept + weights) / 2).astype(np.float32)
                continue
            best, kept = loss, weights
            if np.abs(step).max() < _CLOSE:
                break
            weights = (weights - np.clip(step, -2.0, 2.0)).astype(np.float32)
        return Model(scale, kept, self.labels)

    def _step(self, scale: Scale, weights: Numbers, ridge: Numbers) -> tuple[float, NDArray[np.float64]]:
        """The loss here, and Newton's step from here."""
        loss = float(ridge @ weights**2) / 2
        slope = (ridge * weights).astype(np.float64)
        curve = np.diag(ridge).astype(np.float64)
        for at in range(0, len(self.rows), _AT_ONCE):
            part = slice(at, at + _AT_ONCE)
            inputs = scale.inputs(self.rows[part])
            scores = np.clip(inputs @ weights, -30.0, 30.0)
            chance = chances(scores)
            loss += float(self.weights[part] @ np.logaddexp(0.0, np.where(self.same[part], -scores, scores)))
            slope += inputs.T @ (self.weights[part] * (chance - self.same[part]))
            curve += (inputs * (self.weights[part] * chance * (1 - chance) + 1e-6)[:, None]).T @ inputs
        return loss, np.linalg.solve(curve, slope).astype(np.float64)


def chances(scores: Numbers) -> Numbers:
    """The chance that belongs to each of these log odds."""
    return (1.0 / (1.0 + np.exp(-np.clip(scores, -30.0, 30.0)))).astype(np.float32)
