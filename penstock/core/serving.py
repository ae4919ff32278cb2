"""What is served and by what: the values a deployment is made of."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Literal

import msgspec

from penstock.core.policy import Policy
from penstock.core.releases import Measure, Mirror, Range, Segment


class ReplicaState(enum.Enum):
    """``FAILED`` is for good, until the deployment changes; ``DOWN`` is being restarted."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    DOWN = "down"
    FAILED = "failed"


class Replica(msgspec.Struct, frozen=True):
    """One running copy of a model. ``base_url`` ends without a slash and includes the API prefix (``/v1``).

    ``key`` is the secret the replica asks for (empty: none); it is never shown.
    ``reason`` says why the replica is not ready, in one line, for people. ``weight`` (above 0) is its share under the
    weighted policy; ``slots`` how many requests it works on at once, None where that is not known.
    """

    id: str
    model: str
    base_url: str
    key: str = ""
    state: ReplicaState = ReplicaState.READY
    reason: str = ""
    weight: float = 1.0
    slots: int | None = None

    def __repr__(self) -> str:
        return f"Replica({self.id!r}, {self.base_url!r}, {self.state.name})"


class Launch(msgspec.Struct, frozen=True):
    """How an engine wants one of its replicas started; a substrate carries it out.

    ``argv`` is run without a shell. ``stdin`` is written to the child, followed by a newline; settings and
    secrets travel there, never in ``argv``. The pipe then stays open for the child's life: its end of file tells
    the child that its parent is gone. The child says that it serves by one line of JSON on standard output,
    ``{"base_url": "http://127.0.0.1:PORT/v1"}``, within ``ready_within_s``, or ``{"error": "..."}`` and exits;
    what it prints on standard error is its log. ``key`` is the secret that its clients present. ``slots`` is how many
    requests the replica will work on at once, None where that is not known.
    """

    argv: tuple[str, ...]
    stdin: bytes = b""
    env: Mapping[str, str] = {}
    key: str = ""
    ready_within_s: float = 120.0
    slots: int | None = None

    def __repr__(self) -> str:
        return f"Launch({' '.join(self.argv)!r})"


class Model(msgspec.Struct, frozen=True):
    """A named model of the deployment. ``engine`` is its name in the catalog (``llamacpp``).

    ``settings`` is the engine's own config as msgpack, opaque here; ``digest`` names model and settings together,
    so that whatever is built from them can be shared between deployments. ``upstream`` is what the upstream calls
    the model, ``"*"`` when it is what the client asked for, empty where it has no name of its own.
    """

    name: str
    engine: str
    digest: str
    settings: bytes
    upstream: str = ""

    def __repr__(self) -> str:
        return f"Model({self.name!r}, {self.engine!r}, {self.digest!r})"


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What is scored for a rollout: ``measures`` of every request that is assigned ``candidate``, and of ``share``
    (millionths) of the units that are assigned ``champion``."""

    rollout: str
    candidate: str
    champion: str
    share: int
    measures: tuple[Measure, ...]


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """Who gets which release of a service, as ``releases.Split`` has it. ``variants`` are the services that releases
    make of it, by release: its name and policy, and their own models, prompt and defaults.

    ``outside``: the rollout that is watched, and whose copies are made, is about those whom ``segment`` leaves out.
    """

    ranges: tuple[Range, ...]
    salt: str
    sticky: Literal["user", "conversation", "request"]
    variants: Mapping[str, Service]
    segment: Segment | None = None
    inside: tuple[Range, ...] = ()
    mirror: Mirror | None = None
    watched: Watched | None = None
    outside: bool = False


class Service(msgspec.Struct, frozen=True):
    """The public name a client sends as ``model``. ``models`` in order: the first serves, the rest are fallbacks.

    ``"*"`` as a name catches what no other service is called. ``release`` is empty while the service is what the
    deployment file says and the store does not own it. ``prompt`` is the source of a prompt's version (empty: the
    client's messages are the prompt), ``defaults`` are members of a request, as one canonical JSON object, that hold
    where the client says nothing; ``content`` is what it says of keeping what is said, as ``requests.ContentPolicy``
    has it. Where ``assignment`` is set, each request gets one of its variants.
    """

    name: str
    models: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    created: int = 0
    description: str = ""
    policy: Policy = Policy()
    release: str = ""
    prompt: bytes = b""
    defaults: bytes = b"{}"
    content: str = ""
    assignment: Assignment | None = None


class Deployment(msgspec.Struct, frozen=True):
    """One immutable snapshot of everything the deployment file and the store say. A request holds the one it
    began with. ``version`` grows with every change; two snapshots of one version are equal.

    ``replicas`` holds, per model name, every replica whatever its state. ``settled`` is false until each launched
    model has come up or failed for the first time.
    """

    version: int
    models: Mapping[str, Model]
    services: Mapping[str, Service]
    replicas: Mapping[str, tuple[Replica, ...]]
    settled: bool = True


class Applied(msgspec.Struct, frozen=True):
    """What became of a new deployment file, in lines for people without secrets.

    ``changed`` is what differs from the one before, empty when nothing does; ``needs_restart`` what differs and stays
    as it was until Penstock is started again. ``version`` is that of the deployment which serves now.
    """

    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]
    version: int
