"""Every change is a new snapshot, one version up."""

from __future__ import annotations

from penstock.control.board import Board
from penstock.core.serving import Deployment, Replica, ReplicaState

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
