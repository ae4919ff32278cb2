"""The sentences of a request, and that every record has some."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.control.observed.why import duration, why
from penstock.core.requests import AttemptMade, RequestRecord
from tests.control.accounts.office import entry, record


def test_a_plain_one() -> None:
    assert why(record("red", "r", first_chunk_s=0.2), [entry("red", "r")]) == (
        "'m' (m-0) answered at the first attempt.",
        "It was complete after 1.0 s, 200 ms to the first chunk; 2.0 ms of it was the gateway's own.",
        "10 tokens in and 5 out cost $0.0025 by the price m@0.",
        "What was said is kept.",
    )


def test_what_was_tried_before_and_why_it_failed() -> None:
    failed = AttemptMade(1, "m", "m-0", 0.0, 0.31, None, "upstream_failed", "It said 500.")
    again = AttemptMade(2, "m", "m-1", 0.35, 0.5, None, "upstream_timeout", "")
    won = AttemptMade(3, "n", "n-0", 0.52, 1.5, 0.9)
    told = why(
        record(
            "red",
            "r",
            asked="gpt",
            release="rel_b",
            rollout="ro_1",
            attempts=(failed, again, won),
            queued_s=0.005,
            cache="miss",
            estimated=True,
            content="none",
        ),
        [entry("red", "r"), entry("red", "r", attempt=1)],
    )
    assert told == (
        "The client asked for 'gpt', which is the service 'chat'.",
        "The release rel_b was drawn for it in the rollout ro_1.",
        "The cache said: miss.",
        "It waited 5.0 ms for a place at a replica.",
        "Attempt 1 at 'm' (m-0) failed after 310 ms with upstream_failed: It said 500.",
        "Attempt 2 at 'm' (m-1) failed after 150 ms with upstream_timeout.",
        "The fallback 'n' (n-0) answered, as attempt 3.",
        "It was complete after 1.0 s; 2.0 ms of it was the gateway's own.",
        "10 tokens in and 5 out cost $0.0025 by the price m@0; at most that, as the upstream did not say how much it "
        "was.",
        "That is the sum of 2 attempts that an upstream worked on.",
        "Nothing of what was said is kept.",
    )


def test_a_limit_that_refused_it_is_named() -> None:
    refused = record(
        "red",
        "r",
        attempts=(),
        ending="failed",
        status=429,
        code="rate_limit_exceeded",
        message="The limit of 9 requests a minute on key 'red-key' is reached.",
        tokens=None,
        cost_nano=0,
        model="",
        replica="",
    )
    told = why(refused)
    assert told[0] == (
        "It was refused after 1.0 s with 429 (rate_limit_exceeded): The limit of 9 requests a minute on key 'red-key' "
        "is reached."
    )
    assert told[1] == "No tokens were counted, and it cost nothing."


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000042, "4 µs"),
        (0.00099999, "1.0 ms"),
        (0.0123, "12 ms"),
        (0.9999, "1.0 s"),
        (0.99, "990 ms"),
        (59.96, "60 s"),
        (200.0, "3.3 min"),
    ],
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


_TIMES = st.floats(0, 1e5)
_CODES = st.sampled_from(("", "upstream_failed", "rate_limit_exceeded"))


@given(
    st.builds(
        RequestRecord,
        request_id=st.just("r"),
        at=_TIMES,
        gateway=st.just("g"),
        service=st.sampled_from(("", "chat")),
        asked=st.sampled_from(("", "gpt")),
        release=st.sampled_from(("", "rel_1")),
        rollout=st.sampled_from(("", "ro_1")),
        ending=st.sampled_from(("", "complete", "failed", "client_gone")),
        status=st.sampled_from((0, 200, 429, 500)),
        code=_CODES,
        message=st.text(max_size=8).filter(lambda said: "None" not in said),
        duration_s=_TIMES,
        queued_s=st.none() | _TIMES,
        attempts=st.lists(
            st.builds(
                AttemptMade,
                number=st.integers(1, 3),
                model=st.just("m"),
                replica=st.sampled_from(("", "m-0")),
                began_s=_TIMES,
                ended_s=_TIMES,
                first_s=st.none() | _TIMES,
                code=_CODES,
            ),
            max_size=3,
        ).map(tuple),
    )
)
def test_every_sentence_is_one(record: RequestRecord) -> None:
    # What others say may have two points, too.
    assume(".." not in record.message and not any(".." in each.message for each in record.attempts))
    told = why(record)
    assert told
    for sentence in told:
        assert sentence[0].isupper() or not sentence[0].isalpha()
        assert sentence.endswith(".")
        assert ".." not in sentence.removesuffix("...")
        assert "None" not in sentence
