"""What is not served any more, and why it is enough to know since when."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.core.caching import Entry, Invalidation


class Invalidations:
    """All invalidations that hold, to ask about one entry after the other; immutable. An entry is asked about by each
    value that it has, so that a question costs the same however many there are."""

    __slots__ = ("_people", "_since", "records")

    def __init__(self, records: Iterable[Invalidation] = ()) -> None:
        since: dict[tuple[str, str, str], Invalidation] = {}
        for record in records:
            name = (record.scope, record.project, record.value)
            known = since.get(name)
            if known is None or known.at < record.at:
                since[name] = record
        self._since = {name: record.at for name, record in since.items()}
        self._people: dict[str, float] = {}
        for (scope, _, value), record in since.items():
            if scope == "subject":
                self._people[value] = max(record.at, self._people.get(value, -1.0))
        self.records: tuple[Invalidation, ...] = tuple(since.values())

    def covers(self, entry: Entry) -> bool:
        """Whether the entry is not to be served."""
        since, at = self._since, entry.created_at
        if not since:
            return False
        for project in ("", entry.project):
            if (
                since.get(("all", project, ""), -1.0) >= at
                or since.get(("release", project, entry.release), -1.0) >= at
                or since.get(("service", project, entry.service), -1.0) >= at
                or since.get(("key", project, entry.key.hex()), -1.0) >= at
                or (entry.subject and since.get(("subject", project, entry.subject), -1.0) >= at)
                or any(since.get(("tag", project, tag), -1.0) >= at for tag in entry.tags)
            ):
                return True
        return since.get(("project", "", entry.project), -1.0) >= at or (
            since.get(("project", entry.project, entry.project), -1.0) >= at
        )

    def newest(self, *, project: str, service: str, release: str, tags: Iterable[str] = (), key: str = "") -> float:
        """Since when all that these have is not to be served, whatever else it is of: seconds since the epoch, -1: no
        such invalidation holds. ``key``: of 40 digits; empty: none."""
        if not self._since:
            return -1.0
        of_these = [("all", ""), ("release", release), ("service", service), ("project", project), ("key", key)]
        of_these += [("tag", tag) for tag in tags]
        names = [(scope, of, value) for of in ("", project) for scope, value in of_these]
        return max(self._since.get(name, -1.0) for name in names)

    def forgets(self, subject: str, at: float) -> bool:
        """Whether what was made at ``at`` for a person, empty: nobody, is not to be kept, in whichever project."""
        if self._since.get(("all", "", ""), -1.0) >= at:
            return True
        return bool(subject) and self._people.get(subject, -1.0) >= at

    def since(self, wall: float) -> Invalidations:
        """Those of ``wall`` (seconds since the epoch) and later: the rest is forgotten once no entry lives that
        long."""
        return Invalidations(record for record in self.records if record.at >= wall)
