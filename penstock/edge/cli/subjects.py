"""``penstock subjects``: people, by the ids that clients send."""

from __future__ import annotations

import click

from penstock.control.observed.views import SubjectErased, SubjectView
from penstock.edge.cli.desk import Desk, at_gateway, sure, yes
from penstock.edge.cli.showing import line_of, note, time_of


@click.group()
def subjects() -> None:
    """See what is kept of a person, and erase it.

    A subject is what clients send as `user` or `safety_identifier`.

    \b
    penstock subjects show customer-4711
    penstock subjects erase customer-4711
    """


@subjects.command()
@click.argument("id_", metavar="ID")
@click.option("--project", help="Only of this project.")
@at_gateway
def show(desk: Desk, id_: str, project: str | None) -> None:
    """Show how much is kept of a person."""
    told = desk.ask.one("subjects.get", SubjectView, id_, query={"project": project})
    view = told.value
    span = f", from {time_of(view.first_at)} to {time_of(view.last_at)}" if view.first_at is not None else ""
    caches = "Caches are not looked through; `penstock subjects erase` ends what they serve of it."
    if view.invalidated_at is not None:
        caches = f"Caches serve nothing that was made for it until {time_of(view.invalidated_at)}."
    desk.tell(told, line_of(f"{view.id}: {_counts(view)}{span}. {caches}"))


@subjects.command()
@click.argument("id_", metavar="ID")
@click.option("--project", help="Only of this project.")
@yes
@at_gateway
def erase(desk: Desk, id_: str, project: str | None, yes: bool) -> None:
    """Erase what was said by and to a person, its feedback, and its id in the log. Caches serve nothing more of what
    was made for it. The audit notes a hash of the id.

    Usage, costs and charts stay: they never had the id. It cannot be undone.
    """
    where = f" in the project {project}" if project else ""
    sure(f"Erase what is kept of {line_of(id_)}{where}, for good?", yes)
    told = desk.ask.one("subjects.erase", SubjectErased, id_, query={"project": project})
    view = told.value
    days = f"; {view.archived_days} days of the archive were written anew" if view.archived_days else ""
    caches = f"Caches serve nothing that was made for it until {time_of(view.invalidated_at)}."
    desk.tell(told, line_of(f"Erased of {view.id}: {_counts(view)}{days}. {caches}"))
    if view.untold:
        note(
            f"These gateways have not yet told of all that they have seen: {line_of(', '.join(view.untold))}. Erase "
            "once more when they have."
        )


def _counts(view: SubjectView | SubjectErased) -> str:
    return f"{view.requests:,} requests, {view.contents:,} contents, {view.feedback:,} scores and feedback"
