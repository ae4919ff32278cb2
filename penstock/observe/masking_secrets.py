"""Secrets and addresses in text. Pure; see ``masking``."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

# By the forms that issuers give their keys: Penstock; OpenAI, Anthropic and those who imitate them; AWS; Google;
# GitHub; GitLab; Hugging Face; Groq; Replicate; npm; PyPI; Slack; Stripe; SendGrid; DigitalOcean; xAI; Perplexity.
_KEYS = (
    r"pk-[a-z0-9._-]{1,64}?-[A-Za-z0-9_-]{24,}+",
    r"sk-[A-Za-z0-9_-]{17,}+",
    r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
    r"AIza[A-Za-z0-9_-]{30,}+",
    r"ya29\.[A-Za-z0-9_-]{20,}+",
    r"gh[pousr]_[A-Za-z0-9]{20,}+",
    r"github_pat_[A-Za-z0-9_]{20,}+",
    r"glpat-[A-Za-z0-9_-]{20,}+",
    r"hf_[A-Za-z0-9]{20,}+",
    r"gsk_[A-Za-z0-9]{20,}+",
    r"r8_[A-Za-z0-9]{20,}+",
    r"npm_[A-Za-z0-9]{20,}+",
    r"pypi-[A-Za-z0-9_-]{20,}+",
    r"xox[abeoprs]-[A-Za-z0-9-]{16,}+",
    r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}+",
    r"whsec_[A-Za-z0-9]{16,}+",
    r"SG\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+",
    r"dop_v1_[a-f0-9]{32,}+",
    r"xai-[A-Za-z0-9]{20,}+",
    r"pplx-[A-Za-z0-9]{20,}+",
)
_SIGNS = (
    "pk-", "sk-", "sk_", "rk_", "AKIA", "ASIA", "AIza", "ya29.", "ghp_", "gho_", "ghu_", "ghs_", "ghr_",
    "github_pat_", "glpat-", "hf_", "gsk_", "r8_", "npm_", "pypi-", "xox", "whsec_", "SG.", "dop_v1_", "xai-",
    "pplx-", "eyJ",
)  # fmt: skip
_BEARERS = ("earer ", "EARER ")
_SIGNS_BYTES = tuple(sign.encode() for sign in (*_SIGNS, *_BEARERS))
_SECRET = re.compile(
    rf"(?P<key>(?<![A-Za-z0-9])(?:{'|'.join(_KEYS)}))"
    r"|(?P<token>(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]*+)*)"
    r"|(?P<bearer>(?<![A-Za-z0-9])(?i:bearer) ++(?!\[)[A-Za-z0-9._~+/=-]{16,}+)"
)
_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?"
    r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
_LOGIN = re.compile(r"(?<=://)[^\s/@:\[\]]*+:[^\s/@\[\]]++(?=@)")

# A part before the @ is looked at once however long it is; the last label of a domain has a letter.
_LOCAL = r"\w.!#$%&'*+/=?^`{|}~-"
_EMAIL = re.compile(rf"(?<![{_LOCAL}])[{_LOCAL}]++@(?:[\w-]++\.)+(?=[\w-]*[^\W\d_])[\w-]{{2,}}+")

_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})"
_IPV4 = re.compile(rf"(?<![\w.])(?:{_BYTE}\.){{3}}{_BYTE}(?![\w]|\.[0-9])")
_IPV6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{2,39}(?:\.[0-9.]{5,13})?(?![\w:])")


def signed(data: bytes) -> bool:
    """Whether there is anything in it by which keys and tokens begin."""
    return any(sign in data for sign in _SIGNS_BYTES)


def secrets(text: str) -> str:
    """Without keys, tokens and private keys."""
    if "PRIVATE KEY" in text:
        text = _PEM.sub("[PRIVATE KEY]", text)
    out: list[str] = []
    kept = 0
    # To look only where one begins takes a tenth of the time.
    for at in sorted({*_places(text, _SIGNS, 0), *_places(text, _BEARERS, 1)}):
        if at >= kept and (found := _SECRET.match(text, at)) is not None:
            out += (text[kept:at], _named(found))
            kept = found.end()
    return "".join(out) + text[kept:] if out else text


def logins(text: str) -> str:
    """Without the user and password of an address (``https://user:password@host``)."""
    return _LOGIN.sub("[SECRET]", text) if "://" in text else text


def emails(text: str) -> str:
    """Without e-mail addresses."""
    return _EMAIL.sub("[EMAIL]", text)


def networks(text: str) -> str:
    """Without the addresses of machines, but for those that are every machine's own."""
    text = _IPV4.sub(_ipv4, text)
    return _IPV6.sub(_ipv6, text) if ":" in text else text


def _places(text: str, signs: tuple[str, ...], before: int) -> Iterator[int]:
    for sign in signs:
        at = text.find(sign)
        while at >= 0:
            if at >= before:
                yield at - before
            at = text.find(sign, at + 1)


def _named(found: re.Match[str]) -> str:
    match found.lastgroup:
        case "key":
            return "[KEY]"
        case "token":
            return "[TOKEN]"
    return f"{found[0].partition(' ')[0]} [TOKEN]"


def _ipv4(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith(("127.", "0.0.0.0")) else "[IP]"


def _ipv6(found: re.Match[str]) -> str:
    try:
        address = ipaddress.IPv6Address(found[0])
    except ValueError:
        return found[0]
    # Of names with two colons between them (``a::b``) an address is told by a digit.
    plain = address.is_loopback or address.is_unspecified or not any(map(str.isdigit, found[0]))
    return found[0] if plain else "[IP]"
