"""Addresses as they may appear in messages, logs and `repr`: without what lets somebody in."""

from __future__ import annotations

import re

__all__ = ["HIDDEN", "redact_url"]

HIDDEN = "***"
"""Stands in every text for a value that must not be shown."""

# From the scheme's end to the *last* `@`: a password may hold `/`, `@` or `;` unescaped, and hiding too much
# of a malformed address is the safe mistake.
_USER_INFO = re.compile(
    r"(?P<start>^(?:[a-z][a-z0-9+.-]*://)?)(?P<user>[^:@/]*)(?P<colon>:?)(?P<password>.*)@", re.DOTALL | re.IGNORECASE
)

# redis-py and Celery read credentials from the query too (`redis://host/0?password=…`).
_QUERY_SECRET = re.compile(r"(?P<name>[?&;][^=&;#]*(?:pass|secret|token|key|auth)[^=&;#]*=)[^&;#]*", re.IGNORECASE)


def redact_url(url: str) -> str:
    """`url` with its password hidden: `redis://:***@host`, `http://user:***@host:8080`.

    A user without a password is hidden as well, since some proxies take a token there. A text that is no URL comes
    back with everything before its last `@` hidden.
    """
    return _QUERY_SECRET.sub(rf"\g<name>{HIDDEN}", _USER_INFO.sub(_hide_user_info, url, count=1))


def _hide_user_info(match: re.Match[str]) -> str:
    user = match["user"] + ":" if match["colon"] and match["password"] else ""
    return f"{match['start']}{user}{HIDDEN}@"
