"""What the gateway grants its clients, as one frozen object."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["OTHER_FILES", "GatewayTerms"]

DEFAULT_MAX_WAIT_S = 600.0
"""How long a call may wait for its start: as long as the official clients wait for an answer."""

DEFAULT_MAX_BODY_BYTES = 64_000_000
"""Images travel in bodies as text; lists of 2,048 inputs to embed take some 20 MB."""

LEAST_HELD_BYTES = 512_000_000
LEAST_HELD_BODIES = 4
"""So much room is there for the bodies of all calls under way, and for so many of the longest."""

DEFAULT_MAX_CONNECTIONS = 4096
"""Each costs a file descriptor and some 100 kB where its client is slow."""

OTHER_FILES = 256
"""Open files of the process that are no connections of clients within the maximum."""

DEFAULT_GRACE_S = 30.0
"""How long calls under way may take to their end when the gateway is told to stop; Kubernetes kills after 30 s."""

HEAD_S = 20.0
"""How long a client may take to send a whole head."""

BODY_SILENCE_S = 30.0
"""How long a client may send nothing of a body that is not at its end."""

UNREAD_S = 60.0
"""How long a client may take nothing of an answer that is there for it."""

LINGER_S = 2.0
"""How long what a refused client still sends is read and thrown away, so that it gets to see why: a connection that is
closed with something unread is reset, and what was sent on it is lost."""


@dataclass(frozen=True, slots=True)
class GatewayTerms:
    """Durations are in seconds. `max_held_bytes` bounds the bodies of all calls under way together; None is the larger
    of 512 MB and four bodies of the greatest size."""

    max_wait_s: float = DEFAULT_MAX_WAIT_S
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    max_connections: int = DEFAULT_MAX_CONNECTIONS
    grace_s: float = DEFAULT_GRACE_S
    head_s: float = HEAD_S
    body_silence_s: float = BODY_SILENCE_S
    unread_s: float = UNREAD_S
    linger_s: float = LINGER_S
    max_held_bytes: int | None = None

    @property
    def held_bytes(self) -> int:
        """Room for the bodies of all calls under way."""
        if self.max_held_bytes is not None:
            return self.max_held_bytes
        return max(LEAST_HELD_BYTES, LEAST_HELD_BODIES * self.max_body_bytes)
