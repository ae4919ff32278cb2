"""What is masked, what is left alone, and what holds whatever is written."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.observe.masking import masked, masked_all, masked_text
from penstock.observe.masking_numbers import luhn

FOUND = [
    ("mail jane.doe+x@mail.example.co.uk now", "mail [EMAIL] now"),
    ("<jürgen@müller.example>", "<[EMAIL]>"),
    ("a" * 80 + "@example.com", "[EMAIL]"),
    ("call +49 171 2345678.", "call [PHONE]."),
    ("+1 (555) 123-4567", "[PHONE]"),
    ("(555) 123-4567 or 555-123-4567", "[PHONE] or [PHONE]"),
    ("0049 30 1234567", "[PHONE]"),
    ("06 12 34 56 78", "[PHONE]"),
    ("Tel. 030/1234567, 0171-2345678", "Tel. [PHONE], [PHONE]"),
    ("card 4111 1111 1111 1111 12/29", "card [CARD] 12/29"),
    ("card 4111111111111111", "card [CARD]"),
    ("4 of 3782-822463-10005", "4 of [CARD]"),
    ("IBAN DE89 3704 0044 0532 0130 00 OK", "IBAN [IBAN] OK"),
    ("GB29NWBK60161331926819", "[IBAN]"),
    ("de89370400440532013000", "[IBAN]"),
    ("MT84MALT011000012345MTLCAST001S", "[IBAN]"),
    ("my number is 123-45-6789.", "my number is [SSN]."),
    ("123 45 6789", "[SSN]"),
    ("NINO AB 12 34 56 C", "NINO [ID]"),
    ("DNI 12345678Z", "DNI [ID]"),
    ("from 10.1.2.3:80", "from [IP]:80"),
    ("2001:db8::8a2e:370:7334", "[IP]"),
    ("fe80:0:0:0:202:b3ff:fe1e:8329", "[IP]"),
    ("pk-ab12-" + "x1_" * 10, "[KEY]"),
    ("sk-proj-abcdefghijklmnop1234", "[KEY]"),
    ("sk-ant-api03-" + "Ab1-" * 20, "[KEY]"),
    ("AKIAIOSFODNN7EXAMPLE", "[KEY]"),
    ("ghp_" + "a1B2" * 9, "[KEY]"),
    ("github_pat_" + "a1B2" * 9, "[KEY]"),
    ("hf_" + "a1B2" * 8, "[KEY]"),
    ("xoxb-123456789012-abcdefghijkl", "[KEY]"),
    ("AIza" + "Sy1_" * 9, "[KEY]"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl", "[TOKEN]"),
    ("Authorization: Bearer abc.def/ghi+jklmnop", "Authorization: Bearer [TOKEN]"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nbye", "[PRIVATE KEY]\nbye"),
    ("-----BEGIN PRIVATE KEY-----\nMII", "[PRIVATE KEY]"),
    ("postgres://bob:hunter2@db.example/x", "postgres://[SECRET]@db.example/x"),
]

LEFT = [
    "The quick brown fox jumps over 3 lazy dogs in 2024.",
    "On 2024-11-21T17:03:59.123456Z it took 0.123456789 s, 10:20:30.",
    "lodash@4.17.21 and @decorator and user@localhost",
    "std::vector<int> a::b Foo::bar ::1 :: 127.0.0.1",
    "550e8400-e29b-41d4-a716-446655440000",
    "version 1.2.3, chapter 10.2",
    "task-management-for-everybody-who-works risk-free",
    "max_completion_tokens = 1000000; 1700000000123 ms",
    "3.14159265358979 2,000,000",
    "4111 1111 1111 1112",
    "000-12-3456",
    "[EMAIL] [PHONE] Bearer [TOKEN]",
]


@pytest.mark.parametrize(("text", "wanted"), FOUND)
def test_what_is_found(text: str, wanted: str) -> None:
    assert masked_text(text) == wanted
    assert json.loads(masked(json.dumps({"a": [text]}).encode())) == {"a": [wanted]}
    assert json.loads(masked(json.dumps({text: "x"}, ensure_ascii=False).encode())) == {wanted: "x"}


@pytest.mark.parametrize("text", LEFT)
def test_what_is_left_alone(text: str) -> None:
    assert masked_text(text) == text
    data = json.dumps({"a": text}).encode()
    assert masked(data) is data or masked(data) == data


def test_what_stands_behind_an_escape_is_found_and_the_escape_stays_whole() -> None:
    assert masked(rb'"\njane@example.com\t\"x\""') == rb'"\n[EMAIL]\t\"x\""'
    assert masked(rb'"jane\u0040example.com"') == b'"[EMAIL]"'
    assert masked(rb'{"t":"+49\/171\/2345678"}') == b'{"t":"[PHONE]"}'


@pytest.mark.parametrize("escape", ["\\n", "\\t", "\\r", "\\u003c", "\\u0020", "\\\\n"])
@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ("sk-proj-abcdefghijklmnop1234", "[KEY]"),
        ("Bearer abcdefghijklmnop1234", "Bearer [TOKEN]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "[TOKEN]"),
        ("4111111111111111", "[CARD]"),
        ("DE89370400440532013000", "[IBAN]"),
        ("123-45-6789", "[SSN]"),
        ("+49 171 2345678", "[PHONE]"),
        ("0171 2345678", "[PHONE]"),
        ("(212) 555-0142", "[PHONE]"),
        ("192.168.17.4", "[IP]"),
        ("2001:db8::7", "[IP]"),
    ],
)
def test_what_stands_behind_an_escape_of_json_in_a_text_is_found(escape: str, found: str, wanted: str) -> None:
    # The arguments of a tool call are JSON as a text, and their escapes are two characters of it.
    assert masked_text(f'{{"a": "line{escape}{found}"}}') == f'{{"a": "line{escape}{wanted}"}}'


@given(
    st.lists(st.sampled_from([b'"plain"', b'"jane@example.com"', b'["+49 171 2345678"]', b'"%b"' % (b"w" * 5000)]))
)
def test_many_at_once_are_masked_as_each_by_itself(texts: list[bytes]) -> None:
    assert list(masked_all(texts)) == [masked(text) for text in texts]


def test_a_number_that_is_a_card_becomes_a_string() -> None:
    assert masked(b'{"card":4111111111111111,"n":4111111111111112}') == b'{"card":"[CARD]","n":4111111111111112}'


def test_what_is_not_touched_stays_the_bytes_that_it_was() -> None:
    data = b'{ "b" : "\\u00e4 \\/ x",\n "a": [1.50, "jane@example.com"] }'
    assert masked(data) == b'{ "b" : "\\u00e4 \\/ x",\n "a": [1.50, "[EMAIL]"] }'


def test_pictures_are_left_as_they_are() -> None:
    data = b'{"url":"data:image/png;base64,' + b"AKIAIOSFODNN7EXAMPLE" * 10 + b'=="}'
    assert masked(data) == data


def test_a_string_that_cannot_be_read_is_no_way_around() -> None:
    assert masked(b'{"a":"jane@example.com \xff"}') == b'{"a":"[UNREADABLE]"}'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
PIECES = st.lists(
    st.one_of(
        st.sampled_from([text for text, _ in FOUND] + LEFT),
        st.text(alphabet='0123456789 -./()+@:[]EMAILabcdef\\"\n', max_size=30),
        st.emails(),
        st.text(max_size=10),
    ),
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(value=JSON | PIECES, ascii_only=st.booleans())
def test_json_stays_json_of_the_same_shape_and_masking_twice_is_masking_once(value: object, ascii_only: bool) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    once = masked(data)
    assert masked(once) == once
    try:
        data.decode()
    except UnicodeDecodeError:
        return
    json.loads(once)


@settings(max_examples=300, deadline=None)
@given(pieces=PIECES, between=st.sampled_from(["", " ", ",", "\n", "-", "x"]))
def test_text_that_is_masked_twice_is_masked_once(pieces: list[str], between: str) -> None:
    once = masked_text(between.join(pieces))
    assert masked_text(once) == once


@settings(max_examples=300, deadline=None)
@given(st.binary())
def test_bytes_that_are_no_json_raise_nothing(data: bytes) -> None:
    masked(data)


@settings(max_examples=300, deadline=None)
@given(address=st.emails(), before=st.text(max_size=20), after=st.text(max_size=20), ascii_only=st.booleans())
def test_no_address_survives(address: str, before: str, after: str, ascii_only: bool) -> None:
    text = f"{before} {address} {after}"
    data = masked(json.dumps([text], ensure_ascii=ascii_only).encode(errors="surrogatepass"))
    assert address.encode() not in data
    assert address not in masked_text(text)


@given(st.integers(10**11, 10**17 - 1), st.sampled_from("23456"))
def test_no_card_survives(number: int, first: str) -> None:
    body = first + str(number)
    card = next(body + str(last) for last in range(10) if luhn(body + str(last)))
    assert card not in masked_text(f"pay {card}!")
    grouped = " ".join(card[at : at + 4] for at in range(0, len(card), 4))
    assert grouped not in masked_text(f"pay with {grouped} please")


@pytest.mark.parametrize(
    "text",
    [
        "a" * 100_000,
        "a." * 50_000 + "@",
        "1 " * 50_000,
        "4" * 100_000,
        "a@b." * 25_000,
        "+1" * 50_000,
        "DE89" * 25_000,
        "1:" * 50_000,
        "sk-" * 33_000,
        "eyJaaaaaaaaa." * 8_000,
        "-----BEGIN PRIVATE KEY-----" * 4_000,
        "://a:" * 20_000 + "@",
    ],
)
def test_time_grows_with_length_only(text: str) -> None:
    began = time.process_time()
    masked(json.dumps(text).encode())
    assert time.process_time() - began < 3.0
