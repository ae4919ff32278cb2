"""Personal data and secrets in text, replaced by what they are: ``[EMAIL]``. Pure.

What is found: e-mail addresses; telephone numbers (international, and as North America and countries with a leading
zero write theirs); payment cards (13 to 19 digits, Luhn); IBANs (ISO 13616, mod 97); US Social Security, UK National
Insurance and Spanish DNI numbers; IPv4 and IPv6 addresses; keys and tokens by the forms that their issuers give them,
``Bearer`` tokens, JSON Web Tokens, private keys in PEM, and passwords in addresses. Names, postal addresses and dates
of birth have no form to be found by, and stay.

Whether there may be anything to find is asked first of C code that looks for bytes and runs of them: ordinary text
meets no regular expression.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from penstock.observe.masking_numbers import cards, ibans, ids, luhn, phones
from penstock.observe.masking_secrets import emails, logins, networks, secrets, signed

# Six digits, however they are grouped: no card, account, identity or telephone number has fewer.
_DIGITS = bytes.maketrans(b"0123456789", b"9" * 10)
_BETWEEN = b" -.()/\\"
_NUMBER = b"9" * 6
# Twenty characters of a token: no key has fewer.
_WORDS = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-", b"a" * 64)
_TOKEN = b"a" * 20
_HEXADECIMAL = b"0123456789abcdefABCDEF"

# A string of JSON, or a number by itself that is long enough for a card.
_PARTS = re.compile(rb'"(?:[^"\\]++|\\.)*+"|(?<![0-9.eE+-])[2-6][0-9]{12,18}(?![0-9.eE])', re.DOTALL)
# Escapes of characters that need none, behind which anything might hide.
_HIDDEN = re.compile(rb"\\u00[2-7]")
# Of JSON that a text holds, as the arguments of a tool call do.
_ESCAPE = re.compile(r"(\\[bfnrt]|\\u00[0-7][0-9A-Fa-f])")
_INLINE = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,[A-Za-z0-9+/=]+\Z")
# Bytes of texts that are looked at as one: in most there is nothing to find.
_TOGETHER = 8 << 10
_UNREADABLE = b'"[UNREADABLE]"'

_string = msgspec.json.Decoder(str)


class _Signs(msgspec.Struct, frozen=True):
    """Of what there may be something in a text."""

    at: bool
    number: bool
    secret: bool
    address: bool

    def __bool__(self) -> bool:
        return self.at or self.number or self.secret or self.address


def masked(data: bytes) -> bytes:
    """JSON without personal data; what is JSON stays JSON. Strings, the names of members among them, are masked each
    by itself; a number that is a card's becomes a string. Data in base64 (``data:`` addresses) are left as they are.
    A string that cannot be read is ``[UNREADABLE]``. Never raises."""
    if not _any_signs(data):
        return data
    return _PARTS.sub(_part, data)


def masked_all(texts: Sequence[bytes]) -> Sequence[bytes]:
    """Each as ``masked`` has it. Of short ones it takes less time than one by one, where there is nothing to find."""
    found: list[bytes] = []
    some: list[bytes] = []
    size = 0
    for text in texts:
        some.append(text)
        size += len(text)
        if size >= _TOGETHER:
            found += _masked_some(some)
            some, size = [], 0
    return found + _masked_some(some)


def masked_text(text: str) -> str:
    """Text without personal data. Masked once more it stays the same."""
    while (signs := _signs(text.encode(errors="replace"))) and (fresh := _once(text, signs)) != text:
        text = fresh
    return text


def _any_signs(data: bytes) -> bool:
    return bool(_signs(data)) or (b"\\" in data and b"\\u00" in data and _HIDDEN.search(data) is not None)


def _masked_some(texts: list[bytes]) -> list[bytes]:
    return list(map(masked, texts)) if _any_signs(b"\n".join(texts)) else texts


def _signs(data: bytes) -> _Signs | None:
    at = b"@" in data
    number = _NUMBER in data.translate(_DIGITS, _BETWEEN)
    # A byte by itself is looked for in no time, and V is a rare one.
    pem = b"V" in data and b"PRIVATE KEY" in data
    secret = pem or b"earer " in data or (_TOKEN in data.translate(_WORDS) and signed(data))
    marks = data.translate(None, _HEXADECIMAL)
    address = b"..." in marks or b"::" in marks
    return _Signs(at, number, secret, address) if at or number or secret or address else None


def _once(text: str, signs: _Signs) -> str:
    # What may go over lines first.
    if signs.secret:
        text = secrets(text)
    if signs.at:
        text = logins(text)
    if "\\" in text:
        # The letter of an escape is no letter of what stands behind it.
        parts = _ESCAPE.split(text)
        return "".join([_in_line(secrets(part) if signs.secret else part, signs) for part in parts])
    return _in_line(text, signs)


def _in_line(text: str, signs: _Signs) -> str:
    if signs.at:
        text = emails(text)
    if signs.number:
        text = phones(ids(cards(ibans(text))))
    if signs.address:
        text = networks(text)
    return text


def _part(found: re.Match[bytes]) -> bytes:
    part = found[0]
    if not part.startswith(b'"'):
        return b'"[CARD]"' if luhn(part.decode()) else part
    if not _any_signs(part):
        return part
    try:
        text = _string.decode(part)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _UNREADABLE
    if text.startswith("data:") and _INLINE.match(text):
        return part
    fresh = masked_text(text)
    return part if fresh == text else msgspec.json.encode(fresh)
