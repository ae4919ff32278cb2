"""The most that a request can use, from its bytes."""

from __future__ import annotations

import json
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.access.bounds import ALLOWANCE, FILE, IMAGE, Bound, bound_of
from penstock.core.chat import Call, Kind
from penstock.core.money import Price

PICTURE = "data:image/png;base64," + "A" * 100_000


def call(kind: Kind = Kind.CHAT, *, choices: int = 1, max_tokens: int | None = None, **fields: object) -> Call:
    written = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in fields.items()}
    return Call("r", kind, "svc", written, choices=choices, max_tokens=max_tokens)


def bound(asked: Call, price: Price | None = None, cap: int = 100) -> Bound:
    return bound_of(asked, price=price, cap=cap)


def part(type: str, **more: object) -> dict[str, object]:
    return {"type": type, **more}


def asking(*parts: dict[str, object]) -> Call:
    return call(messages=[{"role": "user", "content": list(parts)}])


TEXT = part("text", text="What is it?")


@given(st.text(), st.text())
def test_a_text_never_has_more_bytes_than_its_bound(one: str, two: str) -> None:
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in (one, two))
    messages = [{"role": "system", "content": one}, {"role": "user", "content": [part("text", text=two)]}]
    assert bound(call(messages=messages)).input >= size
    assert bound(call(Kind.COMPLETION, prompt=[one, two])).input >= size
    assert bound(call(Kind.EMBEDDING, input=one + two)).input >= size


def test_what_no_model_reads_is_not_counted() -> None:
    short = call(messages=[{"role": "user", "content": "hi"}])
    long = call(
        messages=[{"role": "user", "content": "hi"}], model="m" * 500, user="u" * 500, metadata={"a": "b" * 500}
    )
    assert bound(short) == bound(long)


@pytest.mark.parametrize("name", ["tools", "functions", "response_format", "documents", "some_word_of_tomorrow"])
def test_any_other_field_is(name: str) -> None:
    value = [{"type": "object", "description": "x" * 500}]
    assert bound(call(messages=[], **{name: value})).input > bound(call(messages=[])).input + 500


@pytest.mark.parametrize(
    ("prompt", "tokens", "prompts"),
    [([1, 2, 3], 3, 1), ([[1, 2], [3]], 3, 2), ([7], 1, 1), (["ab", "cd"], 4, 2), ([[1], "ab"], 3, 2)],
)
def test_prompts_of_token_numbers_are_counted_and_each_is_answered(prompt: object, tokens: int, prompts: int) -> None:
    found = bound(call(Kind.COMPLETION, prompt=prompt, choices=3, max_tokens=10))
    assert tokens + ALLOWANCE <= found.input <= tokens + ALLOWANCE + 16
    assert found.output == 10 * 3 * prompts
    assert found.capped is None


def test_a_thousand_token_numbers_are_not_counted_by_their_digits() -> None:
    found = bound(call(Kind.EMBEDDING, input=[100_000 + number for number in range(1000)]))
    assert found.input == 1000 + ALLOWANCE
    assert (found.output, found.capped) == (0, None)


@pytest.mark.parametrize(
    ("asked", "price", "output", "capped"),
    [
        (call(max_tokens=7), None, 7, None),
        (call(max_tokens=7, choices=3), Price(model="m", max_output=5), 21, None),
        (call(choices=2), Price(model="m", max_output=5), 10, None),
        (call(choices=2), Price(model="m"), 200, 200),
        (call(), None, 100, 100),
        (call(Kind.COMPLETION, max_tokens=7, best_of=4), None, 28, None),
        # An engine may obey another word than the one that was read.
        (call(max_tokens=7, max_completion_tokens=9), None, 9, None),
        (call(max_tokens=7, n_predict=50), None, 50, None),
        (call(max_tokens=7, n_predict=-1), None, 100, 100),
        (call(n_predict=50), None, 50, None),
        (call(max_tokens=7, best_of="x"), None, 7, None),
        (call(max_tokens=7, n_cmpl=4), None, 28, None),
        (call(max_tokens=0), None, 1, None),
        (call(Kind.COMPLETION, max_tokens=2**31 - 1, choices=128, prompt=["x"] * 1000), None, 2**40, None),
    ],
)
def test_output(asked: Call, price: Price | None, output: int, capped: int | None) -> None:
    found = bound(asked, price)
    assert (found.output, found.capped) == (output, capped)


def test_what_was_predicted_may_be_charged_as_output() -> None:
    assert bound(call(max_tokens=5, prediction={"type": "content", "content": "x" * 300})).output > 300


def test_a_picture_counts_as_one_and_not_by_its_bytes() -> None:
    found = bound(asking(TEXT, part("image_url", image_url={"url": PICTURE, "detail": "high"})))
    assert found.images == 1
    assert IMAGE < found.input < IMAGE + ALLOWANCE + 300
    near = bound(asking(part("image_url", image_url={"url": "https://example.com/" + "x" * 500})))
    assert near.input > IMAGE + 500
    two = asking(*[part("image_url", image_url={"url": PICTURE})] * 2)
    assert bound(two, Price(model="gpt-4o-mini")).input > 2 * 48_000


def test_no_way_of_writing_a_picture_hides_it() -> None:
    plain = json.dumps([{"role": "user", "content": [part("image_url", image_url={"url": "https://e.com/a.png"})]}])
    for written in (
        plain,
        plain.replace("type", "\\u0074ype").replace("image_url", "\\u0069mage_url"),
        plain.replace('"type"', '"type" ').replace(":", " : "),
        plain.replace("image_url", "image\\u005furl"),
    ):
        asked = msgspec.structs.replace(call(), fields={"messages": msgspec.Raw(written.encode())})
        assert bound(asked).images == 1, written


def test_words_about_pictures_are_words() -> None:
    text = call(messages=[{"role": "user", "content": 'an image, a file, "type": "image_url", input_audio'}])
    assert bound(text).images == 0
    assert bound(text).input < 1000
    assert bound(asking(part("text", text="an image_url"))).images == 0


def test_sound_and_files() -> None:
    heard = bound(asking(part("input_audio", input_audio={"data": "A" * 160_000, "format": "mp3"})))
    assert heard.audio
    assert 10_000 < heard.input < 20_000
    assert bound(call(messages=[], audio={"voice": "x", "format": "mp3"})).audio
    assert bound(call(messages=[{"role": "assistant", "audio": {"id": "audio_1"}}])).input > 16_000
    read = asking(part("file", file={"file_id": "f1"}))
    assert bound(read).input > FILE
    assert bound(read, Price(model="m", max_input=8_000)).input < 9_000


def test_what_is_not_the_json_it_should_be_is_bounded_all_the_same() -> None:
    for written in (
        b'[{"type":"image"',
        b"7",
        b'{"type": "image_url"}',
        b'[{"content": 7, "type": "image"}]',
        b"\xff",
    ):
        asked = msgspec.structs.replace(
            call(), fields={"messages": msgspec.Raw(written), "prompt": msgspec.Raw(b'["')}
        )
        assert bound(asked).input >= len(written)


def test_a_short_prompt_costs_next_to_nothing() -> None:
    asked = call(
        messages=[{"role": "system", "content": "x" * 200}, {"role": "user", "content": "hello there " * 70}],
        model="m",
        temperature=0.5,
        stream=True,
        max_tokens=100,
    )
    rounds = []
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(1000):
            bound(asked)
        rounds.append(time.perf_counter() - begun)
    assert min(rounds) / 1000 < 15e-6
