"""What a caller may say of a job, checked before anything is begun."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath

from keyfleet.batch.endpoints import refusal, split_url
from keyfleet.calls import Priority, check_priority
from keyfleet.errors import ConfigurationError
from keyfleet.fleet_jobs.deadline import deadline_s_of
from keyfleet.fleet_jobs.folder import JobSpec
from keyfleet.fleet_jobs.rows import RowId
from keyfleet.running.job_facts import this_host

__all__ = ["JobChoices", "check_requests"]


@dataclass(frozen=True, slots=True)
class JobChoices:
    """The arguments of `Fleet.submit`; `spec` checks them."""

    endpoint: str | None = None
    row_id: RowId = None
    name: str | None = None
    ordered: bool = False
    window: int | None = None
    priority: Priority = "bulk"
    deadline: float | datetime | None = None
    pack: bool = False

    def spec(self, *, fleet: str = "", is_embedded: bool = False, is_ephemeral: bool = False) -> JobSpec:
        """What the job is that begins now. Raises ConfigurationError and InvalidRequest that name the argument."""
        if self.row_id is not None and not isinstance(self.row_id, str) and not callable(self.row_id):
            raise ConfigurationError("id: expected a function of the body, or the name of a field", setting="id")
        if self.window is not None and (type(self.window) is not int or self.window < 1):
            raise ConfigurationError("window: expected a whole number of 1 or more", setting="window")
        if self.name is not None and (not isinstance(self.name, str) or not self.name.strip()):
            raise ConfigurationError("name: expected a text", setting="name")
        check_priority(self.priority)
        now_s = time.time()
        return JobSpec(
            job_id=uuid.uuid4().hex,
            fleet=fleet,
            host=this_host(),
            begun_s=now_s,
            name=self.name or "",
            endpoint=_endpoint(self.endpoint),
            ordered=bool(self.ordered),
            window=self.window,
            priority=self.priority,
            deadline_s=deadline_s_of(self.deadline, now_s),
            pack=bool(self.pack),
            is_embedded=is_embedded,
            is_ephemeral=is_ephemeral,
        )


def _endpoint(endpoint: str | None) -> str | None:
    if endpoint is None:
        return None
    try:
        base_url, path = split_url(endpoint)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"endpoint: {error}", setting="endpoint") from None
    if base_url is not None:
        raise ConfigurationError(
            "endpoint: expected a path such as /v1/embeddings; keys know their providers' addresses", setting="endpoint"
        )
    why = refusal(path)
    if why:
        raise ConfigurationError(f"endpoint: {path} {why}", setting="endpoint")
    return path


def check_requests(requests: object, *, takes_async: bool = False) -> None:
    """Raises ConfigurationError for what can't be an iterable of requests."""
    if isinstance(requests, Mapping):
        raise ConfigurationError("requests: is one mapping; expected an iterable of them", setting="requests")
    if isinstance(requests, str | bytes | PurePath):
        raise ConfigurationError(
            "requests: is a text; expected an iterable of requests (of a file's lines: open(...))", setting="requests"
        )
    if isinstance(requests, Iterable) or (takes_async and isinstance(requests, AsyncIterable)):
        return
    more = "; asubmit and amap take asynchronous ones" if isinstance(requests, AsyncIterable) else ""
    raise ConfigurationError(
        f"requests: is of type {type(requests).__name__}; expected an iterable{more}", setting="requests"
    )
