"""Every operation of the admin API, in one table: the routes, their permissions, the description, the reference page
and the command line are drawn from it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from penstock.access.price_form import PriceForm
from penstock.control.accounts import (
    audit,
    budgets,
    deployment,
    keys,
    limits,
    prices,
    projects,
    roles,
    teams,
    usage,
    users,
)
from penstock.control.accounts.caches import CACHES
from penstock.control.accounts.operation import (
    BASE,
    PAGES,
    Operation,
    Parameter,
    Sources,
    acting,
    changing,
    creating,
    getting,
    listing,
    of_directory,
    of_ledger,
    removing,
)
from penstock.control.accounts.release_operations import RELEASED
from penstock.control.accounts.rollout_operations import ROLLED
from penstock.control.accounts.turn import Turn
from penstock.control.observed.operations import OBSERVED
from penstock.core.administration import Ask

__all__ = ["BASE", "BY_NAME", "OPERATIONS", "Operation", "Parameter"]

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
    Parameter("release", "Only of requests that were assigned this release."),
    Parameter("purpose", "`client`, or `internal` for what the gateway asked for itself. Default: both."),
)


def _budget(sources: Sources, turn: Turn, _: object, __: Ask) -> msgspec.Struct:
    return budgets.with_spent(budgets.one(sources.directory(), turn, None), turn.now, sources.ledger.spent)


def _budgets(sources: Sources, turn: Turn, _: object, __: Ask) -> msgspec.Struct:
    return budgets.page_with_spent(budgets.listed(sources.directory(), turn, None), turn.now, sources.ledger.spent)


_KIND = Parameter("kind", "Only on this kind: key, user, team, project, service or global.")
_SUBJECT = Parameter("subject", "Only on the one of this id or name.")

OPERATIONS: tuple[Operation, ...] = (
    listing("projects", projects.ProjectView, of_directory(projects.listed)),
    creating("projects", "project", projects.CreateProject, projects.ProjectView, projects.create, everywhere=True),
    getting("projects", "project", projects.ProjectView, of_directory(projects.one)),
    changing("projects", "project", projects.ChangeProject, projects.ProjectView, projects.change),
    acting(
        "projects",
        "archive",
        "Refuse the keys of a project from now on; its ledger stays",
        projects.ProjectView,
        projects.archive,
        everywhere=True,
    ),
    acting("projects", "restore", "Undo its archiving", projects.ProjectView, projects.restore, everywhere=True),
    listing("teams", teams.TeamView, of_directory(teams.listed), _PROJECT),
    creating("teams", "team", teams.CreateTeam, teams.TeamView, teams.create),
    getting("teams", "team", teams.TeamView, of_directory(teams.one)),
    changing("teams", "team", teams.ChangeTeam, teams.TeamView, teams.change),
    removing("teams", "team", teams.delete),
    listing("users", users.UserView, of_directory(users.listed), _PROJECT),
    creating(
        "users", "user", users.CreateUser, users.UserView, users.create, summary="Make a person or a service account"
    ),
    getting("users", "user", users.UserView, of_directory(users.one)),
    changing("users", "user", users.ChangeUser, users.UserView, users.change),
    listing(
        "keys",
        keys.KeyView,
        of_directory(keys.listed),
        _PROJECT,
        Parameter("user", "Only those that act for this user."),
        Parameter("team", "Only of this team."),
        Parameter("role", "Only of this role."),
    ),
    creating(
        "keys",
        "key",
        keys.CreateKey,
        keys.KeySecret,
        keys.create,
        summary="Make a key; its secret is told once",
    ),
    getting("keys", "key", keys.KeyView, of_directory(keys.one)),
    changing("keys", "key", keys.ChangeKey, keys.KeyView, keys.change),
    acting(
        "keys",
        "rotate",
        "Give a key a new secret; the one before works for a while",
        keys.KeySecret,
        keys.rotate,
        request=keys.RotateKey,
    ),
    acting("keys", "revoke", "Refuse a key from now on, for good", keys.KeyView, keys.revoke),
    listing("roles", roles.RoleView, of_directory(roles.listed), about="The roles and their permissions, by name"),
    creating("roles", "role", roles.CreateRole, roles.RoleView, roles.create, everywhere=True),
    getting("roles", "role", roles.RoleView, of_directory(roles.one)),
    changing("roles", "role", roles.ChangeRole, roles.RoleView, roles.change, everywhere=True),
    removing("roles", "role", roles.delete, everywhere=True),
    listing("limits", limits.LimitView, of_directory(limits.listed), _KIND, _SUBJECT),
    creating("limits", "limit", limits.CreateLimit, limits.LimitView, limits.create, summary="Set a limit"),
    getting("limits", "limit", limits.LimitView, of_directory(limits.one)),
    changing("limits", "limit", limits.ChangeLimit, limits.LimitView, limits.change),
    removing("limits", "limit", limits.delete),
    listing("budgets", budgets.BudgetView, _budgets, _KIND, _SUBJECT),
    creating("budgets", "budget", budgets.CreateBudget, budgets.BudgetView, budgets.create, summary="Set a budget"),
    getting("budgets", "budget", budgets.BudgetView, _budget),
    changing("budgets", "budget", budgets.ChangeBudget, budgets.BudgetView, budgets.change),
    removing("budgets", "budget", budgets.delete),
    listing(
        "prices",
        prices.PriceView,
        of_directory(prices.listed),
        Parameter("model", "Only of this model."),
        about="The prices that were set here, by model and time",
    ),
    creating(
        "prices",
        "price",
        PriceForm,
        prices.PriceView,
        prices.put,
        everywhere=True,
        summary="Set the price of a model from a time on, in place of the one since the same time",
    ),
    getting("prices", "price", prices.PriceView, of_directory(prices.one)),
    removing("prices", "price", prices.delete, everywhere=True),
    *RELEASED,
    *ROLLED,
    *CACHES,
    *OBSERVED,
    Operation(
        name="deployment.get",
        method="GET",
        path=f"{BASE}/deployment",
        permissions=("deployment:read",),
        everywhere=True,
        summary="The deployment file as it is served, with what the schema says of its keys",
        answer=deployment.DeploymentView,
        reads=lambda sources, _, __, ___: deployment.shown(sources.deployment),
    ),
    Operation(
        name="deployment.pending",
        method="GET",
        path=f"{BASE}/deployment/pending",
        permissions=("deployment:read",),
        everywhere=True,
        summary="What reading the deployment file again would change; nothing is applied",
        answer=deployment.PendingView,
        reads=lambda sources, _, __, ___: deployment.pending(sources.deployment),
    ),
    Operation(
        name="usage.sums",
        method="GET",
        path=f"{BASE}/usage",
        permissions=("usage:read", "usage:own"),
        summary="What was used and paid, added up",
        answer=usage.SumView,
        listed=True,
        query=(
            Parameter(
                "by", "Group by these, with commas: project, team, user, key, service, model, release, day, hour."
            ),
            *_USAGE,
            Parameter("limit", "How much a page holds, 1 to 1000. Default: 50.", "integer"),
            PAGES[1],
        ),
        reads=of_ledger(usage.sums),
    ),
    Operation(
        name="usage.entries",
        method="GET",
        path=f"{BASE}/usage/entries",
        permissions=("usage:read", "usage:own"),
        summary="The rows of the ledger, oldest first",
        answer=usage.EntryView,
        listed=True,
        query=(*_USAGE, *PAGES),
        reads=of_ledger(usage.entries),
    ),
    Operation(
        name="usage.export",
        method="GET",
        path=f"{BASE}/usage/export",
        permissions=("usage:read", "usage:own"),
        summary="The rows of the ledger as a file",
        query=(
            Parameter("format", "`csv` or `parquet`. Default: `csv`."),
            *_USAGE,
            Parameter("after", "Only rows after this place, as `next` of a page of them has it."),
        ),
    ),
    Operation(
        name="usage.request",
        method="GET",
        path="/v1/usage/{id}",
        permissions=("usage:read", "usage:own"),
        summary="What one request used and cost",
        answer=usage.RequestUsage,
        reads=of_ledger(usage.request),
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
            *PAGES,
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
