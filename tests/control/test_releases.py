"""What is served, of a deployment file and a store that may say different things."""

from __future__ import annotations

import msgspec

from penstock.control.releases import composed, contradicted, displaced, main, ready, scored_share
from penstock.core.accounts import Directory
from penstock.core.caching import CachePolicy, Exact
from penstock.core.policy import Policy
from penstock.core.releases import (
    WHOLE,
    Gate,
    Measure,
    Mirror,
    ModelVersion,
    Plan,
    PromptVersion,
    Range,
    Release,
    Rollout,
    Segment,
    Served,
    Split,
    Step,
    Warm,
)
from penstock.core.serving import Deployment, Replica, ReplicaState, Service

NOW = 1_800_000_000.0
SMALL = ModelVersion(name="small", digest="a" * 16, engine="fake", source=b"{}")
LARGE = ModelVersion(name="large", digest="b" * 16, engine="fake", source=b"{}")
CHANGED = ModelVersion(name="small", digest="c" * 16, engine="fake", source=b'{"slots":4}')
PROMPT = PromptVersion(name="greeting", digest="d" * 16, source=b'{"system":"Hi"}')
OLD = Release(id="rel_old", service="chat", model=SMALL.id)
NEW = Release(id="rel_new", service="chat", model=LARGE.id, prompt=PROMPT.id, defaults=b'{"temperature":0.5}')
CHAT = Service("chat", ("small", "spare"), aliases=("gpt",))
FILE = Served(models={"small": SMALL}, services={"chat": OLD})


def split(*shares: tuple[int, str], **more: object) -> Split:
    said = {"salt": "s", "origin": OLD.id, **more}
    return Split(service="chat", ranges=tuple(Range(*each) for each in shares), **said)  # type: ignore[arg-type]


def store(*splits: Split, rollouts: tuple[Rollout, ...] = ()) -> Directory:
    return Directory(models=(SMALL, LARGE), prompts=(PROMPT,), releases=(OLD, NEW), splits=splits, rollouts=rollouts)


def rollout(**more: object) -> Rollout:
    plan = Plan(
        preset="canary", candidate=NEW.id, champion=OLD.id, steps=(Step(share=100_000),),
        gates=(Gate(metric="success"),), measures=(Measure(metric="success", scorer="success", version="1"),),
    )  # fmt: skip
    return Rollout(**{"id": "ro_1", "service": "chat", "plan": plan, "state": "running", **more})  # type: ignore[arg-type]


def test_without_a_split_the_file_says_it_all() -> None:
    found = composed({"chat": CHAT}, FILE, store(), NOW)
    assert found.services == {"chat": CHAT}
    assert not found.beside


def test_a_release_is_the_service_with_its_own_model_prompt_and_defaults() -> None:
    found = composed({"chat": CHAT}, FILE, store(split((900_000, OLD.id), (WHOLE, NEW.id))), NOW)
    chat = found.services["chat"]
    assert chat.assignment is not None
    old, new = chat.assignment.variants[OLD.id], chat.assignment.variants[NEW.id]
    assert (old.models, old.prompt, old.release) == (("small", "spare"), b"", OLD.id)
    assert (new.models, new.prompt, new.name) == (("large", "spare"), PROMPT.source, "chat")
    assert new.defaults == NEW.defaults
    assert new.assignment is None
    assert found.beside == (LARGE,), "it is not in the file, and must run all the same"
    assert not found.refused


def test_releases_keep_answers_as_their_service_says() -> None:
    policy = Policy(cache=CachePolicy(exact=Exact(ttl_s=5)))
    service = msgspec.structs.replace(CHAT, policy=policy)
    chat = composed({"chat": service}, FILE, store(split((900_000, OLD.id), (WHOLE, NEW.id))), NOW).services["chat"]
    assert chat.assignment is not None
    assert [each.policy for each in (chat, *chat.assignment.variants.values())] == [policy] * 3


def test_what_is_warm_mirrored_or_to_come_is_loaded_and_what_was_warm_is_not() -> None:
    for more, wanted in (
        ({"warm": (Warm(NEW.id, NOW + 1),)}, True),
        ({"warm": (Warm(NEW.id),)}, True),
        ({"warm": (Warm(NEW.id, NOW - 1),)}, False),
        ({"mirror": Mirror(release=NEW.id, share=WHOLE)}, True),
    ):
        found = composed({"chat": CHAT}, FILE, store(split((WHOLE, OLD.id), **more)), NOW)
        assert bool(found.beside) == wanted, more
    for state, wanted in (("loading", True), ("running", True), ("aborted", False)):
        directory = store(split((WHOLE, OLD.id), rollout="ro_1"), rollouts=(rollout(state=state),))
        assert bool(composed({"chat": CHAT}, FILE, directory, NOW).beside) == wanted, state


def test_a_rollout_that_runs_is_watched_with_enough_of_the_champion() -> None:
    directory = store(split((990_000, OLD.id), (WHOLE, NEW.id), rollout="ro_1"), rollouts=(rollout(),))
    assignment = composed({"chat": CHAT}, FILE, directory, NOW).services["chat"].assignment
    assert assignment is not None
    assert assignment.watched is not None
    assert (assignment.watched.candidate, assignment.watched.champion) == (NEW.id, OLD.id)
    assert assignment.watched.share == scored_share(10_000, 990_000) == 90_909
    assert scored_share(500_000, 500_000) == scored_share(100_000, 900_000) == WHOLE
    for state, watched in (("paused", True), ("asking", True), ("loading", False), ("promoted", False)):
        other = msgspec.structs.replace(directory, rollouts=(rollout(state=state),))
        assignment = composed({"chat": CHAT}, FILE, other, NOW).services["chat"].assignment
        assert assignment is not None
        assert (assignment.watched is not None) == watched, state


def test_beside_a_segment_with_a_release_of_its_own_a_rollout_is_about_the_others() -> None:
    segment = Segment(projects=("red",))
    inside = (Range(WHOLE, NEW.id),)
    both = split((990_000, OLD.id), (WHOLE, NEW.id), rollout="ro_1", segment=segment, inside=inside)
    assignment = composed({"chat": CHAT}, FILE, store(both, rollouts=(rollout(),)), NOW).services["chat"].assignment
    assert assignment is not None
    assert assignment.outside
    assert assignment.watched is not None
    assert assignment.watched.share == scored_share(10_000, 990_000)
    running = rollout()
    own = msgspec.structs.replace(running, plan=msgspec.structs.replace(running.plan, segment=segment))
    assignment = composed({"chat": CHAT}, FILE, store(both, rollouts=(own,)), NOW).services["chat"].assignment
    assert assignment is not None
    assert not assignment.outside


def test_a_release_whose_model_has_become_another_is_refused_with_the_reason() -> None:
    served = Served(models={"small": CHANGED}, services={"chat": OLD})
    found = composed({"chat": CHAT}, served, store(split((WHOLE, OLD.id))), NOW)
    assert found.refused == {OLD.id: f"its model {SMALL.id} has become {CHANGED.id}"}
    assert displaced(served, store(split((WHOLE, OLD.id))), NOW) == (
        f"model small: {OLD.id} of service chat is served by it as it was ({SMALL.id}). Add the new one under another "
        "name, or first roll that release back",
    )
    assert not displaced(FILE, store(split((WHOLE, OLD.id))), NOW)
    assert not displaced(Served(services={"chat": OLD}), store(split((WHOLE, OLD.id))), NOW), "gone is not changed"
    gone = msgspec.structs.replace(store(split((WHOLE, "rel_gone"))))
    assert "rel_gone" in composed({"chat": CHAT}, FILE, gone, NOW).refused
    nameless = msgspec.structs.replace(store(split((WHOLE, NEW.id))), prompts=())
    assert "prompt" in composed({"chat": CHAT}, FILE, nameless, NOW).refused[NEW.id]


def test_what_is_only_kept_loaded_is_let_go_of_and_stops_no_start() -> None:
    served = Served(models={"small": CHANGED}, services={"chat": NEW})
    directory = store(split((WHOLE, NEW.id), warm=(Warm(OLD.id),)))
    (line,) = displaced(served, directory, NOW)
    assert f"penstock split warm chat {OLD.id} --for 0" in line
    assert not displaced(served, directory, NOW, warm=False)
    assert displaced(served, store(split((WHOLE, OLD.id))), NOW, warm=False)


def test_a_model_with_a_secret_of_its_own_may_not_go_while_somebody_gets_it() -> None:
    secret = msgspec.structs.replace(SMALL, source=b'{"api_key":"********"}')
    gone = Served(services={"chat": OLD})
    for of, lines in ((split((WHOLE, OLD.id)), 1), (split((WHOLE, NEW.id), warm=(Warm(OLD.id),)), 0)):
        found = displaced(gone, msgspec.structs.replace(store(of), models=(secret, LARGE)), NOW)
        assert len(found) == lines
        assert all("Leave it in the file" in line for line in found)


def test_a_file_may_not_move_what_the_store_owns_but_may_agree_with_it() -> None:
    directory = store(split((100_000, OLD.id), (WHOLE, NEW.id)))
    other = msgspec.structs.replace(OLD, id="rel_other")
    for before, after, good in (
        (OLD, OLD, True),
        (OLD, other, False),
        (other, other, True),
        (other, NEW, True),
        (other, OLD, True),
        (None, other, False),
    ):
        first = Served(services={} if before is None else {"chat": before})
        lines = contradicted(first, Served(services={"chat": after}), directory)
        assert (not lines) == good, (before, after)
    assert "rel_old 10 %, rel_new 90 %" in lines[0] if lines else True
    assert not contradicted(FILE, Served(), directory), "a service that is gone is nobody's"


def test_ready_is_what_a_copy_of_its_model_can_answer_now() -> None:
    directory = store(split((WHOLE, OLD.id), warm=(Warm(NEW.id),)))
    found = composed({"chat": CHAT}, FILE, directory, NOW)

    def deployment(**states: ReplicaState) -> Deployment:
        replicas = {name: (Replica(name, name, "", state=state),) for name, state in states.items()}
        return Deployment(1, {}, found.services, replicas)

    ready_, down = ReplicaState.READY, ReplicaState.STARTING
    assert ready(found, FILE, directory, deployment(small=ready_, large=ready_)) == (NEW.id, OLD.id)
    assert ready(found, FILE, directory, deployment(small=ready_, large=down)) == (OLD.id,)
    changed = Served(models={"small": CHANGED}, services={"chat": OLD})
    other = composed({"chat": CHAT}, changed, directory, NOW)
    assert ready(other, changed, directory, deployment(small=ready_, large=ready_)) == (NEW.id,)


def test_the_main_release_is_what_most_get() -> None:
    assert main((Range(400_000, "a"), Range(700_000, "b"), Range(WHOLE, "a"))) == "a"
    assert main(()) == ""
