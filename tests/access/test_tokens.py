"""Only a token that an issuer signed, for us, for now, is taken; whatever else it says."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.access.config import Issuer
from penstock.access.keyring import UnknownKid
from penstock.access.tokens import MOST_BYTES, Tokens
from penstock.core.accounts import SigningKeys
from penstock.core.errors import IDENTITIES_STALE, INVALID_TOKEN, KEY_EXPIRED, Fault, PenstockError
from tests.access.people import Hand, directory
from tests.identity_provider import (
    AUDIENCE,
    IdentityProvider,
    Signer,
    b64,
    compact,
    ec_signer,
    ed_signer,
    identity_provider,
    jwks,
    rsa_signer,
)

EVERY = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with identity_provider(rsa_signer("first")) as found:
        yield found


def issuer(provider: IdentityProvider, **fields: object) -> Issuer:
    return Issuer(issuer=provider.issuer, audience=AUDIENCE, **fields)  # type: ignore[arg-type]


def tokens(provider: IdentityProvider, *signers: Signer, hand: Hand | None = None, **fields: object) -> Tokens:
    """Of a gateway that holds the keys of ``signers``, else those that the provider signs with."""
    document = jwks(*(signers or provider.signers))
    keys = {provider.issuer: SigningKeys(provider.issuer, document, time.time())}
    return Tokens([issuer(provider, **fields)], keys, directory(), hand or time.time)


def refused(checked: Tokens, token: str, said: str | None = None) -> Fault:
    with pytest.raises(PenstockError, match=said) as caught:
        checked.verify(token)
    assert len(token) < 20 or token not in caught.value.message
    return caught.value.fault


@pytest.mark.parametrize(
    "signer",
    [*(rsa_signer("k", name) for name in EVERY[:4]), ec_signer("k"), ec_signer("k", "ES384"), ed_signer("k")],
    ids=EVERY,
)
def test_every_algorithm_is_taken_where_it_is_configured_and_only_there(
    provider: IdentityProvider, signer: Signer
) -> None:
    token = compact({"alg": signer.algorithm, "kid": "k"}, provider.claims(), signer)
    assert tokens(provider, signer, algorithms=[signer.algorithm]).verify(token).project == "red"
    others = [name for name in EVERY if name != signer.algorithm]
    assert refused(tokens(provider, signer, algorithms=others), token, "is not accepted") is INVALID_TOKEN


def test_a_good_token_is_whose_it_says(provider: IdentityProvider) -> None:
    found = tokens(provider).verify(provider.token())
    assert (found.user, found.key_id) == (f"{provider.issuer}#ann", f"jwt:{provider.issuer}#ann")
    assert (found.project, found.role, found.everywhere) == ("red", "developer", False)
    assert found.may("call")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"aud": "another"}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"aud": ["a", "b"]}, "another audience"),
        ({"aud": [AUDIENCE, 7]}, "another audience"),
        ({"aud": {"x": AUDIENCE}}, "another audience"),
        ({"aud": AUDIENCE.upper()}, "another audience"),
        ({"iss": "https://evil.example"}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"iss": ["x"]}, "issuer"),
        ({"exp": None}, "never expires"),
        ({"exp": "4000000000"}, "'exp' is no time"),
        ({"exp": True}, "'exp' is no time"),
        ({"exp": 10**400}, "'exp' is no time"),
        ({"nbf": time.time() + 3600}, "not valid yet"),
        ({"nbf": "soon"}, "'nbf' is no time"),
        ({"iat": time.time() + 3600}, "made in the future"),
    ],
)
def test_a_token_for_somebody_else_or_another_time_is_refused(
    provider: IdentityProvider, changes: dict[str, object], said: str
) -> None:
    assert refused(tokens(provider), provider.token(**changes), said) is INVALID_TOKEN


def test_an_issuer_is_taken_to_the_letter(provider: IdentityProvider) -> None:
    for name in (provider.issuer + "/", provider.issuer.upper(), provider.issuer + "\u0000"):
        assert refused(tokens(provider), provider.token(iss=name), "issuer") is INVALID_TOKEN


def test_one_of_several_audiences_is_enough(provider: IdentityProvider) -> None:
    assert tokens(provider).verify(provider.token(aud=["billing", AUDIENCE]))


def test_one_issuer_may_sign_for_two_audiences(provider: IdentityProvider) -> None:
    both = [issuer(provider), Issuer(issuer=provider.issuer, audience="robots", default_role="viewer")]
    checked = Tokens(both, {provider.issuer: provider.keys(time.time())}, directory(), time.time)
    assert checked.verify(provider.token(aud="robots", role=None)).role == "viewer"
    assert refused(checked, provider.token(role=None), "names no role") is INVALID_TOKEN


def test_expiry_is_exact_with_the_leeway_and_in_the_cache_too(provider: IdentityProvider) -> None:
    end = int(time.time()) + 100
    hand = Hand(end + 29.999)
    checked = tokens(provider, hand=hand)
    token = provider.token(exp=end)
    assert checked.verify(token) is checked.verify(token)
    hand.at = end + 30
    assert refused(checked, token, "has expired") is KEY_EXPIRED
    hand.at = end - 200
    early = provider.token(exp=end, iat=None, nbf=end - 170)
    assert checked.verify(early)
    hand.at = end - 200.001
    assert refused(tokens(provider, hand=hand), early, "not valid yet") is INVALID_TOKEN


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "", "HS256", "rs256", None, ["RS256"], 256])
def test_no_other_algorithm_is_taken_whatever_it_is_called(provider: IdentityProvider, alg: object) -> None:
    token = provider.token(header={"alg": alg})
    unsigned = token[: token.rindex(".") + 1]
    for each in (token, unsigned):
        assert refused(tokens(provider), each, "is not accepted") is INVALID_TOKEN
    with pytest.raises(PenstockError):
        tokens(provider, algorithms=EVERY).verify(provider.token(header={"alg": "RS256"})[:-4] + "AAAA")


def test_a_secret_signature_by_the_public_key_is_refused(provider: IdentityProvider) -> None:
    signer = provider.signers[0]
    public = signer.private.public_key()
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(signer.jwk()).encode(),
        signer.jwk()["n"].encode(),
        b"",
    ]
    for secret in secrets:
        for alg in ("HS256", "RS256"):
            header = {"alg": alg, "kid": signer.kid}
            signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(provider.claims()).encode())}"
            forged = f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"
            assert refused(tokens(provider, algorithms=EVERY), forged) is INVALID_TOKEN


def test_a_key_verifies_only_by_algorithms_of_its_kind(provider: IdentityProvider) -> None:
    mine, other = ec_signer("k"), rsa_signer("k", "RS256")
    token = compact({"alg": "RS256", "kid": "k"}, provider.claims(), mine)
    assert refused(tokens(provider, mine, algorithms=EVERY), token, "signature") is INVALID_TOKEN
    as_pss = compact({"alg": "PS256", "kid": "k"}, provider.claims(), Signer("k", other.private, "PS256"))
    assert refused(tokens(provider, other, algorithms=EVERY), as_pss, "signature") is INVALID_TOKEN


def test_a_key_in_the_token_itself_counts_for_nothing(provider: IdentityProvider) -> None:
    mine = ec_signer("mine")
    places = {"jwk": mine.jwk(), "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x", "x5c": ["x"]}
    header = {"alg": "ES256", "kid": provider.signers[0].kid, **places}
    assert refused(tokens(provider), compact(header, provider.claims(), mine), "signature") is INVALID_TOKEN
    with pytest.raises(UnknownKid):
        tokens(provider).verify(compact({**header, "kid": "mine"}, provider.claims(), mine))
    assert tokens(provider).verify(provider.token(header=places))


def test_an_unknown_kid_says_so_and_a_fetched_key_cures_it(provider: IdentityProvider) -> None:
    fresh = ec_signer("fresh")
    token = compact({"alg": "ES256", "kid": "fresh"}, provider.claims(), fresh)
    with pytest.raises(UnknownKid) as caught:
        tokens(provider).verify(token)
    assert (caught.value.issuer, caught.value.kid, caught.value.fault) == (provider.issuer, "fresh", INVALID_TOKEN)
    assert tokens(provider, provider.signers[0], fresh).verify(token)


def test_a_rotated_away_key_no_longer_signs(provider: IdentityProvider) -> None:
    with pytest.raises(UnknownKid):
        tokens(provider, ec_signer("fresh")).verify(provider.token())


def test_without_a_kid_there_must_be_one_key(provider: IdentityProvider) -> None:
    token = compact({"alg": "RS256"}, provider.claims(), provider.signers[0])
    assert tokens(provider).verify(token)
    two = tokens(provider, provider.signers[0], ec_signer("more"))
    assert refused(two, token, "'kid'") is INVALID_TOKEN
    for kid in ("", 7, ["first"], "a\ud800"):
        assert refused(two, provider.token(header={"kid": kid}), "'kid'") is INVALID_TOKEN


@pytest.mark.parametrize(
    "header", [{"crit": ["exp"]}, {"crit": []}, {"typ": "logout+jwt"}, {"typ": 5}, {"typ": "JWE"}]
)
def test_a_header_that_wants_more_than_a_jwt_is_refused(
    provider: IdentityProvider, header: dict[str, object]
) -> None:
    assert refused(tokens(provider), provider.token(header=header), "header asks") is INVALID_TOKEN


def test_an_access_token_by_its_type_is_taken(provider: IdentityProvider) -> None:
    assert tokens(provider).verify(provider.token(header={"typ": "at+JWT"}))


def test_a_name_twice_is_refused(provider: IdentityProvider) -> None:
    signer = provider.signers[0]
    header, claims = {"alg": "RS256", "kid": signer.kid}, json.dumps(provider.claims())
    twice = claims[:-1].encode() + b', "role": "owner"}'
    nested = claims[:-1].encode() + b', "app": {"a": 1, "a": 2}}'
    for body in (twice, nested):
        assert refused(tokens(provider), compact(header, body, signer), "each name once") is INVALID_TOKEN
    both = b'{"alg": "none", "alg": "RS256", "kid": "first"}'
    assert refused(tokens(provider), compact(both, provider.claims(), signer), "each name once") is INVALID_TOKEN


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b'{"exp": NaN}',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b"[" * 5000,
        b"9" * 5000,
    ],
)
def test_what_is_no_json_object_is_refused(provider: IdentityProvider, body: bytes) -> None:
    signer = provider.signers[0]
    header = {"alg": "RS256", "kid": signer.kid}
    assert refused(tokens(provider), compact(header, body, signer)) is INVALID_TOKEN
    assert refused(tokens(provider), compact(body, provider.claims(), signer)) is INVALID_TOKEN


@pytest.mark.parametrize("depth", [900, 2500])
def test_deep_claims_break_nothing(provider: IdentityProvider, depth: int) -> None:
    signer = provider.signers[0]
    deep = b'{"iss": ' + b"[" * depth + b"]" * depth + b"}"
    assert refused(tokens(provider), compact({"alg": "RS256"}, deep, signer)) is INVALID_TOKEN


@pytest.mark.parametrize(
    "token", ["", ".", "..", "eyJ..", "a.b", "eyJ.é.x", "eyJ.\ud800.", "eyJ.+/.x", "eyJ .e30.e30", "e30.e30.e30"]
)
def test_what_is_no_token_is_refused(provider: IdentityProvider, token: str) -> None:
    assert refused(tokens(provider), token) is INVALID_TOKEN


def test_a_huge_token_is_refused_unread(provider: IdentityProvider) -> None:
    checked = tokens(provider)
    large = provider.token(filling="x" * 11_000)
    assert len(large) < MOST_BYTES
    assert checked.verify(large)
    began = time.perf_counter()
    assert refused(checked, provider.token(filling="x" * (1 << 20)), "longer than 16 KiB") is INVALID_TOKEN
    assert refused(checked, "eyJ" + "." * (1 << 20), "longer than 16 KiB") is INVALID_TOKEN
    assert time.perf_counter() - began < 1


def test_a_second_spelling_of_the_same_bytes_is_refused(provider: IdentityProvider) -> None:
    token = provider.token()
    assert refused(tokens(provider), token + "=", "not base64url") is INVALID_TOKEN
    last = token[-1]
    for twin in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
        if twin != last:
            assert refused(tokens(provider), token[:-1] + twin) is INVALID_TOKEN


def test_keys_are_trusted_until_they_are_stale_then_nothing_is(provider: IdentityProvider) -> None:
    hand = Hand(time.time())
    keys = {provider.issuer: provider.keys(hand.at)}
    checked = Tokens([issuer(provider, stale_after_s=600.0)], keys, directory(), hand)
    token = provider.token()
    checked.verify(token)
    hand.at += 599.9
    checked.verify(token)
    hand.at += 0.1
    assert refused(checked, token, "too old") is IDENTITIES_STALE
    never = Tokens([issuer(provider)], {provider.issuer: SigningKeys(provider.issuer)}, directory(), hand)
    for without in (never, Tokens([issuer(provider)], {}, directory(), hand)):
        assert refused(without, token, "could not be fetched|too old") is IDENTITIES_STALE


def test_the_cache_is_bounded(provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.access.tokens._MOST_SEEN", 3)
    checked = tokens(provider)
    many = [provider.token(jti=str(n)) for n in range(5)]
    first = [checked.verify(token) for token in many]
    assert [checked.verify(token) is known for token, known in zip(many, first, strict=True)].count(True) <= 3
    assert checked.verify(many[-1]).project == "red"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_token_that_was_touched_is_never_taken(provider: IdentityProvider, data: st.DataObject) -> None:
    checked = tokens(provider, algorithms=EVERY)
    good = provider.token(exp=4_000_000_000, iat=1)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ é"
    at = data.draw(st.integers(0, len(good) - 1))
    kind = data.draw(st.sampled_from(["replace", "insert", "delete", "cut", "swap", "double"]))
    touched = {
        "replace": lambda: good[:at] + data.draw(st.sampled_from(alphabet)) + good[at + 1 :],
        "insert": lambda: good[:at] + data.draw(st.text(alphabet, min_size=1, max_size=8)) + good[at:],
        "delete": lambda: good[:at] + good[at + data.draw(st.integers(1, 8)) :],
        "cut": lambda: good[:at],
        "swap": lambda: ".".join(data.draw(st.permutations(good.split(".")))),
        "double": lambda: good + "." + good[at:],
    }[kind]()
    if touched == good:
        assert checked.verify(touched)
    else:
        assert refused(checked, touched) in (INVALID_TOKEN, KEY_EXPIRED)
