"""What the deployment file may say of what is observed, and where it goes."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Days = Annotated[float, msgspec.Meta(gt=0, le=36500)]
Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/]+")]
Content = Literal["none", "masked", "sampled", "all"]


class Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares of requests whose facts the log keeps, by how they went. All of them are counted in the charts."""

    failed: Share = 1.0
    """Of those that ended in an error, and those whose client left."""
    slow: Share = 1.0
    """Of those that took longer than `slow_s`."""
    others: Share = 1.0
    """Of all others."""
    slow_s: Annotated[float, msgspec.Meta(gt=0, le=86400)] = 30.0
    """Seconds from which a request counts as slow."""


class Requests(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The log of requests: the facts of each, and what was said where a policy wants that."""

    enabled: bool = True
    """Whether there is one. Without it there are no charts, traces or objectives either."""
    content: Content = "none"
    """Prompts and replies: not at all, all with personal data masked, all of a share of requests, or all. Services
    and projects may say otherwise; of several words the most private holds."""
    content_share: Share = 0.1
    """The share for `sampled`."""
    keep: Kept = Kept()
    """Which facts are kept."""
    days: Days = 90.0
    """How long facts are kept."""
    content_days: Days = 14.0
    """How long contents are kept."""
    archive_after_days: Days = 3.0
    """Days that are older than this become Parquet files."""
    archive: str = ""
    """Where they go: a folder, or `s3://BUCKET/PREFIX` (needs `penstock[s3]`). Default: `archive` in the home.
    Several gateways of one store need the same."""
    spool_bytes: Annotated[int, msgspec.Meta(ge=1 << 20, le=1 << 40, extra={"form": "size"})] = 256 << 20
    """How much may wait on this machine's disk while the store is away; what comes beyond it is shed, and counted."""


class Otlp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A collector that speaks OTLP over HTTP."""

    url: Url
    """Its base address, such as `http://collector:4318`; `/v1/traces` and `/v1/metrics` are added."""
    headers: dict[str, str] = {}
    """Sent with everything, such as an API key."""
    metrics: bool = True
    """Whether metrics go there."""
    metrics_every_s: Annotated[float, msgspec.Meta(ge=1, le=3600)] = 15.0
    """How often."""

    def __repr__(self) -> str:
        # Headers hold keys.
        return f"Otlp(url={self.url!r})"


class Traces(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which traces go to the collector. The log shows the course of every request that it keeps, traced or not."""

    share: Share = 0.1
    """Of requests that come without a trace of their own."""
    errors: bool = True
    """Whether all that fail are exported, too."""
    follow: bool = True
    """Whether what a caller's `traceparent` says of sampling counts."""
    content: bool = False
    """Whether what was said goes along, as far as the log's policy keeps it."""


class Webhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who is told by an HTTP request."""

    url: Url
    """Where it goes."""
    template: str = "slack"
    """`slack`, `pagerduty`, `teams`, `json`, or a Jinja2 template of the body."""
    headers: dict[str, str] = {}
    """Sent along."""
    key: str = ""
    """PagerDuty's routing key."""
    severities: tuple[Literal["page", "ticket"], ...] = ("page", "ticket")
    """Which alerts it is told of."""

    def __repr__(self) -> str:
        # The address and the key are secrets.
        return f"Webhook(template={self.template!r})"


class Email(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """People who are told by e-mail."""

    host: str
    """The SMTP server."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 587
    """Its port; on 465 TLS is spoken from the start."""
    starttls: bool = True
    """Whether TLS is asked for on any other port."""
    user: str = ""
    """Who signs in, if anybody must."""
    password: str = ""
    """The password."""
    sender: str
    """The address in `From`."""
    to: Annotated[list[str], msgspec.Meta(min_length=1)]
    """Who gets it."""
    severities: tuple[Literal["page", "ticket"], ...] = ("page", "ticket")
    """Which alerts."""

    def __repr__(self) -> str:
        return f"Email(host={self.host!r})"


class Alerts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is told, and how often."""

    webhooks: list[Webhook] = []
    """Told by HTTP."""
    email: list[Email] = []
    """Told by e-mail."""
    group_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 30.0
    """Seconds for which alerts of one service are gathered into one message."""
    repeat_s: Annotated[float, msgspec.Meta(ge=60, le=604800)] = 14400.0
    """Seconds after which an alert that still holds is told again."""
    console_url: str = ""
    """Where people reach the console, for links in messages; such as `https://gateway.example`."""


class Objective(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a service promises: `target` of its requests are good in `window_days`; the rest is its error budget."""

    kind: Literal["availability", "latency", "first_chunk", "cost", "quality"]
    """What a good request is: one that did not fail (`availability`), that was over (`latency`) or begun
    (`first_chunk`) within `within_s`, that cost at most `dollars`; `quality`: a score of `metric`, of which the mean
    must be at least `target`."""
    target: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.99
    """The share of requests that must be good; for `quality` the mean score."""
    window_days: Annotated[float, msgspec.Meta(ge=1, le=90)] = 30.0
    """Over how long."""
    within_s: Annotated[float, msgspec.Meta(gt=0, le=86400)] | None = None
    """For `latency` and `first_chunk`."""
    dollars: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """For `cost`: the most that a request may cost on the mean of an hour."""
    metric: str = ""
    """For `quality`: the name of a score."""


class ServiceLog(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of a service's requests."""

    content: Content | None = None
    """Prompts and replies, as `observe: requests: content:` has it. Default: what that says."""


class ObserveSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is seen of the gateway, and where it goes."""

    requests: Requests = Requests()
    """The log of requests."""
    traces: Traces = Traces()
    """Which of them are exported as traces."""
    otlp: Otlp | None = None
    """A collector for traces and metrics. Default: none."""
    alerts: Alerts = Alerts()
    """Who is told when objectives are at risk."""
    console: bool = True
    """Whether `/console` is served."""
