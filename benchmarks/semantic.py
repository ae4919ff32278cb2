"""The semantic cache on pairs of questions: does it keep its bound, and what does it hit?

    python -m benchmarks semantic --embeddings FOLDER [--gateway URL] [--pairs FILE] [--shuffles 200] [--chart FILE]

Each pair is a request and the nearest question that was answered before. A desk that knows nothing sees them in many
orders, and one that drifts towards pairs whose cosine misleads; labels are seen of misses and of audits only. Beside
it: the best single threshold of the cosine, chosen with hindsight to be wrong exactly as often over the last 10,000;
and GPTCache with the same embeddings, at its own threshold and at its best. With several ``--jobs``, set
``OPENBLAS_NUM_THREADS=1``: else their threads are in one another's way.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks import installs, machine, semantic_chart, semantic_pairs
from benchmarks.semantic_pairs import Pairs
from benchmarks.semantic_runs import LAST, Outcome, best_of, drifting, run, shuffled

MAX_ERRORS = (0.01, 0.02, 0.05)
GPTCACHE = "0.1.44"
_DRIFTING_RUNS = 10
"""Of each ten shuffles one run sees the order that drifts, each time with other audits."""


def parse(parser: argparse.ArgumentParser) -> None:
    """Adds what the command line may say."""
    parser.add_argument("--pairs", type=Path, default=semantic_pairs.place(), help="JSON lines, gzipped")
    parser.add_argument("--embeddings", type=Path, required=True, help="a folder: emb.npz and texts.json")
    parser.add_argument("--gateway", help="fills that folder where it is empty: http://HOST:PORT/v1")
    parser.add_argument("--model", default="minilm", help="its embedding service")
    parser.add_argument("--shuffles", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--gptcache", type=Path, help="a Python that has it; else one is installed")
    parser.add_argument("--chart", type=Path, help="where an SVG is written")


def main(asked: argparse.Namespace) -> None:
    """Prints a table, and draws a chart where one is asked for."""
    pairs = semantic_pairs.read(asked.pairs, asked.embeddings, asked.gateway, asked.model)
    print(f"{datetime.date.today().isoformat()}; {machine.described()}; {len(pairs):,} pairs", flush=True)
    print(_table((_HEADS, ["---"] * len(_HEADS))), flush=True)
    found = {}
    for max_error in MAX_ERRORS:
        found[max_error] = _runs(pairs, max_error, "shuffles", asked.shuffles, asked.jobs)
        print(_table([row(max_error, "shuffled", found[max_error])]), flush=True)
        drifted = _runs(pairs, max_error, "drifts", max(1, asked.shuffles // _DRIFTING_RUNS), asked.jobs)
        print(_table([row(max_error, "drifts", drifted)]), flush=True)
    print(_gptcache(pairs, asked.gptcache))
    if asked.chart is not None:
        asked.chart.write_text(semantic_chart.drawn(found), encoding="utf-8")


_HEADS = ("max_error", "order", "runs", "bound held", f"hits of the last {LAST:,}", "cosine", "ratio", "ratio, least")
_HEADS += ("budget used", "right per hit (5 to 95 % of runs)", "answers saved, net of audits")


def row(max_error: float, order: str, runs: Sequence[Outcome]) -> tuple[str, ...]:
    """What is said of runs of one kind."""
    ratios = np.array([each.last_hits / max(1, each.cosine) for each in runs])
    right = np.array([1 - each.wrong / max(1, each.hits) for each in runs])
    low, high = np.quantile(right, (0.05, 0.95))
    saved = np.array([(each.last_hits - each.last_audits) / LAST for each in runs])
    return (
        f"{max_error:g}",
        order,
        str(len(runs)),
        f"{np.mean([each.held for each in runs]):.1%}",
        f"{np.mean([each.last_hits for each in runs]):,.0f}",
        f"{np.mean([each.cosine for each in runs]):,.0f}",
        f"{ratios.mean():.2f}",
        f"{ratios.min():.2f}",
        f"{np.mean([each.wrong / (max_error * each.requests) for each in runs]):.0%}",
        f"{right.mean():.1%} ({low:.1%} to {high:.1%})",
        f"{saved.mean():.1%} ({np.quantile(saved, 0.05):.1%} to {np.quantile(saved, 0.95):.1%})",
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in rows)


def _runs(pairs: Pairs, max_error: float, kind: str, count: int, jobs: int) -> list[Outcome]:
    one = partial(_one, pairs, max_error, kind)
    if jobs == 1:
        return [one(seed) for seed in range(count)]
    # Children of a fork read the pairs where they are.
    with ProcessPoolExecutor(jobs, get_context("fork"), initializer=_share, initargs=(pairs,)) as pool:
        return list(pool.map(partial(_shared, max_error, kind), range(count)))


def _one(pairs: Pairs, max_error: float, kind: str, seed: int) -> Outcome:
    order = shuffled(pairs, seed) if kind == "shuffles" else drifting(pairs)
    return run(pairs, order, max_error, seed)


_HERE: list[Pairs] = []


def _share(pairs: Pairs) -> None:
    _HERE.append(pairs)


def _shared(max_error: float, kind: str, seed: int) -> Outcome:
    return _one(_HERE[0], max_error, kind, seed)


_ASK_GPTCACHE = """
import json, sys
from gptcache.config import Config
from gptcache.similarity_evaluation import SearchDistanceEvaluation
evaluation, threshold = SearchDistanceEvaluation(), Config().similarity_threshold
low, high = evaluation.range()
asked = json.load(sys.stdin)
ranks = [evaluation.evaluation({}, {"search_result": (distance, None)}) for distance in asked]
print(json.dumps([rank >= threshold * (high - low) for rank in ranks]))
"""


def _gptcache(pairs: Pairs, python: Path | None) -> str:
    """Its own evaluation and threshold decide; the distance is that of its default index, Euclid's squared."""
    try:
        python = python or installs.python_with("gptcache", f"gptcache=={GPTCACHE}")
        asked = json.dumps([float(2 - 2 * cosine) for cosine in pairs.cosine])
        done = subprocess.run(
            [str(python), "-c", _ASK_GPTCACHE], input=asked, capture_output=True, text=True, timeout=300, check=True
        )
    except (installs.Absent, OSError, subprocess.SubprocessError) as error:
        return f"GPTCache: not measured: {error}"
    hit = np.array(json.loads(done.stdout.splitlines()[-1]))
    wrong = int((hit & ~pairs.same).sum())
    lines = [
        f"GPTCache {GPTCACHE} at its own threshold: {hit.mean():.1%} of requests hit, "
        f"{wrong / len(pairs):.1%} of requests wrong, {1 - wrong / max(1, hit.sum()):.1%} right per hit"
    ]
    for max_error in MAX_ERRORS:
        best = best_of(pairs.cosine, pairs.same, int(max_error * len(pairs)))
        lines.append(
            f"GPTCache at the best threshold for {max_error:g}, known beforehand and with the whole budget used: "
            f"{best / len(pairs) * LAST:,.0f} hits of {LAST:,}"
        )
    return "\n".join(lines)
