"""A worker's one key, with its secret: the only place where both meet."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterable
from urllib.parse import unquote

from keyfleet.config import (
    DEFAULT_AZURE_API_VERSION,
    HIDDEN,
    REFUNDS,
    Environment,
    KeyConfig,
    Provider,
    Settings,
    Unit,
    hide_secret,
)
from keyfleet_workers.limiter import guard_for_ms
from keyfleet_workers.quota_pools import UNBOUNDED, Quota, QuotaBook, QuotaPool, group_scope
from keyfleet_workers.secrets import Secret, fingerprint, resolve, resolve_proxy

__all__ = ["UNBOUNDED", "KeyBinding", "Quota", "QuotaPool"]

SHORTEST_SECRET = 8
"""Shorter values of headers are no secrets, and would stand in any answer by chance (characters)."""

SHORTEST_PASSWORD = 6
"""The same for a proxy's password: people choose shorter ones, and shorter still would maim answers (characters)."""


class KeyBinding:
    """One key as its worker has it. Nothing of the secret shows in its `repr`."""

    def __init__(
        self,
        config: KeyConfig,
        env: Environment,
        *,
        use: float = 1.0,
        guard: Callable[[int], int] = guard_for_ms,
    ) -> None:
        """Resolve the key's secrets. Raises ConfigurationError naming the key and what is missing.

        `use` is the share of every limit that this fleet may use, on top of the key's headroom; `guard` gives a
        window's guard (both in ms).
        """
        self.config = config
        self.name = config.name
        self.base_url = config.base_url
        self._secret: Secret = resolve(config.api_key, env)
        self._proxy = resolve_proxy(config.proxy, env) if config.proxy else None
        self._extra = {name: resolve(reference, env) for name, reference in config.headers.items()}
        self._never_shown = _never_shown([self._secret, *self._extra.values()], self._proxy)
        self.fingerprint = fingerprint(self._secret, config.base_url)
        self._book = QuotaBook(config, fingerprint=self.fingerprint, share=use * config.share, guard=guard)

    @classmethod
    def of(cls, config: KeyConfig, env: Environment, settings: Settings) -> KeyBinding:
        """As the settings have it: the share that may be used, and how much a window is widened."""

        def guard(window_ms: int) -> int:
            return max(settings.guard_ms, round(window_ms * settings.guard_share))

        return cls(config, env, use=settings.use, guard=guard)

    def __repr__(self) -> str:
        return f"KeyBinding({self.name})"

    @property
    def provider(self) -> Provider:
        """What kind of server the key is for."""
        return self.config.provider

    @property
    def api_version(self) -> str | None:
        """Azure's version of its interface; None for other providers, which have none."""
        return (self.config.api_version or DEFAULT_AZURE_API_VERSION) if self.provider == "azure" else None

    @property
    def refunds(self) -> bool:
        """Whether the provider gives back what a request reserved and didn't use."""
        return REFUNDS[self.provider] if self.config.refunds is None else self.config.refunds

    @property
    def group(self) -> str | None:
        """The name of the key's group."""
        return self.config.group

    @property
    def group_scope(self) -> str | None:
        """What names the group's account in states that all of its keys share (`group:NAME`); None without a group."""
        return group_scope(self.config)

    @property
    def proxy_url(self) -> str | None:
        """The proxy's address, with its password."""
        return self._proxy.reveal() if self._proxy else None

    @property
    def is_plain(self) -> bool:
        """Whether calls go in plain HTTP, which a proxy on the way can answer itself."""
        return self.base_url.lower().startswith("http://")

    def headers(self) -> dict[str, str]:
        """The headers that present the key, with the secret."""
        secret = self._secret.reveal()
        headers = {"api-key": secret} if self.config.provider == "azure" else {"Authorization": f"Bearer {secret}"}
        if self.config.organization:
            headers["OpenAI-Organization"] = self.config.organization
        if self.config.project:
            headers["OpenAI-Project"] = self.config.project
        headers.update({name: value.reveal() for name, value in self._extra.items()})
        return headers

    def without_secrets(self, answer: bytes) -> bytes:
        """`answer` with the secrets of the key and its proxy hidden: some servers repeat what they were given."""
        for secret in self._never_shown:
            answer = answer.replace(secret.reveal().encode(), HIDDEN.encode())
        return answer

    def without_traces(self, text: str) -> str:
        """A log or an error's text without the key's secrets, nor the longer pieces of them that providers show."""
        for secret in self._never_shown:
            text = hide_secret(text, secret.reveal())
        return text

    def error_without_traces(self, answer: bytes) -> bytes:
        """An error's body without traces of the key's secrets, also where JSON's escapes conceal them."""
        text = answer.decode("latin-1")  # keeps all bytes; secrets are ASCII
        shown = self.without_traces(text)
        if "\\" in shown:
            plain = _without_escapes(answer)
            if plain is not None and self.without_traces(plain) != plain:
                return self.without_traces(plain).encode()
        return shown.encode("latin-1")

    def serves(self, model: str) -> bool:
        """Whether requests for `model` may go to this key."""
        return self.config.serves(model)

    def alias(self, model: str) -> str | None:
        """The model's name at the provider, where that is another. Raises LookupError for one that isn't served."""
        return self.config.settings_for(model).alias

    def quota(self, model: str) -> Quota:
        """The quota that `model` draws on now. Raises LookupError for a model that the key doesn't serve."""
        return self._book.quota(model)

    def quotas(self) -> list[Quota]:
        """The quotas that were drawn on so far. Two of them may share a pool."""
        return self._book.quotas()

    def pools(self) -> list[QuotaPool]:
        """The pools that were drawn on so far, each once."""
        return self._book.pools()

    def learn(self, pool_name: str, unit: Unit, window_s: int, amount: int, *, is_ceiling: bool = False) -> bool:
        """Take in a limit of `amount` per `window_s` that the provider named; whether that changed anything.

        It holds where the pool has no configured limit of this unit. With `is_ceiling` it holds in any case, beside
        configured ones, and a configured one of the same window is no more than it. What was said last of a window
        holds, ceilings apart from other limits. The share that may be used is taken of it as of any limit. Quotas
        that were handed out stay as they were; the next `quota` has it. Safe for threads.
        """
        return self._book.learn(pool_name, unit, window_s, amount, is_ceiling=is_ceiling)


def _without_escapes(document: bytes) -> str | None:
    """The same JSON with no more escapes than it needs; None for what is no JSON."""
    try:
        text = json.dumps(json.loads(document), ensure_ascii=False)
        text.encode()
    except (ValueError, RecursionError):
        return None
    return text


def _never_shown(secrets: Iterable[Secret], proxy: Secret | None) -> tuple[Secret, ...]:
    """What is looked for in answers, the longest first, since one may be a part of another.

    A proxy's credentials are there as they are written, decoded, and as they are sent (RFC 7617).
    """
    values = {value for value in (secret.reveal() for secret in secrets) if len(value) >= SHORTEST_SECRET}
    if proxy is not None:
        user_info = proxy.reveal().partition("://")[2].rpartition("@")[0]
        password, decoded = user_info.partition(":")[2] or user_info, unquote(user_info)
        forms = {user_info, password, decoded, unquote(password), b64encode(decoded.encode()).decode()}
        values |= {form for form in forms if len(form) >= SHORTEST_PASSWORD}
    return tuple(Secret(value) for value in sorted(values, key=len, reverse=True))
