"""Writes the reference pages that are drawn from the code: ``python docs/generate.py``, or ``make docs``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from penstock.assembly.metrics import ROWS
from penstock.config import reference
from penstock.core import errors
from penstock.core.errors import Fault
from penstock.core.metrics import Counter, Histogram, Metric
from penstock.edge.http import reference as http
from penstock.edge.http.admin import Admin
from penstock.edge.http.app import App
from penstock.observe import otlp_metrics
from penstock.observe.boards import boards
from penstock.observe.rules import rules_file

HERE = Path(__file__).parent / "reference"
DEPLOY = Path(__file__).parents[1] / "deploy"
NOTE = "<!-- Written by docs/generate.py from the code. Change the code, then run `make docs`. -->\n"
RULES_NOTE = """Written by docs/generate.py from the code. Change the code, then run `make docs`.
They watch that 99 % of the requests of each service do not fail; docs/alerts.md says how to have those of your own
objectives."""


def errors_page() -> str:
    """Every fault that can reach a client."""
    faults = sorted((f for f in vars(errors).values() if isinstance(f, Fault)), key=lambda f: (f.status, f.code))
    startup = {errors.WEIGHTS_UNAVAILABLE, errors.ENGINE_START_FAILED, errors.CANNOT_START}
    lines = [
        "# Errors",
        "",
        NOTE,
        "`code` is in the `error` object of a reply, or of an event in a stream that broke. *Elsewhere* says whether",
        "another attempt, at a fallback say, is made before the client hears of it.",
        "",
        "| code | status | elsewhere | what it means |",
        "| --- | --- | --- | --- |",
    ]
    lines += [_row(fault) for fault in faults if fault not in startup]
    lines += ["", "These stop a command or a model, and are never sent over HTTP:", "", "| code | what it means |"]
    lines += ["| --- | --- |", *(f"| `{f.code}` | {f.about} |" for f in faults if f in startup)]
    return "\n".join(lines) + "\n"


def _row(fault: Fault) -> str:
    return f"| `{fault.code}` | {fault.status} | {'yes' if fault.retry else 'no'} | {fault.about} |"


def metrics_page() -> str:
    """Every metric that a room declares."""
    lines = [
        "# Metrics",
        "",
        NOTE,
        "At `/metrics`, in Prometheus's text format; who asks for its protobuf form has native histograms as well",
        "(`scrape_native_histograms: true` in a scrape configuration of Prometheus). A collector gets the same over",
        "OTLP (`observe: otlp:`), histograms as exponential ones, under the names in the second column.",
        "",
        "A label that has too many values has `other` for the rest: projects and releases after the first 100 each.",
        "",
        "| metric | OTLP | kind | labels | what it says |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in ROWS:
        labels = ", ".join(f"`{label}`" for label in row.labels)
        name, _ = otlp_metrics.named(row)
        lines.append(f"| `{_exposed(row)}` | `{name}` | {type(row).__name__.lower()} | {labels} | {row.help} |")
    lines += ["", "They are summed over all workers. Beside them stand the usual `process_*` rows of each process."]
    return "\n".join(lines) + "\n"


def _exposed(row: Metric) -> str:
    match row:
        case Counter():
            return row.name + "_total"
        case Histogram():
            return row.name + "_bucket"
        case _:
            return row.name


def permissions_page() -> str:
    """Who may use which route. Nobody is served by this application, so nothing is behind it."""
    nothing = cast(Any, None)
    app = App(nothing, max_body_bytes=0, meter=nothing, render=nothing, admin=Admin(nothing, nothing, nothing))
    return http.permissions_page(app.routes(), NOTE)


PAGES = {
    "permissions.md": permissions_page,
    "admin-api.md": lambda: http.admin_page(NOTE),
    "errors.md": errors_page,
    "metrics.md": metrics_page,
    "deployment-file.md": reference.page,
    "penstock.schema.json": reference.json_schema,
}


def prometheus_rules() -> str:
    """What holds for every gateway, whatever it promises."""
    return rules_file({}, ROWS, RULES_NOTE)


def deployed() -> dict[str, bytes]:
    """What is written for others to load, by its path below ``deploy``."""
    found = {f"grafana/{name}": text for name, text in boards(ROWS).items()}
    return {"prometheus/penstock.rules.yaml": prometheus_rules().encode(), **found}


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (HERE / name).write_text(page())
    for name, text in deployed().items():
        (DEPLOY / name).parent.mkdir(parents=True, exist_ok=True)
        (DEPLOY / name).write_bytes(text)


if __name__ == "__main__":
    main()
