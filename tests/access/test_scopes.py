"""What a key may be used for."""

from __future__ import annotations

import pytest

from penstock.access.scopes import check_endpoint, check_network, check_scopes, check_tools
from penstock.core.accounts import Scopes
from penstock.core.errors import ENDPOINT_FORBIDDEN, INVALID_VALUE, NETWORK_FORBIDDEN, TOOL_FORBIDDEN, PenstockError
from penstock.core.identity import Principal

FREE = Principal(key_id="app", project="red", role="developer")


def bound(**scopes: object) -> Principal:
    return Principal(key_id="app", project="red", role="developer", **scopes)  # type: ignore[arg-type]


def test_without_a_bound_everything_goes() -> None:
    check_endpoint(FREE, "/v1/anything")
    check_network(FREE, "not an address")
    check_tools(FREE, ("any",))


def test_an_endpoint_is_one_of_those_named() -> None:
    principal = bound(endpoints=frozenset({"/v1/embeddings"}))
    check_endpoint(principal, "/v1/embeddings")
    for path in ("/v1/embeddings/", "/v1/chat/completions", ""):
        with pytest.raises(PenstockError, match="it may use /v1/embeddings") as caught:
            check_endpoint(principal, path)
        assert caught.value.fault is ENDPOINT_FORBIDDEN


def test_a_tool_is_one_of_those_named_and_none_may_be_named() -> None:
    principal = bound(tools=frozenset({"search", "add"}))
    check_tools(principal, ())
    check_tools(principal, ("add", "search"))
    with pytest.raises(PenstockError, match=r"the tool 'rm'.*add, search") as caught:
        check_tools(principal, ("add", "rm"))
    assert caught.value.fault is TOOL_FORBIDDEN
    with pytest.raises(PenstockError):
        check_tools(bound(tools=frozenset()), ("add",))


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("192.168.7.1", True),
        ("192.168.7.2", False),
        ("2001:db8::5", True),
        ("2001:db9::5", False),
        ("11.0.0.1", False),
        ("::a01:203", False),
        ("", False),
        ("/run/penstock.sock", False),
        ("010.1.2.3", False),
    ],
)
def test_an_address_is_in_one_of_the_networks(address: str, inside: bool) -> None:
    principal = bound(networks=("10.0.0.0/8", "192.168.7.1", "2001:db8::/32", "nonsense"))
    if inside:
        check_network(principal, address)
        return
    with pytest.raises(PenstockError) as caught:
        check_network(principal, address)
    assert caught.value.fault is NETWORK_FORBIDDEN


def test_no_network_at_all_is_nowhere() -> None:
    with pytest.raises(PenstockError):
        check_network(bound(networks=()), "10.1.2.3")


@pytest.mark.parametrize(
    ("scopes", "param"),
    [
        (Scopes(networks=("10.0.0.0/8", "10.0.0.1/8")), "scopes.networks[1]"),
        (Scopes(networks=("here",)), "scopes.networks[0]"),
        (Scopes(endpoints=("v1/models",)), "scopes.endpoints[0]"),
        (Scopes(services=("",)), "scopes.services[0]"),
        (Scopes(tools=("x" * 513,)), "scopes.tools[0]"),
    ],
)
def test_scopes_that_could_never_hold_are_refused_by_name(scopes: Scopes, param: str) -> None:
    with pytest.raises(PenstockError) as caught:
        check_scopes(scopes)
    assert (caught.value.fault, caught.value.param) == (INVALID_VALUE, param)


def test_good_scopes_pass() -> None:
    check_scopes(Scopes(services=("chat",), endpoints=("/v1/models",), networks=("::1", "10.0.0.0/8"), tools=()))
