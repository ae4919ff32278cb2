"""Every change is a new snapshot, one version up."""

from __future__ import annotations

from penstock.control.board import Board
from penstock.core.serving import Deployment, Replica, ReplicaState, Service
from tests.control.house import model

NOTHING = Deployment(version=1, models={}, services={}, replicas={"hosted": (Replica("hosted", "hosted", "u"),)})


def replica(id_: str, state: ReplicaState, model: str = "small") -> Replica:
    return Replica(id_, model, "", state=state)


def test_a_change_is_heard_once_and_leaves_older_snapshots_alone() -> None:
    heard: list[Deployment] = []
    board = Board(NOTHING, ["small"], heard.append)
    before = board.deployment
    board.put(replica("small-0", ReplicaState.STARTING))
    board.put(replica("small-0", ReplicaState.STARTING))
    board.put(replica("small-0", ReplicaState.READY))
    assert [d.version for d in heard] == [2, 3]
    assert heard[-1] is board.deployment
    assert before.replicas.keys() == {"hosted"}
    assert board.deployment.replicas["small"] == (replica("small-0", ReplicaState.READY),)
    assert board.deployment.replicas["hosted"] == NOTHING.replicas["hosted"]


def test_with_nothing_to_launch_it_is_settled_from_the_start() -> None:
    assert Board(NOTHING, [], print).deployment.settled


def test_it_settles_when_each_model_has_come_up_or_failed() -> None:
    board = Board(NOTHING, ["small", "embed"], lambda _: None)
    steps = [
        (replica("small-0", ReplicaState.STARTING), False),
        (replica("small-1", ReplicaState.STARTING), False),
        (replica("small-0", ReplicaState.DOWN), False),
        (replica("small-1", ReplicaState.READY), False),
        (replica("embed-0", ReplicaState.STARTING, "embed"), False),
        (replica("embed-0", ReplicaState.FAILED, "embed"), True),
        (replica("small-1", ReplicaState.DOWN), True),
        (replica("small-1", ReplicaState.STARTING), True),
    ]
    for change, settled in steps:
        board.put(change)
        assert board.deployment.settled is settled


def test_one_change_takes_models_services_and_what_is_reached_by_url() -> None:
    heard: list[Deployment] = []
    board = Board(Deployment(1, {"hosted": model("hosted", "1")}, {}, NOTHING.replicas), ["small"], heard.append)
    board.put(replica("small-0", ReplicaState.READY))
    service = Service("talk", ("other",))
    models = {"other": model("other", "2"), "new": model("new", "3")}
    board.change(models, {"talk": service}, {"other": (Replica("other", "other", "v"),)})
    assert len(heard) == 2
    assert dict(board.deployment.models) == models
    assert dict(board.deployment.services) == {"talk": service}
    # What was started here goes on until whoever started it takes it away.
    assert set(board.deployment.replicas) == {"small", "other"}
    board.remove("small", "small-0")
    assert set(board.deployment.replicas) == {"other"}
    board.remove("small", "small-0")
    assert len(heard) == 3


def test_what_ran_here_and_is_reached_by_url_from_now_on_drains_in_the_same_step() -> None:
    board = Board(Deployment(1, {"small": model("small", "1")}, {}, {}), ["small"], lambda _: None)
    board.put(replica("small-0", ReplicaState.READY))
    board.put(replica("small-1", ReplicaState.DOWN))
    board.change({"small": model("small", "2")}, {}, {"small": (Replica("small", "small", "u"),)})
    states = {each.id: each.state for each in board.deployment.replicas["small"]}
    assert states == {
        "small": ReplicaState.READY, "small-0": ReplicaState.DRAINING, "small-1": ReplicaState.DOWN,
    }  # fmt: skip
    assert board.deployment.models["small"].digest == "2"


def test_it_stays_settled_when_a_model_is_added_and_settles_when_the_last_that_it_waits_for_goes() -> None:
    board = Board(NOTHING, ["small"], lambda _: None)
    assert not board.deployment.settled
    board.change({"new": model("new", "1")}, {}, {})
    assert board.deployment.settled
    board.put(replica("new-0", ReplicaState.STARTING, "new"))
    assert board.deployment.settled
