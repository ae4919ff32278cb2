"""What comes out of a mould is what would be shown without one."""

from __future__ import annotations

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from penstock.caches.recorded import again
from penstock.core.chat import Kind
from penstock.core.serving import Service
from penstock.gateway.moulds import Moulds
from penstock.gateway.watch import labels, shown
from tests.caches.doubles import entry_of
from tests.gateway.doubles import call

TEXTS = st.text(max_size=40) | st.sampled_from(["100 %(id)b", "%", '"model-', "%%s", "\\", '"id":"up"'])


def answer(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    return json.dumps({"id": "up", "model": "theirs", "created": 1, "choices": [choice], "usage": usage}).encode()


@given(TEXTS, st.booleans(), st.booleans(), st.lists(st.text(max_size=8), min_size=1, max_size=3))
def test_a_mould_gives_what_is_shown(text: str, stream: bool, usage_chunk: bool, ids: list[str]) -> None:
    moulds, entry = Moulds(), entry_of(chunks=(answer(text),))
    service = Service('ch"at', ("m",))
    for id in ids:
        asked = msgspec.structs.replace(call(stream=stream, usage_chunk=usage_chunk and stream), request_id=id)
        show = shown(asked, *labels(asked, service), 7)
        plain = [told for chunk in again(entry, stream=stream) if (told := show(chunk)) is not None]
        cast = moulds.chunks(entry, asked, service, 7)
        assert list(map(msgspec.json.decode, cast)) == list(map(msgspec.json.decode, plain))
        assert msgspec.json.decode(cast[0])["model"] == 'ch"at'


def test_vectors_have_no_id_and_what_is_made_anew_is_cast_anew() -> None:
    moulds, service = Moulds(), Service("vectors", ("m",))
    asked = call(stream=False, kind=Kind.EMBEDDING)
    for created, value in ((1.0, 1), (2.0, 2)):
        chunk = json.dumps({"model": "theirs", "data": [{"embedding": [value]}]}).encode()
        entry = entry_of(kind=Kind.EMBEDDING, chunks=(chunk,), created_at=created)
        [told] = moulds.chunks(entry, asked, service, 0)
        assert msgspec.json.decode(told) == {"model": "vectors", "data": [{"embedding": [value]}]}


def test_the_oldest_goes_when_there_is_no_room() -> None:
    moulds, service = Moulds(most_bytes=5_000), Service("chat", ("m",))
    for number in range(50):
        entry = entry_of(key=bytes([number]) * 20, chunks=(answer("x" * 400),))
        moulds.chunks(entry, call(stream=False), service, 0)
    assert 0 < moulds.used <= 5_000
