"""Assign: from the name that a client sent to what serves it."""

from __future__ import annotations

from penstock.core.chat import Call
from penstock.core.clock import Clock
from penstock.core.serving import Service
from penstock.core.trail import Admitted, Assigned, Trail
from penstock.gateway.directory import resolve
from penstock.gateway.snapshot import Admission


def assign(call: Call, admission: Admission, trail: Trail, clock: Clock) -> Service:
    """Raises ``PenstockError`` (MODEL_NOT_FOUND, MODEL_FORBIDDEN)."""
    at = clock.now()
    trail.add(Admitted(at, admission.principal.key_id, admission.principal.project))
    service = resolve(call.service, admission)
    trail.add(Assigned(at, service.name))
    return service
