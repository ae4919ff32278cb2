"""Rules for Prometheus, written from the rows of metrics and from objectives: what the gateway watches by itself, for
those who watch everything in one place.

Written as YAML by hand: names and texts go in as JSON, which YAML is made of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from penstock.core import errors
from penstock.core.errors import Fault
from penstock.core.metrics import Counter, Gauge, Histogram, Metric
from penstock.core.series import Severity
from penstock.observe.config import Objective
from penstock.observe.windows import LEAST_BAD, OURS, Rule, allowed, label, lengths, of_means, rules_of

LIKELY = Objective(kind="availability", target=0.99)
"""What is watched of every service while nothing was promised of any."""

_BASE_S = 300.0
"""No window is shorter: it must hold some scrapes."""
_ASKED, _BAD = "penstock:slo_asked:rate5m", "penstock:slo_bad:rate5m"
_TIMES = {"latency": "penstock_request_duration_seconds", "first_chunk": "penstock_time_to_first_chunk_seconds"}
_CLIENTS = tuple(
    sorted(
        fault.code
        for fault in vars(errors).values()
        if isinstance(fault, Fault) and fault.status < 500 and fault.code not in OURS
    )
)


class Names:
    """What Prometheus calls the rows that a gateway declares. Raises ``KeyError`` for a row that it does not."""

    def __init__(self, rows: Iterable[Metric]) -> None:
        self._rows = {row.name: row for row in rows}

    def __call__(self, name: str, suffix: str = "") -> str:
        """``suffix`` is ``bucket``, ``count`` or ``sum``, of a histogram alone."""
        match self._rows[name]:
            case Counter():
                return f"{name}_total"
            case Gauge():
                return name
            case Histogram():
                return f"{name}_{suffix}"

    def bound(self, name: str, seconds: float) -> float:
        """The bucket of a histogram that is nearest from above; infinity above all."""
        row = self._rows[name]
        assert isinstance(row, Histogram)
        return next((bound for bound in row.buckets if bound >= seconds), float("inf"))


class Recording(msgspec.Struct, frozen=True):
    record: str
    expr: str
    labels: Mapping[str, str] = {}


class Alerting(msgspec.Struct, frozen=True, kw_only=True):
    alert: str
    expr: str
    severity: Severity
    summary: str
    description: str
    for_: str = ""
    labels: Mapping[str, str] = {}


class Group(msgspec.Struct, frozen=True):
    name: str
    rules: tuple[Recording | Alerting, ...]


def rules_file(promises: Mapping[str, Sequence[Objective]], rows: Iterable[Metric], note: str = "") -> str:
    """The whole file. Without promises availability is watched, the same for every service."""
    names = Names(rows)
    groups = list(_burning(promises, names)) if any(promises.values()) else [_likely(names)]
    return _yaml([*groups, _gateway(names)], note)


# -- objectives --------------------------------------------------------------------------------------------------


def _burning(promises: Mapping[str, Sequence[Objective]], names: Names) -> Iterator[Group]:
    for service, objectives in promises.items():
        for objective in objectives:
            if not of_means(objective):
                where = f"service={_text(service)}"
                labels = {"service": service, "objective": objective.title}
                yield Group(
                    f"penstock-{_plain(service)}-{_plain(objective.title)}",
                    (*_recorded(objective, names, where, labels), *_alerts(objective, labels)),
                )


def _likely(names: Names) -> Group:
    labels = {"objective": LIKELY.title}
    return Group("penstock-availability", (*_recorded(LIKELY, names, "", labels), *_alerts(LIKELY, labels)))


def _recorded(objective: Objective, names: Names, where: str, labels: Mapping[str, str]) -> Iterator[Recording]:
    """First how fast requests come and how fast bad ones do, then their share in each window: over days that is read
    from the former, as the counters themselves would be too much."""
    asked, bad = _asked_and_bad(objective, names, where)
    yield Recording(_ASKED, asked, labels)
    yield Recording(_BAD, bad, labels)
    of = _selected(labels)
    for over in _windows(objective):
        share = f"{_mean(_BAD, of, over)}\n/\n{_mean(_ASKED, of, over)}"
        yield Recording(f"penstock:slo_bad:ratio_rate{over}", share, labels)


def _asked_and_bad(objective: Objective, names: Names, where: str) -> tuple[str, str]:
    if objective.kind == "availability":
        counted, not_ours = names("penstock_requests"), f'code!~"{"|".join(_CLIENTS)}"'
        asked = _rate(counted, _matching(where, 'ending!="client_gone"', not_ours))
        failed = _rate(counted, _matching(where, 'ending="failed"', not_ours))
        # Where none has failed yet there is no counter of it: then it is none, and not unknown.
        return asked, f"{failed}\nor\n{asked} * 0"
    assert objective.within_s is not None
    row = _TIMES[objective.kind]
    bound = names.bound(row, objective.within_s)
    le = "+Inf" if bound == float("inf") else repr(bound)
    asked = _rate(names(row, "count"), _matching(where))
    in_time = _rate(names(row, "bucket"), _matching(where, f'le="{le}"'))
    return asked, f"{asked}\n-\n{in_time}"


def _windows(objective: Objective) -> list[str]:
    return list(dict.fromkeys(label(max(_BASE_S, each)) for each in lengths(objective)))


def _mean(record: str, of: str, over: str) -> str:
    return f"{record}{of}" if over == label(_BASE_S) else f"avg_over_time({record}{of}[{over}])"


def _rate(metric: str, matching: str) -> str:
    return f"sum by (service) (rate({metric}{matching}[{label(_BASE_S)}]))"


def _matching(*parts: str) -> str:
    said = [part for part in parts if part]
    return "{" + ", ".join(said) + "}" if said else ""


def _selected(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name}={_text(value)}" for name, value in labels.items()) + "}"


def _alerts(objective: Objective, labels: Mapping[str, str]) -> Iterator[Alerting]:
    severities: dict[Severity, list[Rule]] = {}
    for rule in rules_of(objective):
        severities.setdefault(rule.severity, []).append(rule)
    for severity, rules in severities.items():
        yield Alerting(
            alert="PenstockErrorBudgetBurns",
            expr="\nor\n".join(_burns(objective, rule, _selected(labels)) for rule in rules),
            severity=severity,
            summary="{{ $labels.service }}: the error budget of " + objective.title + " burns",
            description="{{ $value | humanizePercentage }} of requests were not as promised; the objective allows "
            f"{allowed(objective) * 100:.4g} %.",
            labels={"objective": objective.title},
        )


def _burns(objective: Objective, rule: Rule, of: str) -> str:
    bound = f"{rule.factor * allowed(objective):.6g}"
    over, short = (label(max(_BASE_S, each)) for each in (rule.long_s, rule.short_s))
    return (
        f"(\n  penstock:slo_bad:ratio_rate{over}{of} > {bound}\n  and\n"
        f"  penstock:slo_bad:ratio_rate{short}{of} > {bound}\n  and\n"
        f"  {_mean(_BAD, of, over)} * {max(_BASE_S, rule.long_s):.0f} >= {LEAST_BAD[rule.severity]}\n)"
    )


# -- the gateway itself ------------------------------------------------------------------------------------------


def _gateway(names: Names) -> Group:
    left = names("penstock_error_budget_left")
    waiting = names("penstock_journal_waiting_bytes")
    queued = names("penstock_queue_wait_seconds", "bucket")
    return Group(
        "penstock-gateway",
        (
            Alerting(
                alert="PenstockErrorBudgetNearlySpent",
                expr=f"min by (service, objective) ({left}) < 0.1",
                for_="5m",
                severity="ticket",
                summary="{{ $labels.service }}: little of the error budget of {{ $labels.objective }} is left",
                description="{{ $value | humanizePercentage }} of it is left.",
            ),
            Alerting(
                alert="PenstockStoreAway",
                expr=f"max by (instance) ({names('penstock_store_away')}) == 1",
                for_="1m",
                severity="page",
                summary="The store does not answer {{ $labels.instance }}",
                description="Requests are served, and what they use waits in the journal; when that is full, they "
                "are refused.",
            ),
            Alerting(
                alert="PenstockJournalGrows",
                expr=f"{waiting} > 64 * 1024 * 1024\nand\nderiv({waiting}[10m]) > 0",
                for_="10m",
                severity="ticket",
                summary="What was used waits at {{ $labels.instance }} for its way into the store",
                description="{{ $value | humanize1024 }}B wait, and it becomes more. `state: journal: limit_bytes` "
                "bounds it.",
            ),
            Alerting(
                alert="PenstockQueueFills",
                expr=f"histogram_quantile(0.95, sum by (service, le) (rate({queued}[5m]))) > 5",
                for_="10m",
                severity="ticket",
                summary="{{ $labels.service }}: requests wait long for a place",
                description="One of twenty waits for more than {{ $value | humanizeDuration }}. Add replicas, or "
                "lower what may be asked for.",
            ),
            Alerting(
                alert="PenstockModelSaturated",
                expr=f"max by (model) ({names('penstock_model_utilisation')}) > 0.95",
                for_="15m",
                severity="ticket",
                summary="All places of {{ $labels.model }} are taken",
                description="{{ $value | humanizePercentage }} of what its replicas can work on at once is in use.",
            ),
            Alerting(
                alert="PenstockNoReplicaReady",
                expr=f"max by (model) ({names('penstock_replica_ready')}) == 0",
                for_="2m",
                severity="page",
                summary="No replica of {{ $labels.model }} is ready",
                description="Requests for it go to fallbacks, or fail.",
            ),
            Alerting(
                alert="PenstockAlertsUndelivered",
                expr="sum by (receiver) (increase("
                + names("penstock_alert_messages")
                + '{outcome="failed"}[30m])) > 0',
                severity="ticket",
                summary="{{ $labels.receiver }} is not told of alerts",
                description="{{ $value | humanize }} messages could not be delivered in half an hour; the log says "
                "why.",
            ),
            Alerting(
                alert="PenstockLogLinesDropped",
                expr=f"sum by (instance) (increase({names('penstock_log_lines_dropped')}[30m])) > 0",
                severity="ticket",
                summary="{{ $labels.instance }} loses lines of its access log",
                description="Its disk is full, or its reader slower than requests come.",
            ),
        ),
    )


# -- YAML --------------------------------------------------------------------------------------------------------


def _yaml(groups: Iterable[Group], note: str) -> str:
    lines = [f"# {line}".rstrip() for line in note.splitlines()]
    lines.append("groups:")
    for group in groups:
        # What is read over days is counted by this interval.
        lines += [f"  - name: {_text(group.name)}", "    interval: 1m", "    rules:"]
        for rule in group.rules:
            lines += _recording(rule) if isinstance(rule, Recording) else _alerting(rule)
    return "\n".join(lines) + "\n"


def _recording(rule: Recording) -> list[str]:
    return [f"      - record: {rule.record}", *_block("expr", rule.expr), *_mapping("labels", rule.labels)]


def _alerting(rule: Alerting) -> list[str]:
    return [
        f"      - alert: {rule.alert}",
        *_block("expr", rule.expr),
        *([f"        for: {rule.for_}"] if rule.for_ else []),
        *_mapping("labels", {"severity": rule.severity, **rule.labels}),
        *_mapping("annotations", {"summary": rule.summary, "description": rule.description}),
    ]


def _block(key: str, text: str) -> list[str]:
    return [f"        {key}: |-", *(f"          {line}" for line in text.splitlines())]


def _mapping(key: str, values: Mapping[str, str]) -> list[str]:
    if not values:
        return []
    return [f"        {key}:", *(f"          {name}: {_text(value)}" for name, value in values.items())]


def _text(value: str) -> str:
    return msgspec.json.encode(value).decode()


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-") or "any"
