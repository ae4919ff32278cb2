"""Every operation of the admin API, in one table: the routes, their permissions, the description, the reference page
and the command line are drawn from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from penstock.access.price_form import PriceForm
from penstock.control.accounts import audit, budgets, keys, limits, prices, projects, roles, teams, usage, users
from penstock.control.accounts.turn import Gone, Outcome, Turn
from penstock.core.accounts import Directory
from penstock.core.administration import Ask
from penstock.store import AuditStore, LedgerStore


class Sources(msgspec.Struct, frozen=True):
    """What can be read. ``directory`` is looked up when it is called."""

    directory: Callable[[], Directory]
    ledger: LedgerStore
    audit: AuditStore


Reads = Callable[[Sources, Turn, Any, Ask], msgspec.Struct]
Writes = Callable[[Directory, Turn, Any], Outcome]


class Parameter(msgspec.Struct, frozen=True):
    """Something that the query may say; ``type`` is a word of JSON Schema."""

    name: str
    about: str
    type: Literal["string", "integer"] = "string"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """``path`` may hold ``{id}``. Any one of ``permissions`` is enough; ``everywhere``: only of an actor that
    administers the whole gateway. ``request`` is the struct of the body, None: there is none; ``optional``: it may be
    left out. ``answer`` is that of the reply, of one row where it is ``listed``, None: it is a file. One of ``reads``
    and ``writes`` carries it out, but for a file. Only what ``writes`` heeds an ``idempotency-key``."""

    name: str
    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    permissions: tuple[str, ...]
    summary: str
    everywhere: bool = False
    request: type[msgspec.Struct] | None = None
    optional: bool = False
    answer: type[msgspec.Struct] | None = None
    listed: bool = False
    query: tuple[Parameter, ...] = ()
    status: int = 200
    reads: Reads | None = None
    writes: Writes | None = None


BASE = "/admin/v1"

_PAGES = (
    Parameter("limit", "How much a page holds, 1 to 200. Default: 50.", "integer"),
    Parameter("after", "`next` of the page before."),
)
_PROJECT = Parameter("project", "Only of this project.")
_SPAN = (
    Parameter("since", "From this time on: a day (UTC), an RFC 3339 time, or seconds since 1970."),
    Parameter("until", "Before this time."),
)
_USAGE = (
    *_SPAN,
    _PROJECT,
    Parameter("team", "Only of this team."),
    Parameter("user", "Only of this user."),
    Parameter("key", "Only of the key of this id."),
    Parameter("service", "Only at this service."),
    Parameter("model", "Only by this model."),
    Parameter("purpose", "`client`, or `internal` for what the gateway asked for itself. Default: both."),
)


def _of_directory(run: Callable[[Directory, Turn, None], msgspec.Struct]) -> Reads:
    return lambda sources, turn, _, __: run(sources.directory(), turn, None)


def _of_ledger(run: Callable[[LedgerStore, Turn], msgspec.Struct]) -> Reads:
    return lambda sources, turn, _, __: run(sources.ledger, turn)


def _budget(sources: Sources, turn: Turn, _: object, __: Ask) -> msgspec.Struct:
    return budgets.with_spent(budgets.one(sources.directory(), turn, None), turn.now, sources.ledger.spent)


def _budgets(sources: Sources, turn: Turn, _: object, __: Ask) -> msgspec.Struct:
    return budgets.page_with_spent(budgets.listed(sources.directory(), turn, None), turn.now, sources.ledger.spent)


def _list(
    what: str, answer: type[msgspec.Struct], run: Reads, *query: Parameter, about: str = "", path: str = ""
) -> Operation:
    return Operation(
        name=f"{what}.list",
        method="GET",
        path=f"{BASE}/{path or what}",
        permissions=(f"{what}:read",),
        summary=about or f"The {what} that the key may see, by id",
        answer=answer,
        listed=True,
        query=(*query, *_PAGES),
        reads=run,
    )


def _get(what: str, one: str, answer: type[msgspec.Struct], run: Reads) -> Operation:
    return Operation(
        name=f"{what}.get",
        method="GET",
        path=f"{BASE}/{what}/{{id}}",
        permissions=(f"{what}:read",),
        summary=f"One {one}",
        answer=answer,
        reads=run,
    )


def _create(
    what: str,
    one: str,
    request: type[msgspec.Struct],
    answer: type[msgspec.Struct],
    run: Writes,
    *,
    everywhere: bool = False,
    summary: str = "",
) -> Operation:
    return Operation(
        name=f"{what}.create",
        method="POST",
        path=f"{BASE}/{what}",
        permissions=(f"{what}:write",),
        summary=summary or f"Make a {one}",
        everywhere=everywhere,
        request=request,
        answer=answer,
        status=201,
        writes=run,
    )


def _change(
    what: str,
    one: str,
    request: type[msgspec.Struct],
    answer: type[msgspec.Struct],
    run: Writes,
    *,
    everywhere: bool = False,
) -> Operation:
    return Operation(
        name=f"{what}.change",
        method="PATCH",
        path=f"{BASE}/{what}/{{id}}",
        permissions=(f"{what}:write",),
        summary=f"Change a {one}",
        everywhere=everywhere,
        request=request,
        answer=answer,
        writes=run,
    )


def _delete(what: str, one: str, run: Writes, *, everywhere: bool = False) -> Operation:
    return Operation(
        name=f"{what}.delete",
        method="DELETE",
        path=f"{BASE}/{what}/{{id}}",
        permissions=(f"{what}:write",),
        summary=f"Remove a {one}",
        everywhere=everywhere,
        answer=Gone,
        writes=run,
    )


def _act(
    what: str,
    verb: str,
    summary: str,
    answer: type[msgspec.Struct],
    run: Writes,
    *,
    request: type[msgspec.Struct] | None = None,
    everywhere: bool = False,
) -> Operation:
    return Operation(
        name=f"{what}.{verb}",
        method="POST",
        path=f"{BASE}/{what}/{{id}}/{verb}",
        permissions=(f"{what}:write",),
        summary=summary,
        everywhere=everywhere,
        request=request,
        optional=True,
        answer=answer,
        writes=run,
    )


_KIND = Parameter("kind", "Only on this kind: key, user, team, project, service or global.")
_SUBJECT = Parameter("subject", "Only on the one of this id or name.")

OPERATIONS: tuple[Operation, ...] = (
    _list("projects", projects.ProjectView, _of_directory(projects.listed)),
    _create("projects", "project", projects.CreateProject, projects.ProjectView, projects.create, everywhere=True),
    _get("projects", "project", projects.ProjectView, _of_directory(projects.one)),
    _change("projects", "project", projects.ChangeProject, projects.ProjectView, projects.change),
    _act(
        "projects",
        "archive",
        "Refuse the keys of a project from now on; its ledger stays",
        projects.ProjectView,
        projects.archive,
        everywhere=True,
    ),
    _act("projects", "restore", "Undo its archiving", projects.ProjectView, projects.restore, everywhere=True),
    _list("teams", teams.TeamView, _of_directory(teams.listed), _PROJECT),
    _create("teams", "team", teams.CreateTeam, teams.TeamView, teams.create),
    _get("teams", "team", teams.TeamView, _of_directory(teams.one)),
    _change("teams", "team", teams.ChangeTeam, teams.TeamView, teams.change),
    _delete("teams", "team", teams.delete),
    _list("users", users.UserView, _of_directory(users.listed), _PROJECT),
    _create(
        "users", "user", users.CreateUser, users.UserView, users.create, summary="Make a person or a service account"
    ),
    _get("users", "user", users.UserView, _of_directory(users.one)),
    _change("users", "user", users.ChangeUser, users.UserView, users.change),
    _list(
        "keys",
        keys.KeyView,
        _of_directory(keys.listed),
        _PROJECT,
        Parameter("user", "Only those that act for this user."),
        Parameter("team", "Only of this team."),
        Parameter("role", "Only of this role."),
    ),
    _create(
        "keys",
        "key",
        keys.CreateKey,
        keys.KeySecret,
        keys.create,
        summary="Make a key; its secret is told once",
    ),
    _get("keys", "key", keys.KeyView, _of_directory(keys.one)),
    _change("keys", "key", keys.ChangeKey, keys.KeyView, keys.change),
    _act(
        "keys",
        "rotate",
        "Give a key a new secret; the one before works for a while",
        keys.KeySecret,
        keys.rotate,
        request=keys.RotateKey,
    ),
    _act("keys", "revoke", "Refuse a key from now on, for good", keys.KeyView, keys.revoke),
    _list("roles", roles.RoleView, _of_directory(roles.listed), about="The roles and their permissions, by name"),
    _create("roles", "role", roles.CreateRole, roles.RoleView, roles.create, everywhere=True),
    _get("roles", "role", roles.RoleView, _of_directory(roles.one)),
    _change("roles", "role", roles.ChangeRole, roles.RoleView, roles.change, everywhere=True),
    _delete("roles", "role", roles.delete, everywhere=True),
    _list("limits", limits.LimitView, _of_directory(limits.listed), _KIND, _SUBJECT),
    _create("limits", "limit", limits.CreateLimit, limits.LimitView, limits.create, summary="Set a limit"),
    _get("limits", "limit", limits.LimitView, _of_directory(limits.one)),
    _change("limits", "limit", limits.ChangeLimit, limits.LimitView, limits.change),
    _delete("limits", "limit", limits.delete),
    _list("budgets", budgets.BudgetView, _budgets, _KIND, _SUBJECT),
    _create("budgets", "budget", budgets.CreateBudget, budgets.BudgetView, budgets.create, summary="Set a budget"),
    _get("budgets", "budget", budgets.BudgetView, _budget),
    _change("budgets", "budget", budgets.ChangeBudget, budgets.BudgetView, budgets.change),
    _delete("budgets", "budget", budgets.delete),
    _list(
        "prices",
        prices.PriceView,
        _of_directory(prices.listed),
        Parameter("model", "Only of this model."),
        about="The prices that were set here, by model and time",
    ),
    _create(
        "prices",
        "price",
        PriceForm,
        prices.PriceView,
        prices.put,
        everywhere=True,
        summary="Set the price of a model from a time on, in place of the one since the same time",
    ),
    _get("prices", "price", prices.PriceView, _of_directory(prices.one)),
    _delete("prices", "price", prices.delete, everywhere=True),
    Operation(
        name="usage.sums",
        method="GET",
        path=f"{BASE}/usage",
        permissions=("usage:read", "usage:own"),
        summary="What was used and paid, added up",
        answer=usage.SumView,
        listed=True,
        query=(
            Parameter("by", "Group by these, with commas: project, team, user, key, service, model, day, hour."),
            *_USAGE,
            Parameter("limit", "How much a page holds, 1 to 1000. Default: 50.", "integer"),
            _PAGES[1],
        ),
        reads=_of_ledger(usage.sums),
    ),
    Operation(
        name="usage.entries",
        method="GET",
        path=f"{BASE}/usage/entries",
        permissions=("usage:read", "usage:own"),
        summary="The rows of the ledger, oldest first",
        answer=usage.EntryView,
        listed=True,
        query=(*_USAGE, *_PAGES),
        reads=_of_ledger(usage.entries),
    ),
    Operation(
        name="usage.export",
        method="GET",
        path=f"{BASE}/usage/export",
        permissions=("usage:read", "usage:own"),
        summary="The rows of the ledger as a file",
        query=(Parameter("format", "`csv` or `parquet`. Default: `csv`."), *_USAGE),
    ),
    Operation(
        name="usage.request",
        method="GET",
        path="/v1/usage/{id}",
        permissions=("usage:read", "usage:own"),
        summary="What one request used and cost",
        answer=usage.RequestUsage,
        reads=_of_ledger(usage.request),
    ),
    Operation(
        name="audit.list",
        method="GET",
        path=f"{BASE}/audit",
        permissions=("audit:read",),
        summary="What was done, newest first",
        answer=audit.RowView,
        listed=True,
        query=(
            *_SPAN,
            _PROJECT,
            Parameter("actor", "Only by the key of this id."),
            Parameter("action", "Only this action; `keys.*`: all that begin so."),
            Parameter("kind", "`administrative`, or `content` for prompts and replies. Default: both."),
            Parameter("request_id", "Only of this request."),
            *_PAGES,
        ),
        reads=lambda sources, turn, _, __: audit.listed(sources.audit, turn),
    ),
    Operation(
        name="audit.head",
        method="GET",
        path=f"{BASE}/audit/head",
        permissions=("audit:verify",),
        summary="A signed statement of how the audit ends now, to keep elsewhere",
        everywhere=True,
        answer=audit.HeadView,
        reads=lambda sources, turn, _, __: audit.head(sources.audit),
    ),
    Operation(
        name="audit.verify",
        method="POST",
        path=f"{BASE}/audit/verify",
        permissions=("audit:verify",),
        summary="Whether anything in the audit was changed, removed or cut off",
        everywhere=True,
        request=audit.Verify,
        optional=True,
        answer=audit.Verified,
        reads=lambda sources, turn, asked, __: audit.verify(sources.audit, asked),
    ),
    Operation(
        name="audit.redact",
        method="POST",
        path=f"{BASE}/audit/redact",
        permissions=("audit:redact",),
        summary="Empty the content of rows of the audit for good; that they were there stays",
        request=audit.Redact,
        answer=audit.Redacted,
        reads=lambda sources, turn, asked, ask: audit.redact(sources.audit, turn, asked, ask),
    ),
)

BY_NAME: Mapping[str, Operation] = MappingProxyType({each.name: each for each in OPERATIONS})
