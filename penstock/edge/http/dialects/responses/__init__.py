"""POST /v1/responses: translated to a chat call, and its answer back. Nothing is stored.

``request`` has the fields, ``items`` turns input into messages, ``answer`` chat replies into responses, ``stream``
chat chunks into the typed events.
"""

from __future__ import annotations

from penstock.edge.http.dialects.responses.request import read

__all__ = ["read"]
