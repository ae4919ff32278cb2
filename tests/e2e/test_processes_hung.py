"""An engine that hangs is as good as dead: it is killed and started again. Slow, because patience is part of it."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.e2e.running import alive, running, status, wait_until
from tests.models import embedding_weights


def config() -> str:
    return json.dumps(
        {
            "models": {
                "embedder": {"engine": "llamacpp", "task": "embedding", "weights": f"file:{embedding_weights()}"},
                "script": {"engine": "fake"},
            },
            "services": {"embed": {"model": "embedder"}, "script": {"model": "script"}},
        }
    )


@pytest.mark.slow
def test_an_engine_that_hangs_is_replaced() -> None:
    with running(config()) as server:
        (hung,) = server.engines()
        os.kill(hung, signal.SIGSTOP)
        wait_until(lambda: not alive(hung), 60.0, server.said)
        assert "3 failed health checks in a row" in server.said()
        wait_until(lambda: server.said().count("embedder-0: ready") == 2, 10.0, server.said)
        assert status(server.url + "/readyz") == 200
        assert len(server.engines()) == 1
