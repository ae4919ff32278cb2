"""An identity provider that speaks HTTP (OpenID discovery, JWKS) and signs real tokens, and can be made to fail."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from penstock.core.accounts import SigningKeys

AUDIENCE = "penstock"
Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Mode = Literal["up", "error", "hang", "redirect", "huge", "garbage"]

# To make an RSA key takes long; the tests of one process share these.
_RSA = [rsa.generate_private_key(65537, 2048) for _ in range(2)]


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Signer:
    """A key pair with a name and an algorithm. The signatures are made without the library that checks them."""

    def __init__(self, kid: str, private: Private, algorithm: str) -> None:
        self.kid = kid
        self.private = private
        self.algorithm = algorithm

    def sign(self, signed: bytes) -> bytes:
        private = self.private
        if isinstance(private, rsa.RSAPrivateKey):
            digest = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[self.algorithm[2:]]
            if self.algorithm.startswith("PS"):
                return private.sign(signed, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
            return private.sign(signed, padding.PKCS1v15(), digest)
        if isinstance(private, ec.EllipticCurvePrivateKey):
            size = (private.curve.key_size + 7) // 8
            digest = hashes.SHA384() if self.algorithm == "ES384" else hashes.SHA256()
            r, s = decode_dss_signature(private.sign(signed, ec.ECDSA(digest)))
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        return private.sign(signed)

    def jwk(self) -> dict[str, str]:
        named = {"kid": self.kid, "use": "sig", "alg": self.algorithm}
        public = self.private.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            numbers = public.public_numbers()
            n, e = (b64(each.to_bytes((each.bit_length() + 7) // 8, "big")) for each in (numbers.n, numbers.e))
            return {"kty": "RSA", "n": n, "e": e, **named}
        if isinstance(public, ec.EllipticCurvePublicKey):
            point, size = public.public_numbers(), (public.curve.key_size + 7) // 8
            curve = {256: "P-256", 384: "P-384"}[public.curve.key_size]
            x, y = (b64(each.to_bytes(size, "big")) for each in (point.x, point.y))
            return {"kty": "EC", "crv": curve, "x": x, "y": y, **named}
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"kty": "OKP", "crv": "Ed25519", "x": b64(raw), **named}


def rsa_signer(kid: str, algorithm: str = "RS256", number: int = 0) -> Signer:
    return Signer(kid, _RSA[number], algorithm)


def ec_signer(kid: str, algorithm: str = "ES256") -> Signer:
    curve = ec.SECP384R1() if algorithm == "ES384" else ec.SECP256R1()
    return Signer(kid, ec.generate_private_key(curve), algorithm)


def ed_signer(kid: str) -> Signer:
    return Signer(kid, ed25519.Ed25519PrivateKey.generate(), "EdDSA")


def compact(header: Mapping[str, object] | bytes, claims: Mapping[str, object] | bytes, signer: Signer) -> str:
    """A signed token with exactly this header and these claims, whatever they say."""
    parts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in (header, claims)]
    signed = ".".join(map(b64, parts)).encode()
    return f"{signed.decode()}.{b64(signer.sign(signed))}"


def jwks(*signers: Signer) -> bytes:
    return json.dumps({"keys": [signer.jwk() for signer in signers]}).encode()


class IdentityProvider:
    """One issuer. ``mode`` is how it answers, ``max_age`` what it says of its keys' age, ``asked`` the paths that
    were asked for. ``start`` and ``stop`` open and close its port, which stays the same."""

    def __init__(self, *signers: Signer) -> None:
        self.signers = list(signers) or [rsa_signer("first")]
        self.mode: Mode = "up"
        self.max_age: int | None = None
        self.asked: list[str] = []
        self.discovery: dict[str, str] = {}
        self.port = 0
        self._released = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.start()

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        provider = self

        class Request(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                provider._answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._released.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Request)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._released.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(timeout=10)
        self._server = self._thread = None

    def rotate(self, signer: Signer, *, keep: bool = False) -> None:
        """Signs with this one from now on; the ones before are listed on only if they are kept."""
        self.signers = [signer, *(self.signers if keep else ())]

    def keys(self, at: float) -> SigningKeys:
        """What a gateway holds that fetched them at that time."""
        return SigningKeys(self.issuer, jwks(*self.signers), at)

    def claims(self, **changes: object) -> dict[str, object]:
        """Those of a good token of an hour; a change to None takes a claim away."""
        now = int(time.time())
        said = {"iss": self.issuer, "aud": AUDIENCE, "sub": "ann", "iat": now, "exp": now + 3600}
        said |= {"project": "red", "role": "developer"} | changes
        return {name: value for name, value in said.items() if value is not None}

    def token(self, *, header: Mapping[str, object] | None = None, **changes: object) -> str:
        signer = self.signers[0]
        named = {"alg": signer.algorithm, "kid": signer.kid, "typ": "JWT", **(header or {})}
        return compact(named, self.claims(**changes), signer)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        if self.mode == "hang":
            self._released.wait(timeout=30)
            return
        status, body = 200, b""
        if self.mode == "error":
            status = 500
        elif self.mode == "redirect":
            status = 302
        elif self.mode == "huge":
            body = b'{"keys": [' + b" " * (4 << 20) + b"]}"
        elif self.mode == "garbage":
            body = b"<html>sign in</html>"
        elif request.path == "/.well-known/openid-configuration":
            said = {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks", **self.discovery}
            body = json.dumps(said).encode()
        elif request.path == "/jwks":
            body = jwks(*self.signers)
        else:
            status = 404
        request.send_response(status)
        if status == 302:
            request.send_header("location", f"{self.issuer}/elsewhere")
        if self.max_age is not None:
            request.send_header("cache-control", f"public, max-age={self.max_age}")
        request.send_header("content-length", str(len(body)))
        request.end_headers()
        try:
            request.wfile.write(body)
        except OSError:
            request.close_connection = True


@contextmanager
def identity_provider(*signers: Signer) -> Iterator[IdentityProvider]:
    provider = IdentityProvider(*signers)
    try:
        yield provider
    finally:
        provider.stop()
