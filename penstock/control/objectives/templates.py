"""Bodies of webhooks: templates in Jinja's sandbox, those in the box and one's own.

What the ones in the box write is documented by those who read it: Slack, "Sending messages using incoming webhooks"
and "Reference: blocks"; PagerDuty, "Events API v2: send an alert event"; Microsoft, "Create incoming webhooks with
Workflows for Microsoft Teams" and the schema of Adaptive Cards 1.4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from penstock.control.objectives.receivers import Undelivered
from penstock.control.objectives.telling import Message, when
from penstock.core.errors import BAD_DEPLOYMENT, PenstockError
from penstock.core.series import Alert

MOST_BYTES = 256 << 10
"""The longest body."""
SHOWN = 15
"""Alerts that one message spells out; of more it says how many. Slack takes 50 blocks, Teams 28 KiB."""
_LONGEST_LINE = 400
_LIKE_JSON = re.compile(r"\s*(\[|\{(?![{%#]))")

_SLACK = """
{"text": {{ (title ~ ". " ~ lines[0].text) | slack | tojson }},
 "blocks": [
  {"type": "header", "text": {"type": "plain_text", "text": {{ title | cut(150) | tojson }}, "emoji": false}}
  {%- for line in lines %},
  {"type": "section", "text": {"type": "mrkdwn", "text": {{
    ((":white_check_mark: " if status == "resolved" else ":rotating_light: " if line.severity == "page"
      else ":warning: ") ~ (line.text | slack) ~ "\n`" ~ (line.id | slack) ~ "` since " ~ line.since) | tojson }}}}
  {%- endfor %}
  {%- if more %},
  {"type": "context", "elements": [{"type": "plain_text", "text": "and {{ more }} more"}]}
  {%- endif %}
  {%- if url %},
  {"type": "context", "elements": [{"type": "mrkdwn", "text": {{ ("<" ~ url ~ "|Open the console>") | tojson }}}]}
  {%- endif %}
 ]}
"""

_PAGERDUTY = """
{"routing_key": {{ key | tojson }},
 "event_action": "{{ "resolve" if status == "resolved" else "trigger" }}",
 "dedup_key": {{ ("penstock/" ~ alert.id) | cut(255) | tojson }}
 {%- if status != "resolved" %},
 "client": "Penstock"{% if url %}, "client_url": {{ url | tojson }},
 "links": [{"href": {{ url | tojson }}, "text": "Alerts in the console"}]{% endif %},
 "payload": {
  "summary": {{ alert.text | cut(1024) | tojson }},
  "source": {{ (service or alert.id) | tojson }},
  "severity": "{{ "critical" if alert.severity == "page" else "warning" }}",
  "timestamp": {{ alert.since | tojson }},
  "component": {{ (service or "gateway") | tojson }}, "class": {{ alert.kind | tojson }},
  "custom_details": {"id": {{ alert.id | tojson }}, "value": {{ alert.value | tojson }},
                     "limit": {{ alert.limit | tojson }}}}
 {%- endif %}}
"""

_TEAMS = """
{"type": "message", "attachments": [{
 "contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null,
 "content": {
  "$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
  "msteams": {"width": "Full"},
  "body": [
   {"type": "TextBlock", "size": "Medium", "weight": "Bolder", "wrap": true, "text": {{ title | teams | tojson }},
    "color": "{{ "Good" if status == "resolved" else "Attention" if severity == "page" else "Warning" }}"}
   {%- for line in lines %},
   {"type": "TextBlock", "wrap": true, "text": {{ line.text | teams | tojson }}},
   {"type": "TextBlock", "wrap": true, "isSubtle": true, "spacing": "None",
    "text": {{ ((line.id | teams) ~ " since " ~ line.since) | tojson }}}
   {%- endfor %}
   {%- if more %},
   {"type": "TextBlock", "text": "and {{ more }} more"}
   {%- endif %}
  ]
  {%- if url %},
  "actions": [{"type": "Action.OpenUrl", "title": "Open the console", "url": {{ url | tojson }}}]
  {%- endif %}
 }}]}
"""

_JSON = """
{"status": {{ status | tojson }}, "severity": {{ severity | tojson }}, "service": {{ service | tojson }},
 "title": {{ title | tojson }}, "at": {{ at | tojson }}, "repeat": {{ repeat | tojson }}, "url": {{ url | tojson }},
 "alerts": {{ alerts | tojson }}}
"""

_BUILT_IN = {"slack": _SLACK, "pagerduty": _PAGERDUTY, "teams": _TEAMS, "json": _JSON}
_ONE_EACH = frozenset({"pagerduty"})


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """An alert as templates have it: times in RFC 3339, UTC; ``text`` cut where it is very long."""

    id: str
    kind: str
    severity: str
    service: str
    project: str
    text: str
    value: float
    limit: float
    since: str
    resolved_at: str


class Body:
    """A compiled template. ``key`` is the webhook's. Raises ``PenstockError(BAD_DEPLOYMENT)``, which names the line,
    for a template that cannot be used; it is tried with an example of each kind of message."""

    def __init__(self, template: str, key: str = "") -> None:
        self._key = key
        self._one_each = template in _ONE_EACH
        own = template not in _BUILT_IN
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
        environment.filters |= {"slack": _slack, "teams": _teams, "cut": _cut, "tojson": _json}
        try:
            self._template = environment.from_string(_BUILT_IN.get(template, template))
            bodies = [body for example in EXAMPLES for body in self.bodies(example)]
        except TemplateSyntaxError as error:
            raise _unusable(f"line {error.lineno}: {error.message}") from None
        except Undelivered as error:
            raise _unusable(str(error)) from None
        if own and _LIKE_JSON.match(template) and not all(map(is_json, bodies)):
            raise _unusable("what comes of it is no JSON; put values through the filter `tojson`")

    def bodies(self, message: Message) -> list[bytes]:
        """What to send, one after the other: PagerDuty has an event for each alert."""
        if not self._one_each:
            return [self._rendered(message, message.alerts)]
        return [self._rendered(message, (alert,)) for alert in message.alerts]

    def _rendered(self, message: Message, alerts: tuple[Alert, ...]) -> bytes:
        lines = [line_of(each) for each in alerts]
        url = f"{message.console_url.rstrip('/')}/console/alerts" if message.console_url else ""
        values: Mapping[str, object] = {
            "status": message.status,
            "severity": message.severity,
            "service": message.service,
            "title": message.title,
            "at": when(message.at),
            "repeat": message.repeat,
            "url": url,
            "key": self._key,
            "alerts": lines,
            "alert": lines[0],
            "lines": lines[:SHOWN],
            "more": max(0, len(lines) - SHOWN),
        }
        try:
            body = self._template.render(values).strip().encode()
        except (TemplateError, ArithmeticError, TypeError, ValueError, AttributeError, LookupError) as error:
            raise Undelivered(f"the template failed: {error}", retry=False) from None
        if len(body) > MOST_BYTES:
            raise Undelivered(f"what came of the template is longer than {MOST_BYTES >> 10} KiB", retry=False)
        return body


def line_of(alert: Alert) -> Line:
    """The alert as templates have it."""
    return Line(
        id=alert.id,
        kind=alert.kind,
        severity=alert.severity,
        service=alert.service,
        project=alert.project,
        text=_cut(alert.text, _LONGEST_LINE),
        value=alert.value,
        limit=alert.limit,
        since=when(alert.since),
        resolved_at="" if alert.resolved_at is None else when(alert.resolved_at),
    )


def is_json(body: bytes) -> bool:
    """Whether it is one JSON value."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _unusable(why: str) -> PenstockError:
    return PenstockError(
        BAD_DEPLOYMENT,
        f"the template of a webhook under `observe: alerts: webhooks` cannot be used: {why}. Mend it, or write "
        f"{', '.join(_BUILT_IN)}; docs/alerts.md lists what a template is given.",
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _slack(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _teams(text: str) -> str:
    return re.sub(r"([\\*_\[\]])", r"\\\1", text)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "\u2026"


def _example(resolved_at: float | None) -> Alert:
    return Alert(
        id="slo/assistant/latency-2s/page",
        kind="burn",
        severity="page",
        service="assistant",
        text='assistant: in the last 1h 20 % of requests took "longer" than 2 s.',
        value=20.0,
        limit=14.4,
        since=1.7e9,
        changed_at=1.7e9,
        resolved_at=resolved_at,
    )


EXAMPLES = (
    Message(
        status="firing", service="assistant", alerts=(_example(None),), at=1.7e9, console_url="https://gw.example"
    ),
    Message(status="resolved", service="", alerts=(_example(1.7e9 + 60),) * 2, at=1.7e9 + 60),
)
"""What every template is tried with before it is used."""
