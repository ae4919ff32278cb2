"""One batch of what was seen, on its way into the stores, and what a gateway then has told of. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from penstock.core.requests import Beat, RequestContent, RequestRecord
from penstock.core.series import Fed, SeriesRow
from penstock.observe.series import Folding
from penstock.observe.spool_reader import Batch, Spot

UNHEARD_S = 1.0
"""How long before now a request may have ended of which nothing has come onto the disk yet, nor a beat of its
worker."""


class Noted(msgspec.Struct, frozen=True, array_like=True):
    """How far a spool is in the stores, and how many lost records of its owner are counted."""

    number: int
    offset: int
    shed: int


_mark = msgspec.msgpack.Decoder(dict[str, Noted])


def noted(mark: bytes) -> Mapping[str, Noted]:
    """What ``Fed.mark`` says, nothing when it is empty. Raises ``msgspec.DecodeError``."""
    return _mark.decode(mark) if mark else {}


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What the log gets of a batch. ``whole``: there was no more to read."""

    batch: Batch
    records: Sequence[RequestRecord]
    contents: Sequence[RequestContent]
    whole: bool


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the series get of all batches up to this one, the last; and what is traced in them, with what was kept of
    what was ``said`` in it."""

    batch: Batch
    rows: Sequence[SeriesRow]
    fed: Fed
    traced: Sequence[RequestRecord]
    said: Sequence[RequestContent]


class Telling:
    """What a gateway has told of: from batch to batch, and from one life to the next by ``Fed``."""

    def __init__(self, gateway: str, fed: Fed | None) -> None:
        self._folding = Folding(gateway)
        self._fed = fed or Fed(gateway=gateway, until=0.0)
        self._shed = {owner: each.shed for owner, each in noted(self._fed.mark).items()}
        self._beats: dict[str, Beat] = {}
        self._traced: list[RequestRecord] = []
        self._contents: list[RequestContent] = []
        self.untold = 0
        """Records that were taken since all was told."""

    @property
    def spots(self) -> Mapping[str, Spot]:
        """How far the spools were in the stores when this began."""
        return {owner: Spot(each.number, each.offset) for owner, each in noted(self._fed.mark).items()}

    def take(self, batch: Batch, living: Collection[str], at: float, most: int) -> Taken:
        """``batch`` was read, with room for ``most`` records, at the time ``at`` or later, when ``living`` could
        still write. To be called once for each batch, in order."""
        records = [each for each in batch.records if isinstance(each, RequestRecord)]
        contents = [each for each in batch.records if isinstance(each, RequestContent)]
        self._folding.add(records)
        self._traced += [each for each in records if each.traced]
        self._contents += contents
        self.untold += len(batch.records)
        lost = self._fed.shed
        for owner, beat in batch.beats.items():
            lost += max(0, beat.shed - self._shed.get(owner, 0))
            self._shed[owner] = beat.shed
        self._beats.update(batch.beats)
        until = max(self._fed.until, told_until(batch, self._beats, living, at))
        self._fed = msgspec.structs.replace(self._fed, until=until, shed=lost)
        return Taken(
            batch=batch,
            records=[each for each in records if each.kept],
            contents=contents,
            # Owners share the room evenly: as long as that many were not read, each was read to its end.
            whole=len(batch.records) < most // max(1, len(batch.spots)),
        )

    def tell(self, batch: Batch) -> Told:
        """All that was taken since this was called before, when ``batch`` was the last."""
        mark = {
            owner: Noted(spot.number, spot.offset, self._shed.get(owner, 0)) for owner, spot in batch.spots.items()
        }
        self._fed = msgspec.structs.replace(self._fed, mark=msgspec.msgpack.encode(mark, order="sorted"))
        for owner in batch.ended:
            self._beats.pop(owner, None)
            self._shed.pop(owner, None)
        traced, contents = self._traced, self._contents
        self._traced, self._contents, self.untold = [], [], 0
        named = {(each.at, each.request_id) for each in traced}
        said = [each for each in contents if (each.at, each.request_id) in named]
        return Told(batch=batch, rows=self._folding.take(), fed=self._fed, traced=traced, said=said)


def told_until(batch: Batch, beats: Mapping[str, Beat], living: Collection[str], at: float) -> float:
    """Until when everything has been read, this batch included. 0.0: nobody knows, as something lies there of an
    owner that has not been heard of yet."""
    until = at - UNHEARD_S
    for owner in {*living, *batch.spots} - batch.ended:
        beat = beats.get(owner)
        if beat is not None:
            until = min(until, beat.at)
        elif owner in batch.spots:
            return 0.0
    return until
