"""The server whose jobs a command speaks of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import click
import redis

from keyfleet.broker import check_server, connect
from keyfleet.cli import options
from keyfleet.config import Environment, Settings
from keyfleet.embedded import EmbeddedServer
from keyfleet.errors import BrokerUnavailable, JobNotFound
from keyfleet.jobs import ListedJob, find_job, fleets_with_jobs, list_jobs, server_now_ms
from keyfleet.jobs.listing import read_records
from keyfleet.ledger import JobRecord

__all__ = ["JobsServer", "open_jobs_server"]


@dataclass(frozen=True, slots=True)
class JobsServer:
    """A server, and those of its fleets that are meant: `fleet` of a shared server, every run's of the embedded one."""

    client: redis.Redis
    fleet: str | None

    @property
    def fleets(self) -> tuple[str, ...]:
        """The fleets' names as they are now."""
        return tuple(fleets_with_jobs(self.client)) if self.fleet is None else (self.fleet,)

    @property
    def is_there(self) -> bool:
        """False where there is nothing that could be asked."""
        return True

    def now_ms(self) -> int:
        """The server's clock."""
        return server_now_ms(self.client)

    def records(self) -> list[JobRecord]:
        """The records of all jobs."""
        return [record for fleet in self.fleets for record in read_records(self.client, fleet)]

    def listed(self) -> list[ListedJob]:
        """All jobs with what is open of them, the one begun last first."""
        found = [job for fleet in self.fleets for job in list_jobs(self.client, fleet)]
        return sorted(found, key=lambda job: -job.record.begun_ms)

    def find(self, name: str, *, prefers_whole: bool = False) -> JobRecord:
        """The job that is meant. Raises JobNotFound."""
        return find_job(self.records(), name, prefers_whole=prefers_whole)


class _NoServer(JobsServer):
    """Stands for an embedded server that was never started here, so that it needn't be for saying so."""

    def __init__(self) -> None:
        super().__init__(redis.Redis(), None)

    @property
    def fleets(self) -> tuple[str, ...]:
        return ()

    @property
    def is_there(self) -> bool:
        return False

    def now_ms(self) -> int:
        return 0

    def find(self, name: str, *, prefers_whole: bool = False) -> JobRecord:
        raise JobNotFound(f"{name}: no job was ever run here; --broker names a server that a fleet shares")


@contextmanager
def open_jobs_server() -> Iterator[JobsServer]:
    """The server that the options name: of the command, or of the group that it belongs to.

    The embedded server is started if it has state and doesn't run. Raises BrokerUnavailable.
    """
    settings = _settings()
    with ExitStack() as stack:
        url = settings.broker_url
        if url is None:
            server = EmbeddedServer(settings.state_dir)
            if not server.has_state():
                yield _NoServer()
                return
            stack.enter_context(server)
        client = connect(url or server.url)
        stack.callback(client.close)
        check_server(client, url or server.url)
        try:
            yield JobsServer(client, settings.fleet if url is not None else None)
        except redis.RedisError as error:
            raise BrokerUnavailable(f"the broker stopped answering ({type(error).__name__})") from None


def _settings() -> Settings:
    """The settings under the options of this command and of its group."""
    context, env = click.get_current_context(), Environment.read()
    given: dict[str, Any] = options.fill_from_dotenv(dict(context.params), env)
    above = context.parent.params if context.parent is not None else {}
    names = ("broker_url", "fleet")
    chosen = {name: given.get(name) if given.get(name) is not None else above.get(name) for name in names}
    return Settings.from_environment(env).with_options(**chosen)
