"""Pairs of questions with their embeddings: JSON lines, gzipped, with ``asked``, ``answered`` and ``same`` each."""

from __future__ import annotations

import gzip
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from penstock.caches.semantic.desk import Candidate
from penstock.caches.semantic.profile import profile

NAME = "question_pairs.jsonl.gz"
_BATCH = 64
_AT_ONCE = 3


@dataclass(frozen=True)
class Pairs:
    """Candidates, each with whether the same answer serves, its cosine, and how misleading the cosine is: 0 to 1."""

    candidates: list[Candidate]
    same: NDArray[np.bool_]
    cosine: NDArray[np.float32]
    hard: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.candidates)


def place() -> Path:
    """``$PENSTOCK_QUESTION_PAIRS``, else in a folder ``shared`` beside this checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "cache" / NAME
    return Path(os.environ.get("PENSTOCK_QUESTION_PAIRS", beside))


def read(path: Path, folder: Path, gateway: str | None, model: str) -> Pairs:
    """Embeddings lie in the folder as ``emb.npz`` and ``texts.json``, or are put there by the gateway."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    texts, vectors = _embedded(
        sorted({row[side] for row in rows for side in ("asked", "answered")}), folder, gateway, model
    )
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    at = {text: number for number, text in enumerate(texts)}
    profiles = {text: profile(text) for text in texts}
    asked = np.array([at[row["asked"]] for row in rows])
    answered = np.array([at[row["answered"]] for row in rows])
    candidates = [
        Candidate(profiles[row["asked"]], profiles[row["answered"]], vectors[one], vectors[other], str(other))
        for row, one, other in zip(rows, asked, answered, strict=True)
    ]
    same = np.array([bool(row["same"]) for row in rows])
    cosine = (vectors[asked] * vectors[answered]).sum(axis=1)
    ranks = cosine.argsort().argsort() / len(cosine)
    return Pairs(candidates, same, cosine, np.where(same, 1 - ranks, ranks))


def _embedded(
    texts: list[str], folder: Path, gateway: str | None, model: str
) -> tuple[list[str], NDArray[np.float32]]:
    kept, known = folder / "emb.npz", folder / "texts.json"
    if kept.exists() and known.exists():
        found: list[str] = json.loads(known.read_text(encoding="utf-8"))
        if set(texts) <= set(found):
            return found, np.load(kept)["emb"].astype(np.float32)
    if gateway is None:
        raise SystemExit(
            f"{folder} has no embeddings of these texts; start a gateway with an embedding service, and pass "
            "--gateway http://HOST:PORT/v1 with its key in $PENSTOCK_API_KEY."
        )
    texts = sorted(texts, key=len)
    starts = range(0, len(texts), _BATCH)
    headers = {"authorization": f"Bearer {os.environ.get('PENSTOCK_API_KEY', '')}"}
    with httpx.Client(base_url=gateway, headers=headers, timeout=300) as client, ThreadPoolExecutor(_AT_ONCE) as pool:

        def batch(start: int) -> NDArray[np.float32]:
            reply = client.post("/embeddings", json={"model": model, "input": texts[start : start + _BATCH]})
            reply.raise_for_status()
            items = sorted(reply.json()["data"], key=lambda item: item["index"])
            return np.array([item["embedding"] for item in items], np.float32)

        vectors = np.concatenate(list(pool.map(batch, starts)))
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(kept, emb=vectors)
    known.write_text(json.dumps(texts), encoding="utf-8")
    return texts, vectors
