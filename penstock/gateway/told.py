"""Told: what the headers of an answer, or of an error, say of the way it took."""

from __future__ import annotations

from penstock.gateway.plan import Attempt


def told(last: Attempt | None, overhead_s: float, release: str = "") -> dict[str, str]:
    """``last`` is the attempt that answered, or the last to fail, None: none was made; ``overhead_s`` the gateway's
    own time so far; ``release`` the one that the request has drawn, empty: none."""
    drawn = {"x-penstock-release": release} if release else {}
    overhead = {"x-penstock-overhead-us": str(max(0, int(overhead_s * 1e6)))}
    if last is None:
        return {"x-penstock-attempts": "0", **drawn, **overhead}
    return {
        **drawn,
        "x-penstock-model": last.model,
        "x-penstock-replica": last.replica.id,
        "x-penstock-attempts": str(last.number),
        "x-penstock-fallbacks": str(last.fallbacks),
        **overhead,
    }
