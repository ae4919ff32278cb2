"""Plans and scores to try gates with."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

from penstock.core.releases import Gate, Plan, Score
from penstock.quality.config import measure

SUCCESS = measure("success", "success")
LATENCY = measure("latency", "latency", bound=2.0)
COST = measure("cost", "cost", bound=0.01)
ALL = (SUCCESS, LATENCY, COST)


def plan(*gates: str, **said: Any) -> Plan:
    """A canary with gates on some of ``success``, ``latency`` and ``cost``, which are measured."""
    return Plan(
        **{
            "preset": "canary",
            "candidate": "rel_b",
            "champion": "rel_a",
            "steps": (),
            "gates": tuple(Gate(metric=each) for each in gates),
            "measures": tuple(each for each in ALL if each.metric in gates),
            "window_s": 60.0,
            **said,
        }
    )


def score(number: int, *, candidate: bool, value: float, metric: str = "success", **said: Any) -> Score:
    """A score of a request of its own, the second after the one before it."""
    version = {each.metric: each.version for each in ALL}[metric]
    return Score(
        **{
            "request_id": f"req-{number}",
            "at": float(number),
            "arrived_at": float(number),
            "service": "chat",
            "release": "rel_b" if candidate else "rel_a",
            "rollout": "ro",
            "metric": metric,
            "version": version,
            "value": value,
            "unit": f"unit-{number}",
            **said,
        }
    )


def traffic(
    seed: int,
    requests: int,
    *,
    share: float,
    champion: float,
    candidate: float,
    metrics: Iterable[str] = ("success",),
) -> list[Score]:
    """Scores of 0 or 1 by chance."""
    random = Random(seed)
    scores = []
    for number in range(requests):
        mine = random.random() < share
        mean = candidate if mine else champion
        scores += [
            score(number, candidate=mine, value=float(random.random() < mean), metric=metric) for metric in metrics
        ]
    return scores
