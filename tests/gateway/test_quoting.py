"""What an upstream repeats of a prompt is not in the facts."""

from __future__ import annotations

import pytest

from penstock.core.chat import Kind
from penstock.core.errors import BAD_REQUEST, PenstockError
from penstock.gateway.quoting import unquoted
from tests.gateway.doubles import ScriptedEngine
from tests.gateway.leasing import Turned
from tests.gateway.recorded import Log, asked

SAID = 'My mother "Ada" has had a stroke, was läuft falsch?'


@pytest.mark.parametrize(
    ("message", "left"),
    [
        (f"Invalid value: '{SAID}'.", "Invalid value: '[...]'."),
        ("Invalid value: 'My mother \"Ada\" has had a st...'", "Invalid value: '[...]...'"),
        ('was läuft falsch? is not allowed; nor is My mother "Ada" has', "[...] is not allowed; nor is [...]"),
        ("The upstream failed (HTTP 500: CUDA out of memory)", "The upstream failed (HTTP 500: CUDA out of memory)"),
        ("My mother", "My mother"),
        ("", ""),
    ],
)
def test_what_the_client_has_said_is_left_out(message: str, left: str) -> None:
    assert unquoted(message, asked(SAID)) == left


def test_a_long_prompt_is_looked_at_from_both_ends() -> None:
    call = asked(f"the very beginning {'x ' * 200_000} the very end")
    assert unquoted("'the very beginning' and 'the very end'", call) == "'[...]' and '[...]'"


def test_a_prompt_that_is_no_json_raises_nothing() -> None:
    call = asked(more=b'{"input":"a\xff to be found here"}', kind=Kind.COMPLETION)
    assert unquoted("no: to be found here", call) == "no: [...]"


async def test_the_log_has_neither_message_with_it() -> None:
    log = Log(Turned(), {"main": ScriptedEngine(PenstockError(BAD_REQUEST, f"bad value: {SAID}"))})
    with pytest.raises(PenstockError, match="stroke"):
        await log.ask(asked(SAID))
    assert log.record.message == "bad value: [...]"
    assert [each.message for each in log.record.attempts] == ["bad value: [...]"]
