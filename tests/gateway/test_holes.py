"""What a client, or an upstream that is not to be trusted, might write so that less is counted, or more allowed."""

from __future__ import annotations

import json

import msgspec
import pytest

from penstock.access.bounds import Bound
from penstock.core.accounts import Budget
from penstock.core.chat import Kind
from penstock.core.errors import NO_PRICE, TOOL_FORBIDDEN, PenstockError
from penstock.core.identity import Principal
from penstock.core.money import Price, Rates
from penstock.core.policy import Terms
from penstock.core.serving import Service
from penstock.core.trail import Trail
from penstock.gateway.assign import assign
from penstock.gateway.dispatch import watched
from penstock.gateway.snapshot import Admission
from penstock.gateway.tries import Charge, Try
from penstock.gateway.watch import watchers
from tests.gateway.doubles import USAGE, ScriptedEngine, call, piece, snapshot
from tests.gateway.leasing import House, NotedEngine, Turned, asked, budget, limit, price

GOOD = [[piece("ok", "stop")], [USAGE]]
PRICE = Price(model="m", rates=Rates(input=1_000, output=1_000))


@pytest.mark.parametrize("most", [None, 7])
@pytest.mark.parametrize("prices", [[price()], [price(max_output=500)]])
async def test_no_other_word_of_the_client_lifts_the_bound_that_is_counted_on(
    prices: list[Price], most: int | None
) -> None:
    house = House(limit("output_tokens", 10_000), prices=prices, engines={"main": NotedEngine(GOOD)}, cap=100)
    asking = asked(max_tokens=most)
    asking = msgspec.structs.replace(asking, fields={**asking.fields, "n_predict": msgspec.Raw(b"-1")})
    reply = await house.door.chat(asking, house.admission)
    assert "n_predict" not in house.engines["main"].started[0][0].fields
    await reply.aclose()


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "web_search", "function": {"name": "add"}}]},
        {"tools": [{"type": "function", "function": {"name": "add"}, "custom": {"name": "rm"}}]},
        {"tools": [{"type": "function", "function": {"name": "rm"}, "custom": {"name": "add"}}]},
        {"tools": [{"type": "mcp", "server_url": "https://example.com"}]},
        {"functions": [{"name": "add"}, {"name": "rm"}]},
        {"web_search_options": {}},
        {"plugins": [{"id": "web"}]},
        {"mcp_servers": [{"url": "https://example.com"}]},
    ],
)
def test_a_tool_has_no_other_name_by_which_it_is_let_through(fields: dict[str, object]) -> None:
    service = Service("chat", ("main",))
    principal = Principal(
        key_id="k", project="red", role="developer", permissions=frozenset({"call"}), tools=frozenset({"add"})
    )
    admission = Admission(snapshot([service], {"main": ScriptedEngine()}), principal)
    good = {"tools": [{"type": "function", "function": {"name": "add"}}], "web_search_options": None}
    for each, allowed in ((good, True), (fields, False)):
        raw = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in each.items()}
        asking = msgspec.structs.replace(call(), fields=raw)
        if allowed:
            assert assign(asking, admission, Terms(), Trail(), Turned()) is not None
        else:
            with pytest.raises(PenstockError) as caught:
                assign(asking, admission, Terms(), Trail(), Turned())
            assert caught.value.fault is TOOL_FORBIDDEN


def told(usage: object, kind: Kind = Kind.CHAT) -> Charge:
    """What a whole answer with this usage is charged."""
    one = Try(1, "m", PRICE, Bound(100, 50), stream=False, choices=1, slots=1, began=0.0)
    answer = {
        "id": "x",
        "model": "m",
        "choices": [{"index": 0, "message": {"content": "word " * 10}}],
        "usage": usage,
    }
    asking = call(stream=False, kind=kind)
    watched([json.dumps(answer).encode()], watchers(asking, Service("chat", ("m",)), one, lambda: 0, None))
    found = one.charge(True, 1.0)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": -7, "completion_tokens": -3},
        {"completion_tokens": 5},
        {"prompt_tokens": 7},
    ],
)
def test_usage_that_says_nothing_is_none_and_the_bound_holds(usage: object) -> None:
    found = told(usage)
    assert found.estimated
    assert found.tokens.input == 100
    assert found.tokens.output == 50
    assert found.cost_nano == 150


def test_usage_that_is_told_again_and_is_less_is_not_believed() -> None:
    one = Try(1, "m", PRICE, Bound(100, 50), stream=True, choices=1, slots=1, began=0.0)
    less = USAGE.replace(
        b'"prompt_tokens":7,"completion_tokens":3,"total_tokens":10', b'"prompt_tokens":1,"completion_tokens":0'
    )
    assert less != USAGE
    watched([piece("a", "stop"), USAGE, less], watchers(call(), Service("chat", ("m",)), one, lambda: 0, None))
    found = one.charge(True, 1.0)
    assert found is not None
    assert (found.tokens.input, found.tokens.output) == (7, 3)


@pytest.mark.parametrize(
    ("field", "value", "dearer"),
    [
        ("service_tier", b'"priority"', True),
        ("service_tier", b'"\\u0070riority"', True),
        ("speed", b'"fast"', True),
        ("service_tier", b'"flex"', False),
        ("service_tier", b"null", False),
    ],
)
async def test_service_that_is_dearer_than_the_price_says_is_not_had_from_a_budget(
    field: str, value: bytes, dearer: bool
) -> None:
    asking = asked(max_tokens=5)
    asking = msgspec.structs.replace(asking, fields={**asking.fields, field: msgspec.Raw(value)})
    for rule in (budget(), limit("tokens", 10_000)):
        house = House(rule, prices=[price()], engines={"main": NotedEngine(GOOD)})
        if dearer and isinstance(rule, Budget):
            with pytest.raises(PenstockError) as caught:
                await house.door.chat(asking, house.admission)
            assert caught.value.fault is NO_PRICE
            assert field in caught.value.message
        else:
            await (await house.door.chat(asking, house.admission)).aclose()


def test_embeddings_have_no_output_to_tell() -> None:
    found = told({"prompt_tokens": 7, "total_tokens": 7}, Kind.EMBEDDING)
    assert (found.estimated, found.tokens.input, found.tokens.output) == (False, 7, 0)
    assert not told({"prompt_tokens": 7}, Kind.EMBEDDING).estimated


def test_an_absurd_number_can_be_written_down() -> None:
    found = told({"prompt_tokens": 10**30, "completion_tokens": 10**30})
    assert msgspec.msgpack.encode(found.cost_nano)
    assert found.tokens.input == found.tokens.output == 2**31 - 1
