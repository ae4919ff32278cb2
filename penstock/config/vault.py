"""Secrets of a HashiCorp Vault, OpenBao or what speaks like them, for ``${vault:...}``.

The wire is that of the KV engine, version 1 and 2: https://developer.hashicorp.com/vault/api-docs/secret/kv. The
variables are those of its own command line, and ``VAULT_TOKEN_FILE`` for what an agent keeps fresh.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

import msgspec

from penstock.config.environment import Unresolved
from penstock.config.mistakes import quotable
from penstock.config.secret_text import secret_file

_MOST_BYTES = 1 << 20


class _Answer(msgspec.Struct, frozen=True):
    data: dict[str, object] | None = None


def secret(path: str, env: Mapping[str, str], within_s: float) -> Mapping[str, object]:
    """The fields at ``path``, as its API has it: ``secret/data/app`` for version 2, ``kv/app`` for version 1.

    Raises ``Unresolved``, also when that takes longer than ``within_s`` seconds.
    """
    shown = f"{quotable(path)} in the Vault"
    headers = {"X-Vault-Token": _token(env), "X-Vault-Request": "true"}
    if namespace := env.get("VAULT_NAMESPACE"):
        headers["X-Vault-Namespace"] = namespace
    try:
        status, body = _asked(env, "/v1/" + quote(path.strip("/")), headers, time.monotonic() + within_s)
    except TimeoutError:
        raise Unresolved(f"{shown} did not come within {within_s:g} s; see to VAULT_ADDR and the network") from None
    except ssl.SSLError as error:
        reason = quotable(str(getattr(error, "verify_message", "") or error.reason or "TLS failed"))
        raise Unresolved(f"the Vault is not trusted ({reason}); name its authority in VAULT_CACERT") from None
    except (OSError, http.client.HTTPException) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise Unresolved(f"the Vault cannot be reached ({quotable(reason)}); see to VAULT_ADDR") from None
    if status != 200:
        raise Unresolved(_refused(status, shown))
    try:
        data = msgspec.json.decode(body, type=_Answer).data
    except (msgspec.DecodeError, UnicodeDecodeError):
        data = None
    if data is None:
        raise Unresolved(f"what VAULT_ADDR names does not answer as a Vault does for {shown}; see to both")
    inner = data.get("data")
    # Version 2 has the fields one level below, beside what it knows of them.
    if isinstance(inner, dict) and isinstance(data.get("metadata"), dict):
        return {str(name): value for name, value in inner.items()}
    return data


def _token(env: Mapping[str, str]) -> str:
    token = env.get("VAULT_TOKEN", "").strip()
    if not token and (path := env.get("VAULT_TOKEN_FILE")):
        token = secret_file(path).strip()
    if not token:
        raise Unresolved("no token for the Vault; set VAULT_TOKEN, or VAULT_TOKEN_FILE to a file that has it")
    if not (token.isascii() and token.isprintable()):
        raise Unresolved("the token for the Vault has characters that no token has; set VAULT_TOKEN again")
    return token


def _asked(env: Mapping[str, str], target: str, headers: Mapping[str, str], until: float) -> tuple[int, bytes]:
    connection = _connection(env, until)
    try:
        connection.request("GET", target, headers=dict(headers))
        answer = connection.getresponse()
        body = b""
        while len(body) <= _MOST_BYTES and (piece := answer.read1(_MOST_BYTES)):
            body += piece
            if connection.sock is not None:
                connection.sock.settimeout(_left(until))
        return answer.status, body
    finally:
        connection.close()


def _connection(env: Mapping[str, str], until: float) -> http.client.HTTPConnection:
    try:
        address = urlsplit(env.get("VAULT_ADDR", ""))
        host, port = address.hostname, address.port
    except ValueError:
        host = port = None
    if not host or address.scheme not in ("http", "https") or address.username is not None:
        raise Unresolved("VAULT_ADDR is not set to an address such as https://vault.example:8200; set it")
    if address.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=_left(until))
    try:
        trust = ssl.create_default_context(cafile=env.get("VAULT_CACERT") or None)
    except (OSError, ValueError):
        raise Unresolved("VAULT_CACERT does not name a file of certificates that can be read; mend it") from None
    return http.client.HTTPSConnection(host, port, timeout=_left(until), context=trust)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _refused(status: int, shown: str) -> str:
    match status:
        case 400:
            return f"{shown} is refused as no request that it knows; mend the path"
        case 403:
            return f"{shown} may not be read with its token; renew the token, or extend its policy"
        case 404:
            return f"{shown} is not there; write it, or mend the path: version 2 has `data/` after the mount"
        case 429 | 472 | 473 | 301 | 302 | 307 | 308:
            return f"the Vault at VAULT_ADDR stands by for another ({status}); name that one"
        case 503:
            return "the Vault is sealed, or being worked on (503); unseal it"
        case _:
            return f"the Vault answered {status} for {shown}; see its log"
