"""What is said over the link of answers to other questions: by workers to the desks, which the supervisor holds."""

from __future__ import annotations

import msgspec

from penstock.core.caching import Learnt, Seek, Taught


class SeekDesk(msgspec.Struct, frozen=True, tag="seek_desk"):
    """A question: does an answer that is there serve this request? Answered by ``core.caching.Sought``."""

    ask: Seek


class LearnDesk(msgspec.Struct, frozen=True, tag="learn_desk"):
    """What became of a question."""

    what: Learnt


class TeachDesk(msgspec.Struct, frozen=True, tag="teach_desk"):
    """An answer that others may get from now on."""

    what: Taught


class Disown(msgspec.Struct, frozen=True, tag="disown"):
    """A question: the answer that the cache gave to this request of the project is wrong, says the key ``key_id``; is
    it gone? Answered by whether there was one."""

    request_id: str
    project: str
    key_id: str = ""


class Gave(msgspec.Struct, frozen=True, tag="gave"):
    """A question of the supervisor: which entry did this request of the project get, by its 40 digits? Answered by a
    string; None: none that is known here."""

    request_id: str
    project: str
