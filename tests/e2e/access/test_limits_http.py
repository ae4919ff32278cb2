"""Limits, budgets and prices as clients see them: refusals that say what, why and for how long, and costs that agree."""

from __future__ import annotations

import bisect
import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import accumulate

import openai
import pytest

from penstock.access.limits import WINDOWS
from tests.e2e.access.house import Admin, Answer, Wire, deployment, to_each_worker
from tests.e2e.running import Penstock, running, wait_until

WORKERS = 2
# A window is counted in 600 steps, and one step longer than it is.
STEP_S = WINDOWS["minute"] / 600
WORDS = "word " * 100


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    models = {
        "quick": {"engine": "fake"},
        "long": {"engine": "fake", "answers": [{"text": WORDS.strip()}]},
        "slow": {"engine": "fake", "answers": [{"first_delay_s": 0.5}]},
        "busy": {"engine": "fake", "answers": [{"first_delay_s": 0.04}]},
    }
    services: dict[str, object] = {name: {"model": name} for name in models}
    services["busy"] = {"model": "busy", "queue": {"concurrency": 2, "length": 60, "wait_s": 20}}
    services["narrow"] = {"model": "slow", "queue": {"concurrency": 1, "length": 2, "wait_s": 20}}
    with running(
        deployment(server={"workers": WORKERS, "access_log": "off"}, models=models, services=services)
    ) as penstock:
        yield penstock
        assert "Traceback" not in penstock.said()


@pytest.fixture
def admin(server: Penstock) -> Admin:
    return Admin(server)


@pytest.fixture
def wire(server: Penstock) -> Iterator[Wire]:
    made = Wire(server)
    yield made
    made.close()


def project(admin: Admin, name: str) -> str:
    """A new project; the key of it."""
    admin.post("/projects", {"id": name})
    return admin.key(name)


def comes_back(answer: Answer, at: float) -> float:
    """When a refusal says that there is room, told at ``at``; its two ways of saying it agree."""
    exact_s = float(answer.headers["retry-after-ms"]) / 1000
    assert int(answer.headers["retry-after"]) == math.ceil(exact_s)
    assert f"Try again in {answer.headers['retry-after']} s" in answer.json["error"]["message"]
    assert answer.headers["x-should-retry"] == "true"
    return at + exact_s


def test_requests_a_minute_over_all_workers_and_when_to_come_again(server: Penstock, admin: Admin) -> None:
    key = project(admin, "minute")
    limit = admin.limit("project", "minute", "requests", 10)
    wires = list(to_each_worker(server, WORKERS).values())
    began = time.time()
    first = wires[0].chat(key)
    first_by = time.time()
    assert [first.headers[f"x-ratelimit-{what}-requests"] for what in ("limit", "remaining")] == ["10", "9"]
    assert first.headers["x-ratelimit-reset-requests"] in ("61s", "62s")
    with ThreadPoolExecutor(20) as pool:
        crowd = [pool.submit(Wire(server).chat, key) for _ in range(30)]
        told = [each.result() for each in crowd]
    assert Counter(each.status for each in told) == {200: 9, 429: 21}, "ten in all, whoever asks where"
    assert sorted(int(each.headers["x-ratelimit-remaining-requests"]) for each in told if each.status == 200) == [
        *range(9)
    ]
    for wire in wires:
        answer = wire.chat(key)
        at = time.time()
        assert (answer.status, answer.code, answer.json["error"]["type"]) == (
            429,
            "rate_limit_exceeded",
            "rate_limit_error",
        )
        message = answer.json["error"]["message"]
        assert message.startswith(
            f"The limit of 10 requests per minute of project 'minute' ({limit}) is reached: 0 left"
        )
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        # The first one leaves the window so long after it came, and with it the step that it fell into.
        assert began + WINDOWS["minute"] <= comes_back(answer, at) <= first_by + WINDOWS["minute"] + 2 * STEP_S
    # What was refused was not counted: raised by one, one more is let in.
    admin.patch(f"/limits/{limit}", {"amount": 11})
    assert [wires[0].chat(key).status for _ in range(2)] == [200, 429]


def test_tokens_a_minute_wait_for_as_many_as_are_wanted(admin: Admin, wire: Wire) -> None:
    key = project(admin, "tokens")
    limit = admin.limit("project", "tokens", "tokens", 1000)
    came: list[tuple[float, float, int]] = []
    while True:
        began = time.time()
        answer = wire.chat(key, model="long", max_tokens=100)
        if answer.status != 200:
            break
        came.append((began, time.time(), answer.json["usage"]["total_tokens"]))
        used = sum(tokens for _, _, tokens in came)
        assert int(answer.headers["x-ratelimit-remaining-tokens"]) <= 1000 - used + 101
    at = time.time()
    assert answer.code == "rate_limit_exceeded"
    found = re.search(rf"\({limit}\) is reached: (\d+) left, (\d+) wanted", answer.json["error"]["message"])
    assert found is not None
    left, wanted = map(int, found.groups())
    assert left == 1000 - used, "what was reserved and not used was given back"
    assert 100 < wanted <= 1000
    # Room comes back as the oldest leave, until there is enough of it.
    freed = [left + each for each in accumulate(tokens for _, _, tokens in came)]
    begins, ended, _ = came[bisect.bisect_left(freed, wanted)]
    print(
        f"\n{len(came)} requests, {left} of 1000 tokens left, {wanted} wanted: back after {answer.headers['retry-after']} s"
    )
    assert begins + WINDOWS["minute"] <= comes_back(answer, at) <= ended + WINDOWS["minute"] + 2 * STEP_S
    # Whoever asks for less is let in now.
    assert wire.chat(key, max_tokens=1).status in (200, 429)
    # What can never fit has no time at which it would.
    answer = wire.chat(key, max_tokens=2000)
    assert (answer.status, answer.code) == (429, "rate_limit_exceeded")
    assert "never allows" in answer.json["error"]["message"]
    assert "retry-after" not in answer.headers
    assert answer.headers["x-should-retry"] == "false"


def test_input_and_output_are_counted_apart(admin: Admin, wire: Wire) -> None:
    key = project(admin, "apart")
    admin.limit("project", "apart", "output_tokens", 150)
    admin.limit("project", "apart", "input_tokens", 10_000)
    assert wire.chat(key, model="long", max_tokens=100).status == 200
    answer = wire.chat(key, model="long", max_tokens=100)
    assert "150 output tokens per minute" in answer.json["error"]["message"]
    assert wire.chat(key, model="long", max_tokens=50).status == 200
    # The tightest of them is in the headers.
    assert wire.chat(key).headers["x-ratelimit-limit-tokens"] == "150"


def test_requests_at_once(server: Penstock, admin: Admin) -> None:
    key = project(admin, "once")
    admin.limit("project", "once", "concurrent", 2)
    with ThreadPoolExecutor(6) as pool:
        told = [each.result() for each in [pool.submit(Wire(server).chat, key, model="slow") for _ in range(6)]]
    assert Counter(each.status for each in told) == {200: 2, 429: 4}
    refused = next(each for each in told if each.status == 429)
    assert "2 requests at once" in refused.json["error"]["message"]
    assert refused.headers["retry-after"] == "1"
    # Both have given their places back.
    assert [Wire(server).chat(key).status for _ in range(5)] == [200] * 5
    # So does a stream that its client leaves.
    for _ in range(3):
        left = Wire(server)
        left.send("POST", "/v1/chat/completions", {"model": "slow", "messages": [{"role": "user", "content": "x"}], "stream": True}, key)  # fmt: skip
        left.close()
    wait_until(lambda: Wire(server).chat(key).status == 200, 5)


def test_requests_a_day_and_the_tightest_of_several_is_named(admin: Admin, wire: Wire) -> None:
    key = project(admin, "several")
    day = admin.limit("project", "several", "requests", 2, per="day")
    admin.limit("project", "several", "requests", 100)
    others = [admin.limit("key", "*", "requests", 50), admin.limit("global", "*", "requests", 100_000)]
    began = time.time()
    first = wire.chat(key)
    by = time.time()
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert wire.chat(key).status == 200
    answer = wire.chat(key)
    at = time.time()
    assert f"2 requests per day of project 'several' ({day})" in answer.json["error"]["message"]
    assert began + 86400 <= comes_back(answer, at) <= by + 86400 + 2 * 86400 / 600
    for limit in others:
        assert admin.ask("DELETE", f"/limits/{limit}").status == 200


def test_a_budget_refuses_for_good_and_says_what_is_left(admin: Admin, wire: Wire) -> None:
    key = project(admin, "spending")
    admin.budget("project", "spending", "1", period="month", warn_percent=[10])
    answer = wire.chat(key)
    assert (answer.status, answer.code) == (403, "model_without_price")
    admin.price("quick", "1000", "2000")
    spent, warned = Decimal(0), 0
    while (answer := wire.chat(key)).status == 200:
        usage = answer.json["usage"]
        cost = Decimal(usage["prompt_tokens"] * 1000 + usage["completion_tokens"] * 2000) / 1_000_000
        assert Decimal(answer.headers["x-penstock-cost"]) == cost
        spent += cost
        warned += "x-penstock-budget-warning" in answer.headers
    assert (answer.status, answer.code, answer.json["error"]["type"]) == (
        429,
        "budget_exceeded",
        "insufficient_quota",
    )
    assert f"has ${1 - spent} left" in answer.json["error"]["message"]
    assert "$1.00 a month of project 'spending'" in answer.json["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    assert warned > 10
    (budget,) = admin.get("/budgets?subject=spending")["data"]
    assert Decimal(budget["spent"]) == spent


def test_what_a_request_cost_is_the_same_wherever_it_is_said(admin: Admin, wire: Wire) -> None:
    key = project(admin, "costs")
    admin.price("long", "10", "30.5")
    plain = wire.chat(key, model="long", max_tokens=20)
    asked = {"model": "long", "max_tokens": 20, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    streamed = wire.post("/v1/chat/completions", asked | {"stream_options": {"include_usage": True}}, key)
    events = [json.loads(each[6:]) for each in streamed.body.decode().split("\n\n") if each.startswith("data: {")]
    (usage,) = [each["usage"] for each in events if each.get("usage")]
    assert "x-penstock-cost" not in streamed.headers
    quiet = wire.post("/v1/chat/completions", asked, key)
    assert b"cost" not in quiet.body
    cost = (
        Decimal(usage["prompt_tokens"]) * 10 / 10**6 + Decimal(usage["completion_tokens"]) * Decimal("30.5") / 10**6
    )
    assert Decimal(str(usage["cost"])) == cost
    assert Decimal(plain.headers["x-penstock-cost"]) == cost
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (plain.json["usage"]["prompt_tokens"], 20)
    for answer in (plain, streamed, quiet):
        said = wire.get(f"/v1/usage/{answer.headers['x-request-id']}", key).json
        assert Decimal(said["cost"]) == cost
        assert said["tokens"]["output"] == 20
        assert not said["estimated"]
    (total,) = admin.get("/usage?by=project&project=costs")["data"]
    assert Decimal(total["cost"]) == 3 * cost


def test_the_sdk_of_openai_knows_what_happened(server: Penstock, admin: Admin) -> None:
    key = project(admin, "sdk")
    admin.limit("project", "sdk", "requests", 1)
    client = openai.OpenAI(base_url=server.base_url, api_key=key, max_retries=0)
    asked = {"model": "quick", "messages": [{"role": "user", "content": "Hello"}]}
    client.chat.completions.create(**asked)  # type: ignore[call-overload]
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(**asked)  # type: ignore[call-overload]
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "rate_limit_error")
    assert int(caught.value.response.headers["retry-after"]) in (60, 61, 62)
    assert "1 requests per minute of project 'sdk'" in caught.value.message
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=server.base_url, api_key="pk-none-x", max_retries=0).models.list()
    # What can never be is not tried again: the error is there at once, though retries are allowed.
    spent = project(admin, "sdk-spent")
    admin.price("quick", "1000", "2000")
    admin.budget("project", "sdk-spent", "0.001")
    began = time.monotonic()
    with pytest.raises(openai.RateLimitError) as caught:
        openai.OpenAI(base_url=server.base_url, api_key=spent, max_retries=5).chat.completions.create(**asked)  # type: ignore[call-overload]
    assert caught.value.code == "budget_exceeded"
    assert time.monotonic() - began < 0.4


def test_a_key_claims_no_more_priority_than_it_has(server: Penstock, admin: Admin) -> None:
    admin.post("/projects", {"id": "ranked", "priority": "high"})
    low, high = admin.key("ranked", priority="low"), admin.key("ranked")

    def ask(key: str, priority: str) -> Answer:
        asked = {"model": "narrow", "messages": [{"role": "user", "content": "Hello"}]}
        return Wire(server).post("/v1/chat/completions", asked, key, x_penstock_priority=priority)

    def queued() -> int:
        return int(Wire(server, server.key).get("/admin/live").json["queued"])

    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(ask, high, "high")
        # Its place, and its attempt.
        wait_until(lambda: Wire(server, server.key).get("/admin/live").json["leases"] == 2, 5)
        waiting = [pool.submit(ask, low, "high") for _ in range(2)]
        wait_until(lambda: queued() == 2, 5)
        urgent = [pool.submit(ask, high, "high") for _ in range(2)]
        assert {each.result().status for each in (first, *urgent)} == {200}
        assert [each.result().code for each in waiting] == ["shed", "shed"]
    assert ask(low, "high").status == 200


def test_two_projects_at_ten_to_one_get_the_same(server: Penstock, admin: Admin) -> None:
    keys = {name: project(admin, name) for name in ("greedy", "modest")}
    until = time.monotonic() + 3.0
    served: Counter[str] = Counter()

    def ask(name: str) -> None:
        wire = Wire(server)
        while time.monotonic() < until:
            answer = wire.chat(keys[name], model="busy")
            assert answer.status == 200, answer
            # Those that wait at the end have nobody beside them.
            served[name] += time.monotonic() < until

    with ThreadPoolExecutor(33) as pool:
        for each in [pool.submit(ask, name) for name in ["greedy"] * 30 + ["modest"] * 3]:
            each.result()
    share = served["modest"] / served.total()
    print(f"\n30 clients against 3, two at once: {dict(served)}, the modest project's share {share:.2f}")
    assert 0.4 < share < 0.6
