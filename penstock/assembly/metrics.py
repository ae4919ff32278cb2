"""Every metric that this gateway measures."""

from __future__ import annotations

from penstock.caches import metrics as caches
from penstock.control import metrics as control
from penstock.core.metrics import Metric
from penstock.edge.http import metrics as edge
from penstock.gateway import likeness_metrics as likeness
from penstock.gateway import metrics as gateway
from penstock.observe import metrics as observe

ROWS: tuple[Metric, ...] = (*gateway.ROWS, *edge.ROWS, *control.ROWS, *observe.ROWS, *caches.ROWS, *likeness.ROWS)
