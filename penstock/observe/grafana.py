"""Boards as Grafana reads them: its dashboard JSON model, schema 39 (Grafana 10 and newer). Whoever imports one says
which data source it is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

_WIDTH = 24
_SOURCE: Mapping[str, str] = {"type": "prometheus", "uid": "${datasource}"}


class Panel(msgspec.Struct, frozen=True):
    """One chart, or a number: PromQL by legend. ``unit`` is a word of Grafana's."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: Literal["timeseries", "stat"] = "timeseries"
    about: str = ""
    stacked: bool = False
    width: int = 12


class Row(msgspec.Struct, frozen=True):
    title: str
    panels: tuple[Panel, ...]


def board(uid: str, title: str, rows: Sequence[Row], variables: Sequence[tuple[str, str]]) -> bytes:
    """One board, as JSON. ``variables``: labels to choose by, each with a metric that has it."""
    made = {
        "uid": uid,
        "title": title,
        "tags": ["penstock"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_DATA_SOURCE, *(_variable(name, metric) for name, metric in variables)]},
        "links": [
            {"type": "dashboards", "title": "Penstock", "tags": ["penstock"], "asDropdown": True, "keepTime": True}
        ],
        "panels": list(_laid_out(rows)),
    }
    return msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n"


_DATA_SOURCE: Mapping[str, object] = {
    "name": "datasource",
    "label": "Data source",
    "type": "datasource",
    "query": "prometheus",
    "refresh": 1,
}


def _variable(name: str, metric: str) -> Mapping[str, object]:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": f"label_values({metric}, {name})", "refId": name},
        "definition": f"label_values({metric}, {name})",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "sort": 1,
        "current": {"text": "All", "value": "$__all"},
    }


def _laid_out(rows: Sequence[Row]) -> Iterator[Mapping[str, object]]:
    """From left to right, then down."""
    number = top = 0
    for row in rows:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": _WIDTH, "h": 1},
            "panels": [],
        }
        top, left, height = top + 1, 0, 0
        for panel in row.panels:
            number += 1
            if left + panel.width > _WIDTH:
                top, left = top + height, 0
            height = 4 if panel.kind == "stat" else 8
            yield _panel(panel, number, {"x": left, "y": top, "w": panel.width, "h": height})
            left += panel.width
        top += height


def _panel(panel: Panel, number: int, place: Mapping[str, int]) -> Mapping[str, object]:
    drawn: Mapping[str, object] = {
        "drawStyle": "line",
        "fillOpacity": 20 if panel.stacked else 8,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
    }
    options: Mapping[str, object] = (
        {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "area"}
        if panel.kind == "stat"
        else {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    )
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "custom": drawn if panel.kind == "timeseries" else {}},
            "overrides": [],
        },
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + place_of),
                "datasource": _SOURCE,
                "expr": expr,
                "legendFormat": legend or "__auto",
                "instant": panel.kind == "stat" and "$__range" in expr,
                "range": not (panel.kind == "stat" and "$__range" in expr),
            }
            for place_of, (expr, legend) in enumerate(panel.queries)
        ],
    }
