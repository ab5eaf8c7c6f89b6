"""Where a client's fleet comes from: given, made for it alone, or one that all clients of a process share."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from keyfleet.calls import Answer, StreamedAnswer
from keyfleet.calls.spread_sending import SendOptions, SendsCalls
from keyfleet.errors import ConfigurationError

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["CallFleet", "FleetSource", "find_fleet"]

Keys = str | Path | Sequence[str | Mapping[str, Any]]


class CallFleet(SendsCalls, Protocol):
    """What the clients need of a `keyfleet.Fleet`."""

    def send(self, endpoint: str, body: bytes, **options: Unpack[SendOptions]) -> Answer:
        """Send one call and wait for its answer."""
        ...

    def send_stream(self, endpoint: str, body: bytes, **options: Unpack[SendOptions]) -> Answer | StreamedAnswer:
        """Send one call, and get its answer as soon as it begins."""
        ...

    async def asend_stream(self, endpoint: str, body: bytes, **options: Unpack[SendOptions]) -> Answer | StreamedAnswer:
        """The same for an event loop."""
        ...

    def lanes(self, model: str) -> int:
        """How many keys serve the model."""
        ...

    def close(self) -> None:
        """End what is under way."""
        ...


class FleetSource:
    """A fleet that may not have been made yet. For any thread."""

    def __init__(self, get: Callable[[], CallFleet], close: Callable[[], None]) -> None:
        """`get` makes it, or finds it; `close` closes it where it is the client's own."""
        self.get = get
        self.close = close


class _SharedFleet:
    """The fleet of the whole process, made when it is first needed. A Fleet closes itself at the process's end.

    A child that was forked makes one of its own: threads and connections don't come with it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fleet: CallFleet | None = None
        self._pid = 0

    def get(self) -> CallFleet:
        with self._lock:
            if self._fleet is None or self._pid != os.getpid():
                self._fleet, self._pid = _make_fleet(), os.getpid()
            return self._fleet


_SHARED = _SharedFleet()


def find_fleet(fleet: CallFleet | None, broker_url: str | None, keys: Keys | None) -> FleetSource:
    """The source of a client's fleet: `fleet`, or one of its own from `broker_url` and `keys`, else the shared one.

    Raises ConfigurationError for `fleet` together with one of the others.
    """
    if fleet is not None:
        if not hasattr(fleet, "asend"):
            raise ConfigurationError(f"fleet: expected a keyfleet.Fleet, not {type(fleet).__name__}", setting="fleet")
        if broker_url is not None or keys is not None:
            raise ConfigurationError("fleet: has its broker and keys; leave out broker_url and keys", setting="fleet")
        return FleetSource(lambda: fleet, lambda: None)
    if broker_url is None and keys is None:
        return FleetSource(_SHARED.get, lambda: None)
    own = _make_fleet(broker_url=broker_url, keys=keys)
    return FleetSource(lambda: own, own.close)


def _make_fleet(**options: Any) -> CallFleet:
    from keyfleet.fleet import Fleet

    return Fleet(**options)
