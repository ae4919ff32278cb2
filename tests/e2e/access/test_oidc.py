"""Tokens of an identity provider over HTTP: what is taken, what is not, and what happens while it is away."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from penstock.store.database import sqlite_url
from tests.e2e.access.house import Admin, Wire, deployment, rows_of, to_each_worker
from tests.e2e.running import Penstock, running, wait_until
from tests.identity_provider import AUDIENCE, IdentityProvider, b64, compact, ec_signer, identity_provider, rsa_signer

WORKERS = 2
LEEWAY_S = 1


class Place(NamedTuple):
    """``wires`` go to each of the workers."""

    server: Penstock
    admin: Admin
    provider: IdentityProvider
    wires: list[Wire]

    def statuses(self, token: str) -> set[int]:
        return {wire.chat(token).status for wire in self.wires}


def issuer(provider: IdentityProvider, **fields: object) -> dict[str, object]:
    """One entry of `access: oidc:`."""
    named = {
        "projects": {"team-red": "red", "red": "red", "blue": "blue"},
        "roles": {"ml-user": "developer", "developer": "developer"},
        "leeway_s": LEEWAY_S,
    }
    return {"issuer": provider.issuer, "audience": AUDIENCE} | named | fields


def config(provider: IdentityProvider, **fields: object) -> str:
    server = {"workers": WORKERS, "access_log": "off"}
    return deployment(server=server, access={"oidc": [issuer(provider, **fields)]})


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with identity_provider(rsa_signer("first")) as provider, running(config(provider)) as server:
        admin = Admin(server)
        admin.post("/projects", {"id": "red"})
        admin.post("/projects", {"id": "blue"})
        wires = list(to_each_worker(server, WORKERS).values())
        yield Place(server, admin, provider, wires)
        assert "Traceback" not in server.said()


def test_a_right_token_works_and_is_charged_to_its_project(place: Place) -> None:
    told = {}
    for wire in place.wires:
        for project, name in (("team-red", "red"), ("blue", "blue")):
            answer = wire.chat(place.provider.token(project=project, role="ml-user"))
            assert answer.status == 200, answer
            told[answer.headers["x-request-id"]] = name
        assert wire.get("/v1/models", place.provider.token(project="team-red", role="ml-user")).status == 200

    def charged() -> bool:
        place.admin.get("/usage")
        rows = {row.request_id: row for row in rows_of(sqlite_url(place.server.home / "state.db"))}
        if not told.keys() <= rows.keys():
            return False
        assert {id: rows[id].project for id in told} == told
        assert {rows[id].user for id in told} == {f"{place.provider.issuer}#ann"}
        return True

    wait_until(charged, 10, place.server.said)
    # Who calls with a token sees its own, and nobody else's.
    (red, *_), (blue, *_) = ([id for id, name in told.items() if name == which] for which in ("red", "blue"))
    token = place.provider.token(project="team-red", role="ml-user")
    assert place.wires[0].get(f"/v1/usage/{red}", token).json["entries"][0]["project"] == "red"
    assert place.wires[0].get(f"/v1/usage/{blue}", token).status == 404
    assert place.wires[0].get("/admin/v1/keys", token).code == "permission_denied"


def hs256_by_the_public_key(provider: IdentityProvider, encoding: Encoding, form: PublicFormat) -> str:
    """What a verifier accepts that takes the public key for the secret of an HMAC."""
    secret = provider.signers[0].private.public_key().public_bytes(encoding, form)
    header = {"alg": "HS256", "kid": provider.signers[0].kid, "typ": "JWT"}
    signed = ".".join(b64(json.dumps(part).encode()) for part in (header, provider.claims()))
    return f"{signed}.{b64(hmac.digest(secret, signed.encode(), 'sha256'))}"


def unsigned(provider: IdentityProvider, algorithm: str, signature: str = "") -> str:
    header = {"alg": algorithm, "typ": "JWT", "kid": provider.signers[0].kid}
    parts = [b64(json.dumps(part).encode()) for part in (header, provider.claims())]
    return ".".join([*parts, signature])


def embedded(provider: IdentityProvider, **header: object) -> str:
    """Signed by a key of the forger's, which the header brings along."""
    forger = ec_signer(provider.signers[0].kid)
    named = {"alg": "ES256", "kid": forger.kid, "typ": "JWT", "jwk": forger.jwk()} | header
    return compact(named, provider.claims(), forger)


def forged(provider: IdentityProvider) -> dict[str, tuple[str, str]]:
    """What is wrong with a token: the token, and the code of its refusal."""
    now = int(time.time())
    good = provider.token()
    head, _, signature = good.split(".")
    other = b64(json.dumps(provider.claims(project="blue")).encode())
    pem, der = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    invalid = "invalid_token"
    return {
        "another audience": (provider.token(aud="another"), invalid),
        "no audience": (provider.token(aud=None), invalid),
        "another issuer": (provider.token(iss="https://another.example"), invalid),
        "an issuer almost right": (provider.token(iss=provider.issuer + "/"), invalid),
        "no issuer": (provider.token(iss=None), invalid),
        "expired": (provider.token(exp=now - LEEWAY_S - 1, iat=now - 60), "key_expired"),
        "never expires": (provider.token(exp=None), invalid),
        "not yet valid": (provider.token(nbf=now + 60), invalid),
        "made in the future": (provider.token(iat=now + 60), invalid),
        "alg none": (unsigned(provider, "none"), invalid),
        "alg None": (unsigned(provider, "None"), invalid),
        "alg none with a signature": (unsigned(provider, "none", signature), invalid),
        "no signature": (unsigned(provider, "RS256"), invalid),
        "HS256 by the public key in PEM": (hs256_by_the_public_key(provider, *pem), invalid),
        "HS256 by the public key in DER": (hs256_by_the_public_key(provider, *der), invalid),
        "another's signature": (compact({"alg": "RS256", "kid": "first"}, provider.claims(), rsa_signer("first", number=1)), invalid),
        "its own key in the header": (embedded(provider), invalid),
        "a key at an address in the header": (embedded(provider, jku=provider.issuer + "/jwks"), invalid),
        "other claims under the same signature": (f"{head}.{other}.{signature}", invalid),
        "unknown project": (provider.token(project="green"), invalid),
        "no project": (provider.token(project=None), invalid),
        "unknown role": (provider.token(role="root"), invalid),
        "cut off": (good[:-20], invalid),
        "three parts of nothing": ("..", "invalid_api_key"),
        "no token at all": ("eyJ.eyJ.x", invalid),
    }  # fmt: skip


def test_nothing_else_is_taken(place: Place) -> None:
    assert place.statuses(place.provider.token()) == {200}
    for what, (token, code) in forged(place.provider).items():
        for wire in place.wires:
            for path in ("/v1/models", f"/v1/usage/{sha256(token.encode()).hexdigest()[:16]}", "/admin/v1/keys"):
                answer = wire.get(path, token)
                assert (answer.status, answer.code) == (401, code), (what, path, answer)
            answer = wire.chat(token)
            assert (answer.status, answer.code) == (401, code), (what, answer)
            # A token that was refused is not repeated, and says what is wrong.
            assert token not in answer.body.decode() or len(token) < 10
    assert place.statuses(place.provider.token()) == {200}
    assert not any(token in place.server.said() for token, _ in forged(place.provider).values() if len(token) > 10)


def test_a_token_by_a_new_key_works_at_once_and_an_unknown_one_is_no_way_to_flood_the_provider() -> None:
    with identity_provider(rsa_signer("first")) as provider, running(config(provider)) as server:
        admin = Admin(server)
        admin.post("/projects", {"id": "red"})
        wires = list(to_each_worker(server, WORKERS).values())
        place = Place(server, admin, provider, wires)
        assert place.statuses(provider.token()) == {200}
        before = provider.token()
        provider.rotate(ec_signer("second"))
        began = time.monotonic()
        with ThreadPoolExecutor(WORKERS) as pool:
            first = list(pool.map(lambda wire: wire.chat(provider.token()).status, wires))
        took = time.monotonic() - began
        assert first == [200] * WORKERS, "the new key is known at the first request"
        print(f"\na token by a key that was not known yet: 200 at the first request of each worker, in {took:.3f} s")
        assert took < 2
        # What the provider lists no more signs nothing, though the token was right a moment ago.
        assert place.statuses(before) == {401}

        asked = len(provider.asked)
        unknown = compact({"alg": "RS256", "kid": "nobody's"}, provider.claims(), rsa_signer("nobody's"))
        answers = [wire.chat(unknown) for _ in range(50) for wire in wires]
        assert {(each.status, each.code) for each in answers} == {(401, "invalid_token")}
        print(f"{len(answers)} tokens by an unknown key: {len(provider.asked) - asked} questions to the provider")
        assert len(provider.asked) - asked <= 4


def test_while_the_provider_is_away_it_goes_on_with_what_it_has() -> None:
    with identity_provider(rsa_signer("first")) as provider:
        provider.stop()
        with running(config(provider)) as server:
            admin = Admin(server)
            admin.post("/projects", {"id": "red"})
            wires = list(to_each_worker(server, WORKERS).values())
            place = Place(server, admin, provider, wires)
            # It has never had any keys: keys of its own work, tokens do not, and that is not the client's fault.
            answer = wires[0].chat(provider.token())
            assert (answer.status, answer.code) == (503, "identities_stale")
            assert int(answer.headers["retry-after"]) > 0
            assert place.statuses(server.key) == {200}
            provider.start()
            began = time.monotonic()
            wait_until(lambda: place.statuses(provider.token()) == {200}, 10, server.said)
            print(f"\ntokens are taken {time.monotonic() - began:.2f} s after the provider has come up")

            old = provider.token()
            assert place.statuses(old) == {200}
            provider.stop()
            assert place.statuses(old) == {200}
            assert place.statuses(provider.token(sub="bob")) == {200}
            unknown = compact({"alg": "RS256", "kid": "new"}, provider.claims(), rsa_signer("new", number=1))
            began = time.monotonic()
            assert place.statuses(unknown) == {401}
            assert time.monotonic() - began < 2
            assert place.statuses(provider.token(sub="cy")) == {200}


@pytest.mark.slow
def test_how_long_keys_are_trusted_counts_from_when_the_provider_last_answered() -> None:
    stale_after_s = 1.5
    with (
        identity_provider(rsa_signer("first")) as provider,
        running(config(provider, stale_after_s=stale_after_s)) as server,
    ):
        admin = Admin(server)
        admin.post("/projects", {"id": "red"})
        wires = list(to_each_worker(server, WORKERS).values())
        place = Place(server, admin, provider, wires)
        token = provider.token()
        until = time.monotonic() + 2 * stale_after_s
        while time.monotonic() < until:
            assert place.statuses(token) == {200}, "stale, though the provider answers"
        provider.stop()
        went = time.monotonic()
        wait_until(lambda: place.statuses(token) == {503}, stale_after_s + 2, server.said)
        stale = time.monotonic() - went
        assert {wire.chat(token).code for wire in wires} == {"identities_stale"}
        assert place.statuses(server.key) == {200}
        provider.start()
        came = time.monotonic()
        wait_until(lambda: place.statuses(token) == {200}, 10, server.said)
        print(
            f"\nprovider away, keys trusted for {stale_after_s:g} s: 503 after {stale:.2f} s, "
            f"200 again {time.monotonic() - came:.2f} s after it was back"
        )
