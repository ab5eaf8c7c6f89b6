"""What the events of a streamed answer tell beside its text: usage, an error, the end."""

from __future__ import annotations

import json
import re
from typing import Any

from keyfleet.server_sent_events import data_of
from keyfleet_workers.provider.error_body import holds_error, read_document

__all__ = ["StreamNotes"]

_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_ERROR = re.compile(rb'"error"\s*:\s*[{"\[]|"type"\s*:\s*"error"')
_END = re.compile(
    rb'^data:\s*\[DONE\]|"type"\s*:\s*"(?:response\.(?:completed|incomplete|failed)|message_stop)"', re.MULTILINE
)


class StreamNotes:
    """Looks at events without parsing those that are nothing but text.

    `error` is the text of an error that came as an event. `is_ended`: an event said that it is the last one.
    """

    def __init__(self, *, drops_usage: bool) -> None:
        """`drops_usage`: the caller didn't ask for the event that has nothing but the usage."""
        self._drops_usage = drops_usage
        self._usage: dict[str, Any] = {}
        self._model: str | None = None
        self.error: bytes | None = None
        self.is_ended = False

    def look(self, event: bytes) -> bool:
        """Take note of an event; returns whether it is the caller's."""
        self.is_ended = self.is_ended or _END.search(event) is not None
        tells_usage, may_fail = _USAGE.search(event), _ERROR.search(event)
        if not tells_usage and not may_fail:
            return True
        data = data_of(event)
        document = read_document(data)
        if document is None:
            return True
        if may_fail and (holds_error(document) or document.get("type") == "error"):
            self.error = data
            return True
        return not (tells_usage and self._note_usage(document) and self._drops_usage)

    @property
    def document(self) -> bytes:
        """What the whole answer's document would tell of it, as JSON."""
        return json.dumps({"model": self._model, **({"usage": self._usage} if self._usage else {})}).encode()

    def _note_usage(self, document: dict[str, Any]) -> bool:
        """Returns whether the event has nothing but the usage. Responses and Anthropic's messages have it further in,
        and the latter in two events: of the prompt as it begins, of the output as it ends."""
        for holder in (document, document.get("response"), document.get("message")):
            if isinstance(holder, dict) and isinstance(holder.get("usage"), dict):
                self._usage |= holder["usage"]
                self._model = holder["model"] if isinstance(holder.get("model"), str) else self._model
        return document.get("choices") == []
