"""Webhooks, against a receiver that is as strict as those who take them in earnest."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import jsonschema
import msgspec
import pytest
from aiohttp import web

from penstock.control.objectives.receivers import DEADLINE_S, MOST_WAITING, Delivery, Receiver, Undelivered
from penstock.control.objectives.telling import Message
from penstock.control.objectives.templates import Body
from penstock.control.objectives.webhook import Webhook
from penstock.core.errors import PenstockError
from penstock.core.series import Alert
from penstock.observe import config
from tests.control.objectives.shapes import PAGERDUTY, SLACK, TEAMS
from tests.control.timing import ManualTime, turns, until

KEY = "0123456789abcdef0123456789abcdef"
NOW = 1_700_000_000.0
NASTY = 'a "quote" <!channel> & [click](http://x) *b* _c_ \\ \n{{ 7*7 }} 日本'
SHAPES = {"slack": SLACK, "pagerduty": PAGERDUTY, "teams": TEAMS}


def alert(id: str = "slo/assistant/availability/page", **more: object) -> Alert:
    made = Alert(id=id, kind="burn", severity="page", service="assistant", text=NASTY, since=NOW, changed_at=NOW)
    return msgspec.structs.replace(made, **more)


def message(*alerts: Alert, status: str = "firing", **more: object) -> Message:
    made = Message(status="firing", service="assistant", alerts=alerts or (alert(),), at=NOW + 5)
    return msgspec.structs.replace(made, status=status, **more)


class Receiving:
    """An HTTP server that answers by script; the last answer repeats."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[Callable[[], Awaitable[web.Response]]] = []
        self.url = ""

    def answer(self, status: int, text: str = "", **headers: str) -> None:
        async def made() -> web.Response:
            return web.Response(
                status=status, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()}
            )

        self.answers.append(made)

    @staticmethod
    def ok() -> web.Response:
        return web.Response(status=200)

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.headers.append(dict(request.headers))
        if not self.answers:
            return web.Response(status=202)
        return await (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])()


@pytest.fixture
async def receiving() -> AsyncIterator[Receiving]:
    server = Receiving()
    app = web.Application()
    app.router.add_post("/services/T0SECRET0/B0SECRET0", server.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/services/T0SECRET0/B0SECRET0"
    yield server
    await runner.cleanup()


def webhook(receiving: Receiving, template: str = "json", deadline_s: float = 5.0, **more: object) -> Webhook:
    settings = config.Webhook(
        url=receiving.url,
        template=template,
        key=KEY if template == "pagerduty" else "",
        **more,  # type: ignore[arg-type]
    )
    return Webhook(settings, 1, deadline_s)


@contextlib.asynccontextmanager
async def closing(receiver: Receiver) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await receiver.aclose()


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("count", [1, 3, 20])
@pytest.mark.parametrize("status", ["firing", "resolved"])
@pytest.mark.parametrize("url", ["", "https://gw.example/"])
async def test_what_is_sent_has_the_shape_that_is_asked_for(
    receiving: Receiving, kind: str, count: int, status: str, url: str
) -> None:
    alerts = tuple(alert(f"slo/assistant/{n}/page", text=NASTY * 60) for n in range(count))
    receiver = webhook(receiving, kind)
    async with closing(receiver):
        await receiver.send(message(*alerts, status=status, console_url=url))
    assert len(receiving.bodies) == (count if kind == "pagerduty" else 1)
    for body, headers in zip(receiving.bodies, receiving.headers, strict=True):
        jsonschema.validate(json.loads(body), SHAPES[kind], cls=jsonschema.Draft202012Validator)
        assert headers["Content-Type"] == "application/json"
        assert len(body) < 28 << 10
        assert ("https://gw.example/console/alerts" in body.decode()) == (url != "" and b'"resolve"' not in body)


async def test_slack_is_not_told_to_call_everybody(receiving: Receiving) -> None:
    receiver = webhook(receiving, "slack")
    async with closing(receiver):
        await receiver.send(message())
    assert b"<!channel>" not in receiving.bodies[0]
    assert b"&lt;!channel&gt; &amp;" in receiving.bodies[0]


async def test_an_incident_is_closed_by_the_key_that_opened_it(receiving: Receiving) -> None:
    receiver = webhook(receiving, "pagerduty")
    async with closing(receiver):
        await receiver.send(message())
        await receiver.send(message(alert(resolved_at=NOW + 9), status="resolved"))
    opened, closed = map(json.loads, receiving.bodies)
    assert (opened["event_action"], closed["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == closed["dedup_key"] == "penstock/slo/assistant/availability/page"
    assert opened["payload"]["summary"] == NASTY


async def test_a_template_of_ones_own(receiving: Receiving) -> None:
    own = '{"content": {{ (title ~ ": " ~ alert.text) | tojson }}, "n": {{ alerts | length }}}'
    receiver = webhook(receiving, own, headers={"x-token": "t"})
    async with closing(receiver):
        await receiver.send(message())
    assert json.loads(receiving.bodies[0]) == {"content": f"Page: assistant: availability: {NASTY}", "n": 1}
    assert receiving.headers[0]["x-token"] == "t"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ title", "line 1: unexpected end of template"),
        ("a\n{{ nothing }}", "'nothing' is undefined"),
        ("{{ title.__class__.__mro__ }}", "unsafe"),
        ("{{ alert.txt }}", "has no attribute 'txt'"),
        ('{"text": "{{ alert.text }}"}', "is no JSON; put values through the filter `tojson`"),
        ("{{ title | nope }}", "No filter named 'nope'"),
        ("{{ 'x' * 300000 }}", "longer than 256 KiB"),
        ("{% for a in range(10 ** 9) %}x{% endfor %}", "Range too big"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_at_once(template: str, said: str) -> None:
    with pytest.raises(PenstockError, match="cannot be used") as found:
        Body(template)
    assert said in found.value.message


@pytest.mark.parametrize(
    ("status", "headers", "retry", "after_s"),
    [
        (500, {}, True, 0.0),
        (503, {"retry_after": "7"}, True, 7.0),
        (429, {"retry_after": "30"}, True, 30.0),
        (429, {"retry_after": "86400"}, True, 300.0),
        (429, {"retry_after": "soon"}, True, 0.0),
        (400, {}, False, 0.0),
        (404, {}, False, 0.0),
        (302, {"location": "http://elsewhere.example/"}, False, 0.0),
    ],
)
async def test_what_an_answer_means(
    receiving: Receiving, status: int, headers: dict[str, str], retry: bool, after_s: float
) -> None:
    receiving.answer(status, "no_service for T0SECRET0/B0SECRET0" if status == 404 else "", **headers)
    receiver = webhook(receiving)
    async with closing(receiver):
        with pytest.raises(Undelivered) as found:
            await receiver.send(message())
    assert (found.value.retry, found.value.after_s) == (retry, after_s)
    assert f"status {status}" in str(found.value)
    assert "SECRET" not in str(found.value)
    assert len(receiving.bodies) == 1


async def test_one_that_hangs_and_one_that_is_not_there(receiving: Receiving) -> None:
    held = asyncio.Event()

    async def hang() -> web.Response:
        await held.wait()
        return web.Response()

    receiving.answers.append(hang)
    receiver = webhook(receiving, deadline_s=0.2)
    async with closing(receiver):
        with pytest.raises(Undelivered, match=r"no answer in 0\.2 s") as found:
            await receiver.send(message())
        held.set()
    assert found.value.retry
    nobody = Webhook(config.Webhook(url="http://127.0.0.1:9/services/SECRET"), 2)
    async with closing(nobody):
        with pytest.raises(Undelivered, match="cannot be reached") as gone:
            await nobody.send(message())
    assert "SECRET" not in str(gone.value) + repr(nobody) + nobody.name
    assert nobody.name == "webhook 2 (slack, 127.0.0.1)"


# -- the line of one receiver -------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def delivering(*receivers: Receiver) -> AsyncIterator[tuple[Delivery, ManualTime, list[tuple[str, bool]]]]:
    time, done = ManualTime(), []
    delivery = Delivery(receivers, lambda sent, ok: done.append((sent.alerts[0].id, ok)), time.now, time.sleep)
    running = asyncio.create_task(delivery.run())
    try:
        yield delivery, time, done
    finally:
        running.cancel()
        await asyncio.wait([running])
        await delivery.aclose()


async def test_a_receiver_that_fails_for_a_while_is_told_in_the_end_and_in_order(receiving: Receiving) -> None:
    for status in (500, 429, 502):
        receiving.answer(status, retry_after="20" if status == 429 else "0")
    receiving.answer(200)
    async with delivering(webhook(receiving)) as (delivery, time, done):
        delivery.put(message(alert("first")))
        delivery.put(message(alert("second")))
        for expected in range(1, 4):
            await until(lambda expected=expected: len(time.slept) == expected)
            await time.advance(time.slept[-1])
        await until(lambda: len(done) == 2)
        assert done == [("first", True), ("second", True)]
        assert time.slept[1] == 20.0
        assert time.slept[0] < 2
        assert delivery.lines[0].delivered == 2
        assert not delivery.failing
        assert [json.loads(body)["alerts"][0]["id"] for body in receiving.bodies] == ["first"] * 4 + ["second"]


async def test_a_message_is_given_up_after_a_while_and_counted(receiving: Receiving) -> None:
    receiving.answer(500)
    async with delivering(webhook(receiving)) as (delivery, time, done):
        delivery.put(message(alert("first")))
        for waits in itertools.count(1):
            await until(lambda waits=waits: done or len(time.slept) >= waits)
            if done:
                break
            await time.advance(time.slept[waits - 1])
        assert done == [("first", False)]
        assert DEADLINE_S - 80 < time.now() <= DEADLINE_S
        assert "status 500" in delivery.failing["webhook 1 (json, 127.0.0.1)"]
        assert delivery.lines[0].failed == 1


class Hanging:
    name = "hanging"
    severities = ("page", "ticket")

    async def send(self, message: Message) -> None:
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        pass


async def test_one_that_hangs_keeps_no_other_waiting_and_no_more_than_so_many(receiving: Receiving) -> None:
    async with delivering(Hanging(), webhook(receiving)) as (delivery, _, done):
        for number in range(MOST_WAITING + 5):
            delivery.put(message(alert(f"n{number}")))
            await turns(2)
        await until(lambda: delivery.lines[1].delivered == MOST_WAITING + 5, 10)
        assert delivery.lines[0].failed == 4
        assert ("n1", False) in done
        assert not await delivery.drained(0.05)


async def test_receivers_are_told_of_their_severities_alone(receiving: Receiving) -> None:
    async with delivering(webhook(receiving, severities=("ticket",))) as (delivery, _, done):
        assert delivery.put(message()) == 0
        assert delivery.put(message(alert(), alert("t", severity="ticket"))) == 1
        await until(lambda: done)
        assert [each["id"] for each in json.loads(receiving.bodies[0])["alerts"]] == ["t"]
        assert await delivery.drained(1)
