"""Where a secret comes from, without the secret: `${VARIABLE}`, `file:/path`, or a literal that never shows."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from keyfleet.config.environment import Environment
from keyfleet.config.redaction import HIDDEN, redact_url
from keyfleet.errors import ConfigurationError

__all__ = ["ProxyUrl", "SecretReference", "check_proxy_url", "expand_variables"]

PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")

_FILE_PREFIX = "file:"
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PROXY_EXPECTED = "expected a proxy's address such as http://host:8080 or socks5h://user:${PASSWORD}@host:1080"


class SecretReference:
    """A secret as it is written down, to be resolved by the worker that uses it.

    The text may be `${VARIABLE}`, also in the midst of other text (`http://me:${PASSWORD}@host`), or `file:` and a
    path (in which a variable may stand too: `file:${OPENAI_API_KEY_PATH}`), or the secret itself. Variables and
    paths show in `repr`, `str`, `format` and logs; everything literal is hidden there. A copy (`copy`, and so
    `dataclasses.asdict`) is the reference itself, and one with a literal in it can't be pickled.

    Raises ValueError, which says what is expected and quotes nothing, for an empty text or a malformed `${…`.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text.strip()
        if not self._text.removeprefix(_FILE_PREFIX).strip():
            raise ValueError("expected ${VARIABLE}, file:/path or the value itself, and found nothing")
        if "${" in _VARIABLE.sub("", self._text):
            raise ValueError("expected a variable in the form ${NAME}, of letters, digits and _")

    @classmethod
    def to_variable(cls, name: str) -> SecretReference:
        """The reference `${name}`."""
        return cls(f"${{{name}}}")

    @classmethod
    def to_file_named_by(cls, name: str) -> SecretReference:
        """The file whose path is in the variable `name`."""
        return cls(f"{_FILE_PREFIX}${{{name}}}")

    @property
    def variables(self) -> tuple[str, ...]:
        """The names of the variables in it, in order."""
        return tuple(dict.fromkeys(_VARIABLE.findall(self._text)))

    @property
    def is_file(self) -> bool:
        """Whether the secret is what a file holds; `expand` gives its path then."""
        return self._text.startswith(_FILE_PREFIX)

    @property
    def is_literal(self) -> bool:
        """Whether the secret itself stands here, and so in the file that this came from."""
        return not self.is_file and not self.variables

    def unset_variables(self, env: Environment) -> tuple[str, ...]:
        """The names of its variables that are not set."""
        return tuple(name for name in self.variables if name not in env)

    def expand(self, env: Environment) -> str:
        """The secret, or for a file its path. For those who use it at once: nothing hides what comes back.

        Raises ConfigurationError that names the first variable that is not set.
        """
        return expand_variables(self._text.removeprefix(_FILE_PREFIX), env)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown()!r})"

    def __str__(self) -> str:
        return self._shown()

    def __format__(self, format_spec: str) -> str:
        return format(self._shown(), format_spec)

    def _shown(self) -> str:
        if self.is_file:
            return self._text
        return "".join(f"${{{part}}}" if i % 2 else HIDDEN * bool(part) for i, part in enumerate(self._parts()))

    def _parts(self) -> list[str]:
        """Literal text and names of variables by turns."""
        return _VARIABLE.split(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretReference):
            return NotImplemented
        return self._text == other._text

    def __hash__(self) -> int:
        return hash((SecretReference, self._text))

    def __copy__(self) -> SecretReference:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SecretReference:
        return self

    def __reduce__(self) -> tuple[type[SecretReference], tuple[str]]:
        if not self.is_file and any(self._parts()[::2]):
            raise TypeError("a secret that is written out can't be pickled")
        return type(self), (self._text,)


class ProxyUrl(SecretReference):
    """A proxy's address: like any secret, but what is no credential of it shows (`http://me:***@host:8080`)."""

    __slots__ = ()

    def __init__(self, text: str) -> None:
        super().__init__(text)
        if self.is_literal:
            check_proxy_url(self._text)

    @property
    def has_literal_credentials(self) -> bool:
        """Whether a password stands here that is no variable's or file's; a user without one may be a token."""
        user_info = self._text.rpartition("@")[0].rpartition("://")[2]
        password = user_info.partition(":")[2] or user_info
        return not self.is_file and bool(_VARIABLE.sub("", password))

    def _shown(self) -> str:
        return self._text if self.is_file else redact_url(self._text)


def check_proxy_url(url: str) -> None:
    """Raises ValueError, which quotes nothing of it, unless `url` is an address that `requests` can go through."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme.lower() in PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(_PROXY_EXPECTED)


def expand_variables(text: str, env: Environment) -> str:
    """`text` with each `${NAME}` replaced. Raises ConfigurationError that names the first one that is not set."""

    def value_of(match: re.Match[str]) -> str:
        value = env.get(match[1])
        if value is None:
            raise ConfigurationError(f"{match[1]} is not set, neither in the environment nor in .env", setting=match[1])
        return value

    return _VARIABLE.sub(value_of, text)
