"""/openapi.json: every route, described from the same structs that check its requests."""

from __future__ import annotations

from importlib.metadata import version

import msgspec

from penstock.core.errors import ErrorEnvelope
from penstock.edge.http import openapi_admin
from penstock.edge.http.dialects.chat import ChatRequest
from penstock.edge.http.dialects.completions import CompletionRequest
from penstock.edge.http.dialects.embeddings import EmbeddingRequest
from penstock.edge.http.dialects.models import Model, ModelList
from penstock.edge.http.dialects.responses.request import ResponseRequest
from penstock.edge.http.feedback import FeedbackRequest, FeedbackTaken
from penstock.edge.http.health import Health, Ready

Json = dict[str, object]

_STRUCTS = (
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    ResponseRequest,
    FeedbackRequest,
    FeedbackTaken,
    Model,
    ModelList,
    Health,
    Ready,
    ErrorEnvelope,
    *openapi_admin.STRUCTS,
)

_ERRORS = {
    "400": "The request is at fault; `param` names the field.",
    "401": "No API key, or a wrong one.",
    "403": "The key may not do this, or not use this model.",
    "404": "There is no such thing, or model, that the key may see.",
    "408": "The request body stopped arriving.",
    "409": "What is there already stands in the way, or the `idempotency-key` was sent with another request.",
    "413": "The request body is too large.",
    "415": "The request body is not JSON.",
    "429": "A limit was reached; `retry-after` tells when to come back.",
    "500": "A fault of the gateway; its log tells more under the request id.",
    "502": "The engine failed.",
    "503": "No replica is ready, or the gateway is stopping.",
    "504": "The engine took too long.",
}
_CALL_ERRORS = tuple(status for status in _ERRORS if status != "409")
_GET_ERRORS = ("401", "403", "404", "500")
_FEEDBACK_ERRORS = ("400", "401", "403", "408", "413", "415", "429", "500", "503")

# A chat completion and the like come from the engine as they are, so only what the gateway answers for is said.
_ANSWERS: Json = {
    "ChatCompletion": {
        "type": "object",
        "required": ["id", "object", "model", "choices"],
        "properties": {
            "id": {"type": "string"},
            "object": {"type": "string", "const": "chat.completion"},
            "model": {"type": "string", "description": "The name of the service."},
            "choices": {"type": "array", "items": {"type": "object"}},
            "usage": {"$ref": "#/components/schemas/Usage"},
        },
    },
    "Completion": {
        "type": "object",
        "required": ["id", "object", "model", "choices"],
        "properties": {
            "id": {"type": "string"},
            "object": {"type": "string", "const": "text_completion"},
            "model": {"type": "string", "description": "The name of the service."},
            "choices": {"type": "array", "items": {"type": "object"}},
            "usage": {"$ref": "#/components/schemas/Usage"},
        },
    },
    "Embeddings": {
        "type": "object",
        "required": ["object", "model", "data"],
        "properties": {
            "object": {"type": "string", "const": "list"},
            "model": {"type": "string", "description": "The name of the service."},
            "data": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["embedding", "index", "object"],
                    "properties": {
                        "embedding": {
                            "description": "Numbers, or base64 of little-endian 32-bit floats when asked for.",
                            "anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "string"}],
                        },
                        "index": {"type": "integer"},
                        "object": {"type": "string", "const": "embedding"},
                    },
                },
            },
            "usage": {"$ref": "#/components/schemas/Usage"},
        },
    },
    "Response": {
        "type": "object",
        "required": ["id", "object", "created_at", "status", "model", "output", "store"],
        "properties": {
            "id": {"type": "string"},
            "object": {"type": "string", "const": "response"},
            "created_at": {"type": "integer"},
            "status": {"type": "string", "enum": ["completed", "incomplete", "failed", "in_progress"]},
            "model": {"type": "string"},
            "output": {"type": "array", "items": {"type": "object"}},
            "store": {"type": "boolean", "const": False, "description": "Nothing is stored."},
        },
    },
    "Usage": {
        "type": ["object", "null"],
        "properties": {
            "prompt_tokens": {"type": "integer"},
            "completion_tokens": {"type": "integer"},
            "total_tokens": {"type": "integer"},
        },
    },
}

_EVENT: Json = {
    "type": "object",
    "description": "With `stream` true: events, each with a JSON text as its data. Comments may come between.",
    "required": ["data"],
    "properties": {"data": {"type": "string"}, "event": {"type": "string"}},
}


def document() -> bytes:
    """The OpenAPI 3.1 document as JSON."""
    _, components = msgspec.json.schema_components(_STRUCTS, ref_template="#/components/schemas/{name}")
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Penstock",
                "version": version("penstock"),
                "description": "An OpenAI-compatible gateway: large language models in production.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "paths": {**_paths(), **openapi_admin.paths(_refused)},
            "components": {
                "schemas": {**components, **_ANSWERS},
                "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
                "responses": {status: _failure(about) for status, about in _ERRORS.items()},
            },
            "security": [{"key": []}],
        }
    )


def _paths() -> Json:
    models = {"summary": "The models that this key may use", "operationId": "listModels"}
    model = {"summary": "One model, by its name or an alias", "operationId": "retrieveModel"}
    return {
        "/v1/chat/completions": {
            "post": _ask("createChatCompletion", "Continue a conversation", "ChatRequest", "ChatCompletion")
        },
        "/v1/completions": {"post": _ask("createCompletion", "Continue a text", "CompletionRequest", "Completion")},
        "/v1/embeddings": {
            "post": _ask("createEmbedding", "Turn texts into vectors", "EmbeddingRequest", "Embeddings", stream=False)
        },
        "/v1/responses": {
            "post": _ask("createResponse", "Answer, without stored state", "ResponseRequest", "Response")
        },
        "/v1/feedback": {
            "post": {
                "operationId": "createFeedback",
                "summary": "Say how good an answer was, by the id of its request",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": _ref("FeedbackRequest")}},
                },
                "responses": {"202": _json("Taken", "FeedbackTaken"), **_refused(*_FEEDBACK_ERRORS)},
            }
        },
        "/v1/models": {"get": {**models, "responses": _read("ModelList")}},
        "/v1/models/{id}": {
            "get": {
                **model,
                "parameters": [
                    {
                        "name": "id",
                        "in": "path",
                        "required": True,
                        "description": "May hold slashes, percent-encoded or not.",
                        "schema": {"type": "string", "minLength": 1},
                    }
                ],
                "responses": _read("Model"),
            }
        },
        "/healthz": {"get": _open("healthz", "Whether the process answers", {"200": _json("Alive", "Health")})},
        "/readyz": {
            "get": _open(
                "readyz",
                "Whether requests should be sent here",
                {"200": _json("Ready", "Ready"), "503": _json("Not ready", "Ready")},
            )
        },
        "/metrics": {
            "get": _open(
                "metrics",
                "Metrics for Prometheus",
                {"200": {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}},
            )
        },
        "/openapi.json": {
            "get": _open(
                "openapi",
                "This document",
                {
                    "200": {
                        "description": "OpenAPI 3.1",
                        "content": {"application/json": {"schema": {"type": "object"}}},
                    }
                },
            )
        },
    }


def _ask(id: str, summary: str, request: str, answer: str, stream: bool = True) -> Json:
    content: Json = {"application/json": {"schema": _ref(answer)}}
    if stream:
        content["text/event-stream"] = {"schema": _EVENT}
    return {
        "operationId": id,
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(request)}}},
        "responses": {"200": {"description": "The answer", "content": content}, **_refused(*_CALL_ERRORS)},
    }


def _open(id: str, summary: str, responses: Json) -> Json:
    return {"operationId": id, "summary": summary, "security": [], "responses": responses}


def _read(schema: str) -> Json:
    return {"200": _json("Found", schema), **_refused(*_GET_ERRORS)}


def _refused(*statuses: str) -> Json:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _json(description: str, schema: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": _ref(schema)}}}


def _failure(about: str) -> Json:
    return _json(about, "ErrorEnvelope")


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
