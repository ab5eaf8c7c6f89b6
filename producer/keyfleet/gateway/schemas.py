"""JSON schemas of what travels through the gateway: what it needs to know itself, and room for any parameter."""

from __future__ import annotations

from typing import Any

__all__ = ["SCHEMAS", "schema_of"]

Schema = dict[str, Any]

MODEL: Schema = {"type": "string", "minLength": 1, "description": "Name of a model that some key serves."}
STREAM: Schema = {
    "type": ["boolean", "null"],
    "description": "Whether the answer is to come as server-sent events, as the provider sends them.",
}
TOKENS: Schema = {"type": "array", "items": {"type": "integer"}}
TEXTS: Schema = {
    "description": "A text, token numbers, or a list of either, which is spread over the keys.",
    "anyOf": [
        {"type": "string"},
        {"type": "array", "minItems": 1, "items": {"type": "string"}},
        {**TOKENS, "minItems": 1},
        {"type": "array", "minItems": 1, "items": TOKENS},
    ],
}
PARTS: Schema = {"type": "array", "minItems": 1, "items": {"type": "object"}}
_LIST: Schema = {"type": "array", "items": {"type": "object"}}


def _request(required: list[str], description: str, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "description": f"{description} All further parameters go to the provider as they are.",
        "required": required,
        "properties": properties,
        "additionalProperties": True,
    }


def _answer(description: str, *required: str, **properties: Schema) -> Schema:
    return {"type": "object", "description": description, "required": list(required), "properties": properties}


SCHEMAS: dict[str, Schema] = {
    "ChatCompletionRequest": _request(
        ["model", "messages"],
        "A conversation to go on with.",
        model=MODEL,
        messages={
            "type": "array",
            "minItems": 1,
            "items": {"type": "object", "required": ["role"], "properties": {"role": {"type": "string"}}},
        },
        stream=STREAM,
    ),
    "CompletionRequest": _request(
        ["model", "prompt"], "Texts to go on with.", model=MODEL, prompt=TEXTS, stream=STREAM
    ),
    "EmbeddingRequest": _request(["model", "input"], "Texts to embed.", model=MODEL, input=TEXTS),
    "ResponseRequest": _request(
        ["model", "input"],
        "A response to ask for.",
        model=MODEL,
        input={"anyOf": [{"type": "string"}, PARTS]},
        stream=STREAM,
    ),
    "ModerationRequest": _request(
        ["input"],
        "Texts and images to judge.",
        model={**MODEL, "type": ["string", "null"], "default": "omni-moderation-latest"},
        input={"anyOf": [*TEXTS["anyOf"][:2], PARTS]},
    ),
    "ImageRequest": _request(
        ["model", "prompt"], "An image to make.", model=MODEL, prompt={"type": "string"}, stream=STREAM
    ),
    "ChatCompletion": _answer("As the provider answers.", "choices", choices=_LIST),
    "Completion": _answer("As the provider answers; of a list, put together.", "choices", choices=_LIST),
    "Embeddings": _answer("As the provider answers; of a list, put together.", "data", data=_LIST),
    "Response": _answer("As the provider answers."),
    "Moderation": _answer("As the provider answers; of a list, put together.", "results", results=_LIST),
    "Images": _answer("As the provider answers.", "data", data=_LIST),
    "Model": _answer(
        "A model that some key serves.",
        "id",
        "object",
        id={"type": "string"},
        object={"const": "model"},
        created={"type": "integer"},
        owned_by={"type": "string"},
    ),
    "Models": _answer(
        "The models of all keys.",
        "object",
        "data",
        object={"const": "list"},
        data={"type": "array", "items": {"$ref": "#/components/schemas/Model"}},
    ),
    "Status": _answer("How the gateway is.", "status", status={"type": "string"}),
    "Error": _answer(
        "What went wrong, in OpenAI's shape; a provider's own errors come as it has written them.",
        "error",
        error={
            "type": "object",
            "required": ["message"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": ["string", "null"]},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "integer", "null"]},
            },
        },
    ),
}


def schema_of(name: str) -> Schema:
    """A reference to one of `SCHEMAS`."""
    return {"$ref": f"#/components/schemas/{name}"}
