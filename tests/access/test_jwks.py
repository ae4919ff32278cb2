"""Only public keys that can verify a signature safely are taken of a JWKS."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from penstock.access.jwks import read_jwks
from tests.identity_provider import Signer, ec_signer, ed_signer, rsa_signer

GOOD = rsa_signer("good")


def of(*members: object) -> list[str]:
    return [key.kid for key in read_jwks(json.dumps({"keys": members}).encode())]


def test_every_good_key_is_read_and_bound_to_its_algorithms() -> None:
    signers = (GOOD, ec_signer("p256"), ec_signer("p384", "ES384"), ed_signer("ed"))
    keys = read_jwks(json.dumps({"keys": [signer.jwk() for signer in signers]}).encode())
    assert [tuple(key.algorithms) for key in keys] == [("RS256",), ("ES256",), ("ES384",), ("EdDSA",)]
    for key, signer in zip(keys, signers, strict=True):
        assert key.verifies(signer.algorithm, b"said", signer.sign(b"said"))
        assert not key.verifies(signer.algorithm, b"said otherwise", signer.sign(b"said"))
        assert not key.verifies("HS256", b"said", signer.sign(b"said"))
        assert not key.verifies(signer.algorithm, b"said", b"")


def test_without_an_algorithm_of_its_own_a_key_verifies_by_those_of_its_kind() -> None:
    jwk = {name: value for name, value in GOOD.jwk().items() if name != "alg"}
    (key,) = read_jwks(json.dumps({"keys": [jwk]}).encode())
    assert set(key.algorithms) == {"RS256", "RS384", "RS512", "PS256"}


@pytest.mark.parametrize(
    "changed",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"alg": "RSA-OAEP"},
        {"alg": "HS256"},
        {"alg": "ES256"},
        {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
        {"kty": "EC"},
        {"kty": "new"},
        {"kty": 7},
        {"n": ""},
        {"n": "!"},
        {"e": "AQ"},
        {"kid": 7},
    ],
    ids=str,
)
def test_others_are_passed_over(changed: dict[str, object]) -> None:
    assert of({**GOOD.jwk(), **changed}, ec_signer("next").jwk()) == ["next"]


def test_a_point_off_its_curve_and_a_curve_that_is_not_accepted_are_passed_over() -> None:
    jwk = ec_signer("k").jwk()
    assert of({**jwk, "y": jwk["x"]}, {**jwk, "crv": "P-521"}, {**jwk, "crv": "secp256k1"}) == []
    assert of({**ed_signer("k").jwk(), "crv": "X25519"}, {**ed_signer("k").jwk(), "x": "AAAA"}) == []


def test_a_short_key_is_passed_over() -> None:
    short = Signer("short", rsa.generate_private_key(65537, 1024), "RS256")
    assert of(short.jwk(), GOOD.jwk()) == ["good"]


def test_of_a_private_key_only_the_public_part_is_read() -> None:
    private = {**GOOD.jwk(), "d": "AQAB", "p": "AQAB"}
    assert of(private) == ["good"]


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys": {}}', b"<html>", b'{"keys": [', b"\xff"])
def test_what_is_no_jwks_is_said(document: bytes) -> None:
    with pytest.raises(ValueError, match="no JWKS document"):
        read_jwks(document)


def test_members_that_are_no_objects_are_passed_over() -> None:
    assert of(7, None, "x", [], {}, GOOD.jwk()) == ["good"]
    assert read_jwks(b'{"keys": ["\xff", {"kty": "\xff"}], "more": 1}') == ()
