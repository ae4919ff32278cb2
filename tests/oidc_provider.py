"""An identity provider that signs people in: discovery, the authorization endpoint, the token endpoint with PKCE and
client authentication, signed ID tokens; and that can be made to fail in the ways that real ones do."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from penstock.core.accounts import SigningKeys
from tests.identity_provider import Signer, compact, jwks, rsa_signer

CLIENT = "penstock-console"
SECRET = "s3cret/with:signs"


class CodeProvider:
    """One issuer. ``claims`` change those of its tokens (None takes one away), ``refusal`` is what the token endpoint
    says in place of a token, ``denial`` what the authorization endpoint sends back in place of a code. ``forms`` are
    what the token endpoint was sent."""

    def __init__(self, signer: Signer | None = None) -> None:
        self.signer = signer or rsa_signer("first")
        self.claims: dict[str, object] = {}
        self.refusal = ""
        self.denial = ""
        self.methods: list[str] | None = None
        self.forms: list[dict[str, str]] = []
        self.discovery: dict[str, str] = {}
        self._codes: dict[str, dict[str, str]] = {}
        provider = self

        class Request(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._get(self)

            def do_POST(self) -> None:
                provider._post(self)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Request)
        self._server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=10)

    def keys(self, at: float) -> SigningKeys:
        return SigningKeys(self.issuer, jwks(self.signer), at)

    def _get(self, request: BaseHTTPRequestHandler) -> None:
        url = urlsplit(request.path)
        if url.path == "/.well-known/openid-configuration":
            said: dict[str, object] = {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/jwks",
                "authorization_endpoint": f"{self.issuer}/authorize?tenant=a",
                "token_endpoint": f"{self.issuer}/token",
                **self.discovery,
            }
            if self.methods is not None:
                said["token_endpoint_auth_methods_supported"] = self.methods
            _reply(request, 200, said)
        elif url.path == "/jwks":
            _reply(request, 200, json.loads(jwks(self.signer)))
        elif url.path == "/authorize":
            self._authorize(request, dict(parse_qsl(url.query)))
        else:
            _reply(request, 404, {})

    def _authorize(self, request: BaseHTTPRequestHandler, asked: dict[str, str]) -> None:
        """RFC 6749, 4.1.1; somebody who is signed in here already is sent straight back."""
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        assert asked["tenant"] == "a"
        back = {"state": asked["state"], "iss": self.issuer}
        if self.denial:
            back |= {"error": self.denial, "error_description": "The person said no."}
        else:
            code = secrets.token_urlsafe(16)
            self._codes[code] = asked
            back["code"] = code
        request.send_response(302)
        request.send_header("location", f"{asked['redirect_uri']}?{urlencode(back)}")
        request.send_header("content-length", "0")
        request.end_headers()

    def _post(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers["content-length"])
        form = dict(parse_qsl(request.rfile.read(length).decode()))
        self.forms.append(form)
        if self.refusal:
            _reply(request, 400, {"error": self.refusal, "error_description": "No\x00 such luck."})
            return
        if _presented(request, form) != (CLIENT, SECRET):
            _reply(request, 401, {"error": "invalid_client"})
            return
        # A code is good once.
        asked = self._codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if (
            asked is None
            or form["grant_type"] != "authorization_code"
            or asked["redirect_uri"] != form["redirect_uri"]
            or asked["code_challenge"] != challenge.decode()
        ):
            _reply(request, 400, {"error": "invalid_grant"})
            return
        _reply(request, 200, {"access_token": "a", "token_type": "Bearer", "id_token": self._token(asked["nonce"])})

    def _token(self, nonce: str) -> str:
        now = int(time.time())
        said: dict[str, object] = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "ann",
            "name": "Ann Example",
            "iat": now,
            "exp": now + 300,
            "nonce": nonce,
            "project": "red",
            "role": "viewer",
        }
        said = {name: value for name, value in (said | self.claims).items() if value is not None}
        return compact({"alg": self.signer.algorithm, "kid": self.signer.kid, "typ": "JWT"}, said, self.signer)


def _presented(request: BaseHTTPRequestHandler, form: dict[str, str]) -> tuple[str, str]:
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    if kind == "Basic":
        name, _, secret = base64.b64decode(value).decode().partition(":")
        return unquote(name), unquote(secret)
    return form.get("client_id", ""), form.get("client_secret", "")


def _reply(request: BaseHTTPRequestHandler, status: int, said: object) -> None:
    body = json.dumps(said).encode()
    request.send_response(status)
    request.send_header("content-type", "application/json")
    request.send_header("content-length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


@contextmanager
def code_provider() -> Iterator[CodeProvider]:
    provider = CodeProvider()
    try:
        yield provider
    finally:
        provider.stop()
