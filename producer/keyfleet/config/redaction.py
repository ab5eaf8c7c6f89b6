"""Addresses as they may appear in messages, logs and `repr`: without what lets somebody in."""

from __future__ import annotations

import re
from os.path import commonprefix

__all__ = ["HIDDEN", "hide_secret", "redact_url"]

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


TELLING_CHARACTERS = 8
"""So many characters from either end of a long secret are a trace of it."""

LONG_SECRET_CHARACTERS = 20
"""Of a shorter secret only the whole is looked for: its parts are words that stand anywhere."""

_MASK = re.compile(r"[*\u2022.\u2026xX]{2,}")
"""What stands for the rest where somebody shows the ends of a key."""


def hide_secret(text: str, secret: str) -> str:
    """`text` without `secret`, and without pieces of eight or more characters from either of its ends.

    Providers show a part of the key that they refuse (`sk-proj-abc*****wxyz`); so the mask goes too, and what
    follows it of the secret's end.
    """
    text = text.replace(secret, HIDDEN)
    if len(secret) < LONG_SECRET_CHARACTERS:
        return text
    text = _hide_pieces(text, secret)
    return _hide_pieces(text[::-1], secret[::-1])[::-1]


def _hide_pieces(text: str, secret: str) -> str:
    """Hide what begins as `secret` begins, as far as it agrees, with the mask behind it and the end behind that."""
    start = secret[:TELLING_CHARACTERS]
    parts, done = [], 0
    while (found := text.find(start, done)) >= 0:
        end = found + TELLING_CHARACTERS
        end += len(commonprefix([text[end : end + len(secret)], secret[TELLING_CHARACTERS:]]))  # noqa: RUF071 - of texts
        if mask := _MASK.match(text, end):
            end = mask.end()
            end += next((size for size in range(len(secret), 0, -1) if text.startswith(secret[-size:], end)), 0)
        parts += [text[done:found], HIDDEN]
        done = end
    return "".join([*parts, text[done:]])
