"""What a stream of server-sent events says when it breaks off, so that clients raise an error."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["error_event"]


def error_event(endpoint: str, message: str, *, code: str) -> bytes:
    """The last event of a stream that can't go on.

    The official Python and npm clients raise an APIError where the document of any event has a true `error`. Events of
    `/v1/responses` are told apart by `type` besides, and clients that read them by themselves look for `error`.
    """
    error = {"message": message, "type": "server_error", "param": None, "code": code}
    if not endpoint.partition("?")[0].rstrip("/").endswith("/responses"):
        return b"data: " + _one_line({"error": error}) + b"\n\n"
    facts = {"type": "error", "code": code, "message": message, "param": None, "sequence_number": 0, "error": error}
    return b"event: error\ndata: " + _one_line(facts) + b"\n\n"


def _one_line(document: dict[str, Any]) -> bytes:
    """ASCII without line breaks, whatever is in the message."""
    return json.dumps(document).encode("ascii")
