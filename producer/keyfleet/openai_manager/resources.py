"""`Completion`, `ChatCompletion` and `Embedding`, as openai-manager has them: a list in, a list out, in order."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.progress import Progress

from keyfleet.calls.apart import run_apart
from keyfleet.config import Environment
from keyfleet.openai_manager.many_calls import send_all
from keyfleet.openai_manager.responses import Response
from keyfleet.openai_manager.session import SESSION

__all__ = ["ChatCompletion", "Completion", "Embedding"]

MOST_AT_ONCE = 1000
"""Entries of a list that are under way at once; openai-manager's OPENAI_PROMPTS_PER_ASYNC_BATCH, with its default."""

_MISSING = object()


class Completion:
    """`/v1/completions`."""

    @classmethod
    def create(cls, *, prompt: Any = _MISSING, **params: Any) -> list[Response]:
        """A response for each prompt, in order; for one prompt a list of one. A list of token numbers is one prompt.

        `params` are the other fields of the request. A request that failed holds its place as a FailedResponse.
        """
        return _create("/v1/completions", "prompt", _inputs("prompt", prompt), params)


class Embedding:
    """`/v1/embeddings`."""

    @classmethod
    def create(cls, *, input: Any = _MISSING, **params: Any) -> list[Response]:
        """As `Completion.create`, for each of `input`."""
        return _create("/v1/embeddings", "input", _inputs("input", input), params)


class ChatCompletion:
    """`/v1/chat/completions`."""

    @classmethod
    def create(cls, *, messages: Any = None, **params: Any) -> list[Response]:
        """As `Completion.create`, for each conversation of the list `messages`; one conversation is a list of one."""
        if not isinstance(messages, list):
            raise TypeError(f"messages must be a list of dict, got {type(messages)}")
        chats = [messages] if messages and isinstance(messages[0], dict) else messages
        return _create("/v1/chat/completions", "messages", chats, params)


def _inputs(name: str, value: Any) -> list[Any]:
    if value is _MISSING:
        raise TypeError(f"`{name}` is missing")
    if not isinstance(value, list) or (value and all(type(item) is int for item in value)):
        return [value]
    return value


def _create(endpoint: str, name: str, inputs: list[Any], params: dict[str, Any]) -> list[Response]:
    """openai-manager's own options are no fields of the request: `no_tqdm` hides the progress bar, the others mean
    nothing here. The bar is shown on a terminal, for lists."""
    hides_bar = params.pop("no_tqdm", False) or len(inputs) < 2 or not sys.stderr.isatty()
    for option in ("debug", "return_openai_response"):
        params.pop(option, None)
    most_at_once = Environment.read().get_int("OPENAI_PROMPTS_PER_ASYNC_BATCH", default=MOST_AT_ONCE)
    fleet = SESSION.fleet()
    with Progress(console=Console(stderr=True), disable=hides_bar, transient=True) as progress:
        bar = progress.add_task(endpoint, total=len(inputs))
        bodies = [{name: one, **params} for one in inputs]
        return run_apart(
            send_all(fleet, endpoint, bodies, most_at_once=most_at_once, on_end=lambda: progress.advance(bar))
        )
