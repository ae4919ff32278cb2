"""Boards for Grafana, written from the rows of metrics: an overview, one service, replicas, and cost.

``penstock.observe.grafana`` draws them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from penstock.core.metrics import Metric
from penstock.observe.grafana import Panel, Row, board
from penstock.observe.rules import Names

_RATE = "$__rate_interval"


def boards(rows: Iterable[Metric]) -> Mapping[str, bytes]:
    """All of them, as JSON, by the name of the file."""
    names = Names(rows)
    return {
        "penstock-overview.json": board("penstock-overview", "Penstock: overview", _overview(names), ()),
        "penstock-service.json": board(
            "penstock-service", "Penstock: service", _service(names), (("service", names("penstock_requests")),)
        ),
        "penstock-replicas.json": board(
            "penstock-replicas", "Penstock: replicas", _replicas(names), (("model", names("penstock_replica_ready")),)
        ),
        "penstock-cost.json": board("penstock-cost", "Penstock: cost", _cost(names), ()),
    }


def _overview(names: Names) -> Sequence[Row]:
    requests, left = names("penstock_requests"), names("penstock_error_budget_left")
    return (
        Row(
            "Now",
            (
                Panel("Requests", "reqps", ((f"sum(rate({requests}[{_RATE}]))", ""),), "stat", width=4),
                Panel("Ended in an error", "percentunit", ((_failed(requests, ""), ""),), "stat", width=4),
                Panel("First chunk, 95 %", "s", ((_quantile(names, _FIRST, 0.95, ""), ""),), "stat", width=4),
                Panel(
                    "Cost an hour", "currencyUSD", ((f"sum(rate({names(_COST)}[1h])) * 3600", ""),), "stat", width=4
                ),
                Panel("Least error budget", "percentunit", ((f"min({left})", ""),), "stat", width=4),
                Panel(
                    "Alerts",
                    "none",
                    ((f"max by (severity) ({names('penstock_alerts_firing')})", "{{severity}}"),),
                    "stat",
                    width=4,
                ),
            ),
        ),
        Row(
            "Traffic",
            (
                Panel("Requests by service", "reqps", _by("service", requests), stacked=True),
                Panel(
                    "Ended in an error, by service",
                    "percentunit",
                    ((_failed(requests, "", "service"), "{{service}}"),),
                    about="Of requests whose client stayed; the faults of callers are among them.",
                ),
                Panel(
                    "Faults",
                    "reqps",
                    ((f'sum by (code) (rate({requests}{{ending="failed"}}[{_RATE}]))', "{{code}}"),),
                    stacked=True,
                ),
                Panel("First chunk, 95 %, by service", "s", ((_by_quantile(names, _FIRST, 0.95), "{{service}}"),)),
            ),
        ),
        Row(
            "Objectives",
            (
                Panel(
                    "Error budget left",
                    "percentunit",
                    ((f"min by (service, objective) ({left})", "{{service}}: {{objective}}"),),
                    about="Below zero it is overspent.",
                ),
                Panel(
                    "Requests refused by limits and budgets",
                    "reqps",
                    ((f"sum by (service, metric) (rate({names('penstock_requests_limited')}[{_RATE}]))", _PAIR),),
                ),
            ),
        ),
        Row(
            "The gateway",
            (
                Panel("Store away", "none", ((names("penstock_store_away"), "{{instance}}"),)),
                Panel("Journal", "bytes", ((names("penstock_journal_waiting_bytes"), "{{instance}}"),)),
                Panel("Connections", "none", ((names("penstock_http_connections"), "{{instance}}"),)),
                Panel(
                    "Overhead, 99 %",
                    "s",
                    ((_by_quantile(names, "penstock_overhead_seconds", 0.99), "{{service}}"),),
                    about="What the gateway takes for itself until the first chunk.",
                ),
            ),
        ),
    )


def _service(names: Names) -> Sequence[Row]:
    where = 'service=~"$service"'
    requests, tokens = names("penstock_requests"), names("penstock_tokens")
    return (
        Row(
            "Requests",
            (
                Panel("By ending", "reqps", _by("ending", requests, where), stacked=True),
                Panel("By model", "reqps", _by("model", requests, where), stacked=True),
                Panel("By release", "reqps", _by("release", requests, where), stacked=True),
                Panel(
                    "Faults",
                    "reqps",
                    ((f'sum by (code) (rate({requests}{{{where}, ending="failed"}}[{_RATE}]))', "{{code}}"),),
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Times",
            tuple(
                Panel(title, "s", _quantiles(names, row, where))
                for title, row in (
                    ("Duration", "penstock_request_duration_seconds"),
                    ("First chunk", _FIRST),
                    ("Between tokens", "penstock_time_between_tokens_seconds"),
                    ("Wait for a place", "penstock_queue_wait_seconds"),
                )
            ),
        ),
        Row(
            "Tokens and cost",
            (
                Panel("Tokens", "none", _by("direction", tokens, where)),
                Panel(
                    "Cost an hour",
                    "currencyUSD",
                    ((f"sum by (model) (rate({names(_COST)}{{{where}}}[1h])) * 3600", "{{model}}"),),
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Attempts",
            (
                Panel(
                    "Failed attempts", "reqps", _by("code", names("penstock_attempts_failed"), where), stacked=True
                ),
                Panel(
                    "Retries and fallbacks",
                    "reqps",
                    (
                        (f"sum(rate({names('penstock_retries')}{{{where}}}[{_RATE}]))", "retries"),
                        (f"sum(rate({names('penstock_fallbacks')}{{{where}}}[{_RATE}]))", "fallbacks"),
                    ),
                ),
            ),
        ),
    )


def _replicas(names: Names) -> Sequence[Row]:
    where, legend = '{model=~"$model"}', "{{instance}} {{replica}}"

    def of(title: str, unit: str, row: str) -> Panel:
        return Panel(title, unit, ((names(row) + where, legend),))

    return (
        Row(
            "Work",
            (
                of("Ready", "none", "penstock_replica_ready"),
                Panel(
                    "Utilisation of the model",
                    "percentunit",
                    ((f"avg by (model) ({names('penstock_model_utilisation')}{where})", "{{model}}"),),
                ),
                of("Requests worked on", "none", "penstock_replica_running"),
                of("Requests that wait inside", "none", "penstock_replica_waiting"),
                of("Use of the KV cache", "percentunit", "penstock_replica_kv_use"),
                of("Drafted tokens kept", "percentunit", "penstock_replica_speculative_accepted"),
                of("Spared for its failures", "none", "penstock_replica_breaker_open"),
            ),
        ),
        Row(
            "Machine",
            (
                of("Memory", "bytes", "penstock_replica_memory_bytes"),
                of("Processors", "percentunit", "penstock_replica_cpu"),
                of("Memory on devices", "bytes", "penstock_replica_device_memory_bytes"),
                of("Devices at work", "percentunit", "penstock_replica_device_utilisation"),
            ),
        ),
    )


def _cost(names: Names) -> Sequence[Row]:
    cost, requests = names(_COST), names("penstock_requests")

    def spent(by: str) -> Panel:
        query = f"sum by ({by}) (rate({cost}[1h])) * 3600"
        return Panel(f"An hour, by {by}", "currencyUSD", ((query, f"{{{{{by}}}}}"),), stacked=True)

    return (
        Row(
            "Cost",
            (
                Panel(
                    "Over the time shown", "currencyUSD", ((f"sum(increase({cost}[$__range]))", ""),), "stat", width=8
                ),
                Panel(
                    "Per request",
                    "currencyUSD",
                    ((f"sum(increase({cost}[$__range]))\n/\nsum(increase({requests}[$__range]))", ""),),
                    "stat",
                    width=8,
                ),
                Panel(
                    "In 30 days at the pace of the last hour",
                    "currencyUSD",
                    ((f"sum(rate({cost}[1h])) * 3600 * 24 * 30", ""),),
                    "stat",
                    width=8,
                ),
            ),
        ),
        Row("By what", tuple(spent(by) for by in ("service", "model", "project", "release"))),
        Row(
            "Tokens",
            tuple(
                Panel(
                    f"{word} tokens by {by}",
                    "none",
                    (
                        (
                            f'sum by ({by}) (rate({names("penstock_tokens")}{{direction="{direction}"}}[{_RATE}]))',
                            f"{{{{{by}}}}}",
                        ),
                    ),
                    stacked=True,
                )
                for word, direction in (("Input", "input"), ("Output", "output"))
                for by in ("project", "model")
            ),
        ),
    )


# -- PromQL ------------------------------------------------------------------------------------------------------

_FIRST, _COST = "penstock_time_to_first_chunk_seconds", "penstock_cost_dollars"
_PAIR = "{{service}} {{metric}}"


def _by(label: str, metric: str, where: str = "") -> tuple[tuple[str, str], ...]:
    matching = f"{{{where}}}" if where else ""
    return ((f"sum by ({label}) (rate({metric}{matching}[{_RATE}]))", f"{{{{{label}}}}}"),)


def _failed(requests: str, where: str, by: str = "") -> str:
    grouped = f" by ({by})" if by else ""
    both = f"{where}, " if where else ""
    failed = f'sum{grouped} (rate({requests}{{{both}ending="failed"}}[{_RATE}]))'
    return f'{failed}\n/\nsum{grouped} (rate({requests}{{{both}ending!="client_gone"}}[{_RATE}]))'


def _quantile(names: Names, row: str, quantile: float, where: str) -> str:
    matching = f"{{{where}}}" if where else ""
    return f"histogram_quantile({quantile}, sum by (le) (rate({names(row, 'bucket')}{matching}[{_RATE}])))"


def _by_quantile(names: Names, row: str, quantile: float) -> str:
    return f"histogram_quantile({quantile}, sum by (service, le) (rate({names(row, 'bucket')}[{_RATE}])))"


def _quantiles(names: Names, row: str, where: str) -> tuple[tuple[str, str], ...]:
    return tuple((_quantile(names, row, share, where), f"{share:.0%}") for share in (0.5, 0.95, 0.99))
