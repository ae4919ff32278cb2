"""Numbers that people and accounts go by. Pure; see ``masking``."""

from __future__ import annotations

import re

_CARD_RUN = re.compile(r"(?<![0-9A-Za-z.])[0-9](?:[ -]?[0-9]){12,}+(?![0-9A-Za-z])")
_GROUP = re.compile(r"[0-9]+")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

_IBAN = re.compile(
    r"(?<![A-Za-z0-9])(?:[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]){11,30}|[A-Za-z]{2}[0-9]{2}[A-Za-z0-9]{11,30})"
)
_SHORTEST_IBAN = 15

_SSN = re.compile(r"(?<![0-9A-Za-z.-])(?!000|666|9)[0-9]{3}([- ])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}(?![0-9A-Za-z-])")
_NINO = re.compile(
    r"(?<![0-9A-Za-z])[ABCEGHJ-PRSTW-Z][ABCEGHJ-NPRSTW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D](?![0-9A-Za-z])"
)
_DNI = re.compile(r"(?<![0-9A-Za-z.-])([0-9]{8})[ -]?([A-Za-z])(?![0-9A-Za-z])")
_DNI_LETTERS = "TRWAGMYFPDXBNJZSQVHLCKE"

_PHONE = re.compile(
    # As E.123 has it, and with 00 in place of the plus.
    r"(?<![\w+])\+[1-9](?:[ .()/-]{0,2}[0-9]){6,14}(?![0-9])"
    r"|(?<![\w.])00[1-9](?:[ .()/-]{0,2}[0-9]){8,13}(?![0-9])"
    # North America.
    r"|(?<![\w.+-])(?:1[-. ])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[-. ])[0-9]{3}[-. ][0-9]{4}(?![\w-])"
    # In pairs, as in France; and with a code for the town or the network that begins with a zero.
    r"|(?<![\w.+/:-])0[1-9](?:[ .-][0-9]{2}){4}(?![\w-])"
    r"|(?<![\w.+/:-])\(?0[1-9][0-9]{1,4}\)?[ /-][0-9]{3,9}(?:[ -][0-9]{2,9}){0,3}(?![\w]|-[0-9])"
)


# Every telephone number lies in one of these: to look only there takes a tenth of the time.
_RUN = re.compile(r"[+(]?[0-9](?:[ .()/-]{0,2}[0-9]){5,}+")
_AFTER = 2


def luhn(digits: str) -> bool:
    """Whether the last digit is what ISO/IEC 7812-1 has the others make it."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        total += _DOUBLED[int(digit)] if place % 2 else int(digit)
    return total % 10 == 0


def cards(text: str) -> str:
    """Without numbers of payment cards, whole or in groups."""
    return _CARD_RUN.sub(lambda found: _without_cards(found[0]), text)


def ibans(text: str) -> str:
    """Without international numbers of bank accounts."""
    return _IBAN.sub(lambda found: _without_iban(found[0], text[found.end() : found.end() + 1]), text)


def ids(text: str) -> str:
    """Without the numbers that states give people."""
    text = _NINO.sub("[ID]", _SSN.sub("[SSN]", text))
    return _DNI.sub(lambda found: "[ID]" if _is_dni(found) else found[0], text)


def phones(text: str) -> str:
    """Without telephone numbers."""
    out: list[str] = []
    kept = 0
    for run in _RUN.finditer(text):
        at, end = run.start(), run.end() + _AFTER
        while (found := _PHONE.search(text, at, end)) is not None:
            out += (text[kept : found.start()], "[PHONE]")
            kept = at = found.end()
    return "".join(out) + text[kept:] if out else text


def _without_cards(run: str) -> str:
    groups = [found.span() for found in _GROUP.finditer(run)]
    out: list[str] = []
    kept = place = 0
    while place < len(groups):
        begin = groups[place][0]
        end = _card_end(run, groups, place) if run[begin] in "23456" else None
        if end is None:
            place += 1
            continue
        out += (run[kept:begin], "[CARD]")
        kept = end
        while place < len(groups) and groups[place][0] < end:
            place += 1
    return "".join(out) + run[kept:]


def _card_end(run: str, groups: list[tuple[int, int]], place: int) -> int | None:
    """Where the longest card ends that begins with the group at this place."""
    digits, found = "", None
    for begin, end in groups[place : place + 19]:
        digits += run[begin:end]
        if len(digits) > 19:
            break
        if len(digits) >= 13 and luhn(digits):
            found = end
    return found


def _without_iban(run: str, after: str) -> str:
    for end in range(len(run), _SHORTEST_IBAN - 1, -1):
        follows = run[end : end + 1] or after
        if follows.isalnum() or not run[end - 1].isalnum():
            continue
        compact = run[:end].replace(" ", "").replace("-", "").upper()
        if len(compact) >= _SHORTEST_IBAN and _mod_97(compact):
            return "[IBAN]" + run[end:]
    return run


def _mod_97(compact: str) -> bool:
    return int("".join(str(int(each, 36)) for each in compact[4:] + compact[:4])) % 97 == 1


def _is_dni(found: re.Match[str]) -> bool:
    return _DNI_LETTERS[int(found[1]) % 23] == found[2].upper()
