"""Answers in the shapes of OpenAI's API."""

from __future__ import annotations

import base64
import json
import time
from array import array
from functools import lru_cache
from hashlib import sha256
from typing import Any

from keyfleet.sim.conduct import SimAnswers
from keyfleet.sim.images import images_document
from keyfleet.sim.moderation import moderation_results
from keyfleet.sim.prompts import ECHO_CHARACTERS, Asked, Endpoint
from keyfleet.sim.schema_answers import document_for_schema

__all__ = [
    "answer_body",
    "answer_texts",
    "model_body",
    "model_document",
    "models_body",
    "reported_usage",
    "response_document",
]

_FILLER = "Lorem ipsum dolor sit amet, consectetur adipiscing elit. "
_FILLER_MARK = "\x00filler\x00"
"""Stands for the filler until the document is encoded: escaping 50 KB of it for every answer costs 0.1 ms."""

_MODELS_SINCE_S = 1_700_000_000


def answer_body(endpoint: Endpoint, asked: Asked, settings: SimAnswers, number: int) -> bytes:
    """The JSON text of a good answer; `number` makes its id unique.

    Every choice's content begins with the first `ECHO_CHARACTERS` of its prompt, or holds them in a document that fits
    the schema asked for.
    """
    if endpoint == "embeddings":
        return json.dumps(_embeddings(asked, settings)).encode()
    if endpoint == "images/generations":
        return json.dumps(images_document(asked, _filler(settings.answer_bytes))).encode()
    if endpoint == "moderations":
        results = moderation_results(asked.prompts)
        return json.dumps({"id": f"modr-sim{number:012x}", "model": asked.model, "results": results}).encode()
    texts = _texts(asked, settings)
    if endpoint == "responses":
        return _encoded(response_document(asked, texts[0], settings, number), settings)
    chat = endpoint == "chat/completions"
    document = {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-sim{number:012x}",
        "object": "chat.completion" if chat else "text_completion",
        "created": int(time.time()),
        "model": asked.model,
        "choices": [_choice(index, text, chat) for index, text in enumerate(texts)],
        "usage": reported_usage(asked, settings),
        "system_fingerprint": "fp_sim",
    }
    return _encoded(document, settings)


def answer_texts(asked: Asked, settings: SimAnswers) -> list[str]:
    """The text of every choice, the choices of the first prompt first."""
    return [text.replace(_FILLER_MARK, _filler(settings.answer_bytes)) for text in _texts(asked, settings)]


def _texts(asked: Asked, settings: SimAnswers) -> list[str]:
    """The same, with a mark in the place of the filler."""
    return [_content(prompt, asked, settings) for prompt in asked.prompts for _ in range(asked.choices)]


def _content(prompt: str, asked: Asked, settings: SimAnswers) -> str:
    content = prompt[:ECHO_CHARACTERS]
    if asked.schema is not None:
        return document_for_schema(asked.schema, content)
    return f"{content} {_FILLER_MARK}" if settings.answer_bytes else content


def _encoded(document: dict[str, Any], settings: SimAnswers) -> bytes:
    text = json.dumps(document)
    if settings.answer_bytes:
        text = text.replace(json.dumps(_FILLER_MARK)[1:-1], _filler(settings.answer_bytes))
    return text.encode()


@lru_cache(maxsize=4)
def _filler(size_bytes: int) -> str:
    return (_FILLER * (size_bytes // len(_FILLER) + 1))[:size_bytes]


def _choice(index: int, text: str, chat: bool) -> dict[str, Any]:
    if chat:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": index, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {"text": text, "index": index, "logprobs": None, "finish_reason": "stop"}


def reported_usage(asked: Asked, settings: SimAnswers) -> dict[str, int]:
    """The usage of all choices of a chat or completion together."""
    output_tokens = _output_tokens(asked, settings)
    return {
        "prompt_tokens": asked.prompt_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": asked.prompt_tokens + output_tokens,
    }


def _output_tokens(asked: Asked, settings: SimAnswers) -> int:
    wanted = (asked.allowed_tokens + 1) // 2 if settings.completion_tokens is None else settings.completion_tokens
    return min(asked.allowed_tokens, wanted) * asked.choices * len(asked.prompts)


def response_document(asked: Asked, text: str, settings: SimAnswers, number: int) -> dict[str, Any]:
    """The Responses API's whole answer."""
    output_tokens = _output_tokens(asked, settings)
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {
        "type": "message",
        "id": f"msg_sim{number:012x}",
        "status": "completed",
        "role": "assistant",
        "content": content,
    }
    usage = {
        "input_tokens": asked.prompt_tokens,
        "output_tokens": output_tokens,
        "total_tokens": asked.prompt_tokens + output_tokens,
    }
    return {
        "id": f"resp_sim{number:012x}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "model": asked.model,
        "output": [message],
        "usage": usage,
    }


def _embeddings(asked: Asked, settings: SimAnswers) -> dict[str, Any]:
    dimensions = asked.dimensions or settings.embedding_dimensions
    vectors = [_vector(prompt, dimensions) for prompt in asked.prompts]
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if asked.as_base64 else vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": asked.prompt_tokens, "total_tokens": asked.prompt_tokens}
    return {"object": "list", "data": data, "model": asked.model, "usage": usage}


def _vector(text: str, dimensions: int) -> list[float]:
    """Numbers from -1 to 1 that depend on the text alone."""
    digest = sha256(text.encode("utf-8", "surrogatepass")).digest()
    values = [round(byte / 127.5 - 1, 6) for byte in digest]
    return (values * (dimensions // len(values) + 1))[:dimensions]


def _base64(vector: list[float]) -> str:
    """As OpenAI's own client asks for it: 32-bit floats, little-endian on all platforms that this runs on."""
    return base64.b64encode(array("f", vector).tobytes()).decode()


def model_document(model: str) -> dict[str, Any]:
    """One entry of the list of models."""
    return {"id": model, "object": "model", "created": _MODELS_SINCE_S, "owned_by": "keyfleet-sim"}


def model_body(model: str) -> bytes:
    """The answer to `GET /v1/models/{id}`."""
    return json.dumps(model_document(model)).encode()


def models_body(models: list[str]) -> bytes:
    """The answer to `GET /v1/models`."""
    return json.dumps({"object": "list", "data": [model_document(model) for model in models]}).encode()
