"""How many tokens the prompt of a request has, endpoint by endpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keyfleet.tokens.content import ContentCounter

__all__ = ["PROMPT_COUNTERS", "json_tokens", "prompts_of"]

MESSAGE_TOKENS = 3
NAME_TOKENS = 1
REPLY_PRIMER_TOKENS = 3
"""Per message, per `name` and per reply, as in OpenAI's counting example (openai-cookbook,
`examples/How_to_count_tokens_with_tiktoken.ipynb`, `num_tokens_from_messages`)."""

TOOL_TOKENS = 8
"""Per tool, for how a model is shown it; the same notebook counts 7 to 10, and its schema's text besides."""

_CHAT_FIELDS_IN_PROMPT = ("functions", "response_format", "system", "prediction")


def prompts_of(prompt: Any) -> list[Any]:
    """The single prompts of a `prompt` or `input` field: text, a list of texts, of tokens, or of lists of tokens."""
    if isinstance(prompt, list) and prompt and not _is_tokens(prompt):
        return prompt
    return [prompt]


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _one_prompt_tokens(prompt: Any, content: ContentCounter) -> int:
    if _is_tokens(prompt):
        return len(prompt)
    return content.part(prompt)


def _completion_tokens(body: dict[str, Any], content: ContentCounter) -> int:
    prompts = prompts_of(body.get("prompt"))
    return sum(_one_prompt_tokens(prompt, content) for prompt in prompts) + content.text(body.get("suffix"))


def _input_tokens(body: dict[str, Any], content: ContentCounter) -> int:
    return sum(_one_prompt_tokens(prompt, content) for prompt in prompts_of(body.get("input")))


def _picture_tokens(body: dict[str, Any], content: ContentCounter) -> int:
    return _one_prompt_tokens(body.get("prompt"), content)


def _message_tokens(message: Any, content: ContentCounter) -> int:
    """One message, or one item of a Responses input: every field is counted, `content` part by part."""
    if not isinstance(message, dict):
        return MESSAGE_TOKENS + content.text(message)
    tokens = MESSAGE_TOKENS
    for name, value in message.items():
        if name == "content":
            tokens += content.content(value)
        elif name == "name":
            tokens += NAME_TOKENS + content.text(value)
        else:
            tokens += content.text(value)
    return tokens


def _messages_tokens(messages: Any, content: ContentCounter) -> int:
    if not isinstance(messages, list):
        return MESSAGE_TOKENS + content.text(messages)
    return sum(_message_tokens(message, content) for message in messages)


def _tools_tokens(body: dict[str, Any], content: ContentCounter) -> int:
    tools = body.get("tools")
    if not tools:
        return 0
    return content.text(tools) + TOOL_TOKENS * (len(tools) if isinstance(tools, list) else 1)


def _chat_tokens(body: dict[str, Any], content: ContentCounter) -> int:
    """Chat Completions, and Anthropic's Messages with their `system`."""
    tokens = REPLY_PRIMER_TOKENS + _messages_tokens(body.get("messages"), content) + _tools_tokens(body, content)
    return tokens + sum(content.text(body.get(field)) for field in _CHAT_FIELDS_IN_PROMPT)


def _responses_tokens(body: dict[str, Any], content: ContentCounter) -> int:
    given = body.get("input")
    tokens = REPLY_PRIMER_TOKENS + _messages_tokens(given if given is not None else [], content)
    instructions = body.get("instructions")
    if instructions is not None:
        tokens += MESSAGE_TOKENS + content.text(instructions)
    return tokens + _tools_tokens(body, content) + content.text(body.get("text")) + content.text(body.get("prompt"))


def json_tokens(body: dict[str, Any], content: ContentCounter) -> int:
    """The JSON text of all that a body says; of messages, if it has any, as of a chat's."""
    if isinstance(body.get("messages"), list):
        return _chat_tokens(body, content)
    return content.json({name: value for name, value in body.items() if name != "model"})


PROMPT_COUNTERS: dict[str, Callable[[dict[str, Any], ContentCounter], int]] = {
    "chat/completions": _chat_tokens,
    "completions": _completion_tokens,
    "embeddings": _input_tokens,
    "responses": _responses_tokens,
    "moderations": _input_tokens,
    "messages": _chat_tokens,
    "images/generations": _picture_tokens,
}
"""The function that counts a prompt, by the end of the endpoint's path."""
