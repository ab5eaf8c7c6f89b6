"""A real server that can be broken in more ways than being killed."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import redis

from support.server import ServerProcess

__all__ = ["BreakableServer"]

AOF_DIRECTORY = "appendonlydir"


class BreakableServer(ServerProcess):
    """Can be frozen, filled, wiped, and robbed of what it wrote last."""

    def run_id(self) -> str:
        """Which start of the server this is."""
        with self.client() as client:
            return str(client.info("server")["run_id"])

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does; connections stand and nothing answers."""
        self.signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    def fill(self, *, spare_bytes: int | None = None) -> None:
        """From now on refuse what needs memory beyond what is used now and `spare_bytes`; without it, whatever goes."""
        with self.client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            used_bytes = int(client.info("memory")["used_memory"])
            client.config_set("maxmemory", 1 if spare_bytes is None else used_bytes + spare_bytes)

    def make_room(self) -> None:
        """Take the bound of memory away."""
        with self.client() as client:
            client.config_set("maxmemory", 0)

    def is_full(self) -> bool:
        """Whether it refuses a write of no account just now."""
        with self.client() as client:
            try:
                client.set("{keyfleet}:probe-of-memory", "x", px=1)
            except redis.exceptions.OutOfMemoryError:
                return True
            return False

    def written_bytes(self) -> dict[str, int]:
        """The sizes of the append-only files, as a mark for `lose_power`."""
        return {path.name: path.stat().st_size for path in self._aof_files()}

    def lose_power(self, mark: dict[str, int]) -> int:
        """Kill it, and cut off what it wrote since `mark` was taken; returns how many bytes were lost.

        A file that was begun since the mark would have to be lost whole, which is a rewrite of the log: those of a
        test are too small for one. A command that is cut in half is dropped by the server as it starts.
        """
        self.kill()
        lost = 0
        for path in self._aof_files():
            if path.suffix == ".aof":
                size = path.stat().st_size
                keep = mark.get(path.name, size)
                lost += size - keep
                with path.open("r+b") as file:
                    file.truncate(keep)
        return lost

    def lose_everything(self) -> None:
        """Kill it and remove its directory, as when its host is gone."""
        self.kill()
        shutil.rmtree(self.directory)

    def _aof_files(self) -> list[Path]:
        return sorted((self.directory / AOF_DIRECTORY).iterdir())
