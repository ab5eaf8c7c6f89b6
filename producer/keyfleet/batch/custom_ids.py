"""Which line used which `custom_id`, exactly, in memory that doesn't grow: a temporary database on disk."""

from __future__ import annotations

import hashlib
import sqlite3

__all__ = ["CustomIds"]

CACHE_KIB = 4096
"""Memory for the database's pages; the rest of it lies in an unnamed temporary file that ends with the process."""
DIGEST_BYTES = 16
"""Length of the hash that stands for a custom_id: at 10 million of them, a chance collision has odds of 1 in 10^24."""


class CustomIds:
    """The owner of a custom_id is the first line that claimed it. To be used by one thread at a time."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for setting in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIB}"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute("CREATE TABLE owner (digest BLOB PRIMARY KEY, line INTEGER NOT NULL) WITHOUT ROWID")
        self._database.execute("BEGIN")  # one transaction that never ends: a third less time for each claim

    def claim(self, custom_id: str, line_number: int) -> int:
        """The number of the line that owns it: this one, unless an other was first. Asking again changes nothing."""
        digest = hashlib.blake2b(custom_id.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
        claimed = self._database.execute("INSERT OR IGNORE INTO owner VALUES (?, ?)", (digest, line_number))
        if claimed.rowcount == 1:
            return line_number
        (owner,) = self._database.execute("SELECT line FROM owner WHERE digest = ?", (digest,)).fetchone()
        return int(owner)

    def close(self) -> None:
        self._database.close()
