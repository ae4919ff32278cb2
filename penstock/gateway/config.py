"""What the deployment file may say of a service."""

from __future__ import annotations

import msgspec

from penstock.core.caching import CachePolicy
from penstock.core.policy import Balance, Breaker, Deadlines, Hedge, History, Queue, Retry
from penstock.observe.config import Objective, ServiceLog, check_names
from penstock.prompts.config import Member


class ServiceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A public name that clients send as `model`. A service named `"*"` catches every name that no other has."""

    model: str
    """The model that serves it, by its name under `models`."""
    fallback: list[str] = []
    """Models to try, in order, when that one fails before its first token."""
    aliases: list[str] = []
    """Other names for the same service."""
    description: str = ""
    """What it is for, in one line; shown to clients in the list of models."""
    prompt: str = ""
    """The prompt that goes before the messages of its chats: a file of the folder of prompts by its name without
    `.yaml`, or one that was pushed to this gateway, as `NAME@DIGEST` or `NAME@ALIAS`. Default: none."""
    defaults: dict[str, Member] = {}
    """Members of a chat request that hold where the client says nothing: `temperature`, `max_tokens`, `stop`, ..."""
    history: History | None = None
    """How long a conversation may be that goes to the model. Default: as long as it is sent."""
    cache: CachePolicy | None = None
    """Which of its answers are kept, and whom they are given to. Default: none are."""
    balance: Balance = Balance()
    """Which ready replica of a model gets a request."""
    queue: Queue = Queue()
    """How many requests are worked on at once, and how many wait."""
    deadlines: Deadlines = Deadlines()
    """How long a request may take, phase by phase."""
    retry: Retry = Retry()
    """What is done when an attempt fails."""
    breaker: Breaker = Breaker()
    """When a replica that fails is left alone."""
    hedge: Hedge | None = None
    """A second attempt beside a slow first one. Default: none."""
    refusal: str | None = None
    """What a client is told, politely, when every attempt has failed. Default: what the last of them said."""
    objectives: list[Objective] = []
    """What the service promises. Alerts come of them."""
    log: ServiceLog = ServiceLog()
    """What is kept of its requests."""

    def __post_init__(self) -> None:
        check_names(self.objectives)
