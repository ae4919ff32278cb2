"""The admin API in the OpenAPI description, from the table that it is served from."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from penstock.control.accounts.operation import Operation
from penstock.control.accounts.operations import OPERATIONS

Json = dict[str, object]
Refused = Callable[..., Json]

STRUCTS: tuple[type[msgspec.Struct], ...] = tuple(
    dict.fromkeys(
        struct for operation in OPERATIONS for struct in (operation.request, operation.answer) if struct is not None
    )
)
"""Those that the paths refer to."""

_ERRORS = ("400", "401", "403", "404", "500", "503")
_WRITE_ERRORS = (*_ERRORS, "408", "409", "413", "415")

_ID: Json = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "minLength": 1},
}
# `listModels` is what clients know as /v1/models.
_IDS = {"models": "ModelVersions", "prompts": "PromptVersions"}
_ONCE: Json = {
    "name": "idempotency-key",
    "in": "header",
    "required": False,
    "description": "Carried out once under this key; sent again within a day, the first answer comes again.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}


def paths(refused: Refused) -> Json:
    """``refused`` gives the responses of some statuses that are errors."""
    found: dict[str, Json] = {}
    for operation in OPERATIONS:
        found.setdefault(operation.path, {})[operation.method.lower()] = _described(operation, refused)
    return dict(found)


def _described(operation: Operation, refused: Refused) -> Json:
    word, _, verb = operation.name.partition(".")
    errors = _ERRORS if operation.method == "GET" else _WRITE_ERRORS
    described: Json = {
        "operationId": verb + _IDS.get(word, word.capitalize()),
        "summary": operation.summary,
        "description": _permitted(operation),
        "tags": [word],
        "responses": {str(operation.status): _answered(operation), **refused(*errors)},
    }
    parameters = [_ID] if "{id}" in operation.path else []
    parameters += [
        {
            "name": each.name,
            "in": "query",
            "required": False,
            "description": each.about,
            "schema": {"type": each.type},
        }
        for each in operation.query
    ]
    if operation.method == "POST" and operation.writes is not None:
        parameters.append(_ONCE)
    if parameters:
        described["parameters"] = parameters
    if operation.request is not None:
        described["requestBody"] = {
            "required": not operation.optional,
            "content": {"application/json": {"schema": _ref(operation.request)}},
        }
    return described


def _permitted(operation: Operation) -> str:
    wanted = " or ".join(f"`{permission}`" for permission in operation.permissions)
    return f"Permission: {wanted}{', for the whole gateway' if operation.everywhere else ''}."


def _answered(operation: Operation) -> Json:
    if operation.answer is None:
        file: Json = {"schema": {"type": "string", "format": "binary"}}
        return {
            "description": "The file",
            "content": {"text/csv": {"schema": {"type": "string"}}, "application/vnd.apache.parquet": file},
        }
    schema = _page(operation.answer) if operation.listed else _ref(operation.answer)
    return {"description": "The answer", "content": {"application/json": {"schema": schema}}}


def _page(of: type[msgspec.Struct]) -> Json:
    return {
        "type": "object",
        "required": ["object", "data", "has_more", "next"],
        "properties": {
            "object": {"type": "string", "const": "list"},
            "data": {"type": "array", "items": _ref(of)},
            "has_more": {"type": "boolean"},
            "next": {"type": ["string", "null"], "description": "The `after` of the page that follows."},
        },
    }


def _ref(of: type[msgspec.Struct]) -> Json:
    return {"$ref": f"#/components/schemas/{of.__name__}"}
