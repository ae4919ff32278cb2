"""What the deployment file may say of what is observed, and where it goes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

TEMPLATES = ("slack", "pagerduty", "teams", "json")
"""Templates of webhooks that are in the box."""

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
    """Prompts and replies: not at all, all with personal data masked, all of a share of requests, or all. What a
    service says of its own holds in place of this; a project may only make it more private."""
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
    """`slack`, `pagerduty`, `teams`, `json`, or a Jinja2 template of the body: text with a `{` in it."""
    headers: dict[str, str] = {}
    """Sent along."""
    key: str = ""
    """PagerDuty's routing key (the integration key of Events API v2); a template of one's own has it as `key`."""
    severities: tuple[Literal["page", "ticket"], ...] = ("page", "ticket")
    """Which alerts it is told of."""

    def __post_init__(self) -> None:
        if self.template not in TEMPLATES and "{" not in self.template:
            near = difflib.get_close_matches(self.template, TEMPLATES, n=1)
            mend = f"did you mean `{near[0]}`?" if near else "write one of them, or a Jinja2 template"
            raise ValueError(f"`template` is none of {', '.join(TEMPLATES)}, and holds no `{{`; {mend}")
        if self.template == "pagerduty" and not self.key:
            raise ValueError("`template: pagerduty` lacks `key`; give it the integration key of Events API v2")
        if self.key and self.template in ("slack", "teams", "json"):
            raise ValueError(f"`key` is not sent with `template: {self.template}`; remove it, or use `headers`")

    def __repr__(self) -> str:
        # The address, the headers and the key are secrets.
        return f"Webhook(template={self.template[:20]!r})"


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

    def __post_init__(self) -> None:
        inside = self.host in ("localhost", "127.0.0.1", "::1")
        if self.user and not self.starttls and self.port != 465 and not inside:
            raise ValueError("the password would go out in clear; set `starttls: true`, or use port 465")
        if self.password and not self.user:
            raise ValueError("`password` lacks `user`; say who signs in")

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
    (`first_chunk`) within `within_s`. `cost`: the mean cost of a request must be at most `dollars`; `quality`: the
    mean of the scores of `metric` must be at least `target`."""
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$|^$")] = ""
    """What it is called in alerts, one name a service. Default: its kind and bound, such as `latency-2s`."""
    target: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.99
    """The share of requests that must be good; for `quality` the mean score. `cost` has none."""
    window_days: Annotated[float, msgspec.Meta(ge=1, le=90)] = 30.0
    """Over how long."""
    within_s: Annotated[float, msgspec.Meta(gt=0, le=86400)] | None = None
    """For `latency` and `first_chunk`."""
    dollars: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """For `cost`: the most that a request may cost on the mean."""
    metric: str = ""
    """For `quality`: the name of a score."""

    def __post_init__(self) -> None:
        needs = _NEEDS.get(self.kind, "")
        given = {"within_s": self.within_s, "dollars": self.dollars, "metric": self.metric or None}
        if needs and given[needs] is None:
            raise ValueError(f"`kind: {self.kind}` lacks the key `{needs}`; {_MENDS[needs]}")
        for key, value in given.items():
            if value is not None and key != needs:
                kinds = " or ".join(f"`kind: {kind}`" for kind, needed in _NEEDS.items() if needed == key)
                raise ValueError(f"`{key}` says nothing for `kind: {self.kind}`; remove it, or write {kinds}")

    @property
    def title(self) -> str:
        """Its name, made of its kind and bound where it has none."""
        if self.name:
            return self.name
        if self.within_s is not None:
            return f"{self.kind}-{_length(self.within_s)}"
        if self.dollars is not None:
            return f"cost-{self.dollars:.9f}".rstrip("0").rstrip(".") + "usd"
        return f"quality-{self.metric}" if self.metric else self.kind


_NEEDS = {"latency": "within_s", "first_chunk": "within_s", "cost": "dollars", "quality": "metric"}
_MENDS = {
    "within_s": "write the seconds, such as `within_s: 2`",
    "dollars": "write the most that a request may cost on the mean, such as `dollars: 0.02`",
    "metric": "name the score, such as `metric: feedback`",
}


def _length(seconds: float) -> str:
    return f"{seconds * 1000:g}ms" if seconds < 1 else f"{seconds:g}s"


def check_names(objectives: Sequence[Objective]) -> None:
    """Whether each objective of a service has a name of its own. Raises ``ValueError``."""
    seen: set[str] = set()
    for each in objectives:
        if each.title in seen:
            raise ValueError(
                f"two of `objectives` are called `{each.title}`; give one of them another `name`, or remove it"
            )
        seen.add(each.title)


class ServiceLog(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of a service's requests."""

    content: Content | None = None
    """Prompts and replies: more or less private than `observe: requests: content:` says, in its place. Default:
    that."""


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
    engine_metrics: bool = True
    """Whether engines in this network, and those that run here, are asked every few seconds what they are at."""
    console: bool = True
    """Whether `/console` is served."""
