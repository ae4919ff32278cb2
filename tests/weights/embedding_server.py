"""Embeds texts with llama.cpp in a process of its own: ``python embedding_server.py GGUF``, texts as JSON on stdin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt


def embed(gguf: Path, texts: list[str]) -> npt.NDArray[np.float64]:
    """One vector of length 1 per text."""
    argv = [sys.executable, __file__, str(gguf)]
    done = subprocess.run(argv, input=json.dumps(texts), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    vectors = np.array(json.loads(done.stdout.splitlines()[-1]))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def main() -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.embedding = True
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    answer = server.handle_embeddings({"input": json.load(sys.stdin), "model": "double"})
    answer = answer if isinstance(answer, dict) else json.loads(answer)
    print(json.dumps([one["embedding"] for one in answer["data"]]), flush=True)
    # The server's threads are not worth waiting for.
    os._exit(0)


if __name__ == "__main__":
    main()
