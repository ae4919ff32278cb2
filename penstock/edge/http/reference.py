"""The reference pages of the admin API: every operation, and which role may do what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from penstock.access.roles import BUILTIN, PERMISSIONS
from penstock.control.accounts.operation import Operation
from penstock.control.accounts.operations import OPERATIONS
from penstock.edge.http.routes import Needs, Route

_PERMISSIONS = """\
# Permissions

{note}
Every route, and who may use it. `own`: with a key of one project, for what belongs to that project; a key for the
whole gateway may so for all projects. `all`: only with a key for the whole gateway. Routes without a key are open to
everybody who can reach the gateway.

What a key of one project may not see is answered as if it did not exist. Limits and budgets on a project itself, on
a service or on everything are set with a key for the whole gateway; a project sets them on its own keys, users and
teams. Nobody gives a role, or a key, that may more than they do.

| method | route | permission | {roles} |
| --- | --- | --- | {dashes} |
"""

_ADMIN = """\
# The admin API

{note}
JSON over HTTP, with a key whose role has the permission: see [permissions](permissions.md). `GET /openapi.json` has
the same for programs, and `penstock keys`, `projects`, `users`, `roles`, `limits`, `budgets`, `prices`, `usage`,
`audit`, `models`, `prompts`, `release` and `rollout` are these calls on the command line.

Lists come in pages, `{{"object": "list", "data": [...], "has_more": true, "next": "..."}}`: send `next` as `after`
for the page that follows. Times are in seconds since 1970 in answers; in requests RFC 3339 does as well. Money is in
US dollars, as decimal text. A POST with the header `idempotency-key` is carried out once: sent again within a day it
gets the first answer, with `idempotent-replayed: true`; another request under the same key is refused. A query
parameter or a field that is not known is refused, with the nearest name.
"""


def permissions_page(routes: Iterable[Route], note: str) -> str:
    """A row for each method of each route."""
    roles = list(BUILTIN)
    lines = [
        _PERMISSIONS.format(note=note, roles=" | ".join(roles), dashes=" | ".join("---" for _ in roles)).rstrip()
    ]
    for route in routes:
        for method in route.endpoints:
            needs = route.needs[method]
            wanted = " or ".join(f"`{permission}`" for permission in needs.permissions) or "no key"
            cells = " | ".join(_may(role, needs) for role in roles)
            lines.append(f"| {method} | `{route.path}` | {wanted} | {cells} |")
    lines += ["", "## What each permission allows", "", "| permission | |", "| --- | --- |"]
    lines += [f"| `{name}` | {about} |" for name, about in PERMISSIONS.items()]
    lines += ["", "## Roles", "", "| role | |", "| --- | --- |"]
    lines += [f"| `{role.name}` | {role.description} |" for role in BUILTIN.values()]
    return "\n".join(lines) + "\n"


def admin_page(note: str) -> str:
    """Every operation, by resource, with its query, its body and its answer."""
    lines = [_ADMIN.format(note=note).rstrip(), "", "| | | |", "| --- | --- | --- |"]
    lines += [f"| {each.method} | `{each.path}` | {each.summary} |" for each in OPERATIONS]
    resource, told = "", set[type[msgspec.Struct]]()
    for operation in OPERATIONS:
        if operation.name.partition(".")[0] != resource:
            resource = operation.name.partition(".")[0]
            lines += ["", f"## {resource.capitalize()}"]
        lines += _described(operation)
        if operation.answer is not None:
            lines += _answered(operation, operation.answer in told)
            told.add(operation.answer)
    return "\n".join(lines) + "\n"


def _may(role: str, needs: Needs) -> str:
    if not needs.permissions:
        return "open"
    if not set(needs.permissions) & set(BUILTIN[role].permissions):
        return ""
    return "all" if needs.everywhere else "own"


def _described(operation: Operation) -> Iterator[str]:
    yield from ("", f"### {operation.method} {operation.path}", "", f"{operation.summary}.")
    wanted = " or ".join(f"`{permission}`" for permission in operation.permissions)
    yield from ("", f"Permission: {wanted}{', for the whole gateway' if operation.everywhere else ''}.")
    if operation.query:
        yield from ("", "| query | |", "| --- | --- |")
        yield from (f"| `{each.name}` | {each.about} |" for each in operation.query)
    if operation.request is not None:
        left_out = " It may be left out." if operation.optional else ""
        yield from (
            "",
            f"Body: {_about(operation.request)}{left_out}",
            "",
            "| field | | default |",
            "| --- | --- | --- |",
        )
        yield from _fields(operation.request)


def _answered(operation: Operation, known: bool) -> Iterator[str]:
    of = operation.answer
    assert of is not None
    shown = "a page of these" if operation.listed else f"one of these, {operation.status}"
    if known:
        yield from ("", f"Answer: {shown}: {_named(of)}.")
        return
    fields = ", ".join(f"`{field.encode_name}`" for field in msgspec.structs.fields(of))
    yield from ("", f"Answer: {shown}: {_named(of)}. {_about(of)}", "", f"Its fields: {fields}.")


def _named(of: type[msgspec.Struct]) -> str:
    """What `object` says of it."""
    names = {field.name: field.default for field in msgspec.structs.fields(of)}
    return f"`{names['object']}`" if isinstance(names.get("object"), str) else "the thing that is gone"


def _fields(of: type[msgspec.Struct]) -> Iterator[str]:
    for field in msgspec.structs.fields(of):
        if field.required:
            default = "required"
        elif field.default in (msgspec.UNSET, msgspec.NODEFAULT):
            default = "it stays"
        else:
            default = f"`{msgspec.json.encode(field.default).decode()}`"
        yield f"| `{field.encode_name}` | {_kind(field.type)} | {default} |"


def _kind(of: object) -> str:
    """What JSON a field holds, in a few words."""
    schema = msgspec.json.schema_components([of], ref_template="#/{name}")[0][0]
    return _worded(schema).replace("|", "\\|")


def _worded(schema: dict[str, object]) -> str:
    match schema:
        case {"anyOf": list(options)}:
            return " or ".join(dict.fromkeys(_worded(option) for option in options))
        case {"enum": list(values)}:
            return ", ".join(f"`{msgspec.json.encode(value).decode()}`" for value in values)
        case {"$ref": str(name)}:
            return f"a {name.removeprefix('#/')}"
        case {"type": "array", "items": dict(items)}:
            return f"list of: {_worded(items)}"
        case {"format": str(form)}:
            return f"text, {form}"
        case {"type": str(kind)}:
            return {"string": "text", "boolean": "true or false"}.get(kind, kind)
    return "anything"


def _about(of: type[msgspec.Struct]) -> str:
    return " ".join((of.__doc__ or "").replace("``", "`").split())
