"""A worker's one key, with its secret: the only place where both meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from limits import RateLimitItem

from keyfleet.config import HIDDEN, Environment, KeyConfig, scaled_amount
from keyfleet_workers.limiter import QuotaLimit, Unit, guard_for_ms
from keyfleet_workers.secrets import Secret, fingerprint, resolve, resolve_proxy

__all__ = ["KeyBinding", "Quota"]

UNBOUNDED_TOKENS = 2**53 - 1
"""What a key without token limits can start, as Lua's numbers go."""

SHORTEST_SECRET = 8
"""Shorter values of headers are no secrets, and would stand in any answer by chance (characters)."""


@dataclass(slots=True)
class Quota:
    """The limits that one key draws on for one model.

    `granted_s` holds, per window, when this worker was last granted anything (monotonic clock): a window that the
    server doesn't know although it is younger than that has been lost there.
    """

    name: str
    limits: tuple[QuotaLimit, ...]
    granted_s: dict[str, float] = field(default_factory=dict)

    def costs(self, tokens: int) -> tuple[int, ...]:
        """What a request of `tokens` tokens costs in each limit."""
        return tuple(limit.cost(tokens) for limit in self.limits)

    def known(self, now_s: float) -> list[bool]:
        """Per limit, whether this worker was granted anything within its last window."""
        return [now_s - self.granted_s.get(limit.key, float("-inf")) < limit.window_ms / 1000 for limit in self.limits]

    def note_grant(self, now_s: float) -> None:
        """Remember that the server has granted on all limits now."""
        for limit in self.limits:
            self.granted_s[limit.key] = now_s

    def guard_s(self) -> float:
        """The narrowest guard (s); endless where there is no limit."""
        return min((limit.guard_ms / 1000 for limit in self.limits), default=float("inf"))

    def shortest_window_s(self) -> float:
        """The shortest window (s); endless where there is no limit."""
        return min((limit.window_ms / 1000 for limit in self.limits), default=float("inf"))

    def largest_cost_tokens(self) -> int:
        """The largest request that can ever start here."""
        amounts = [limit.amount for limit in self.limits if limit.unit == "tokens"]
        return min(amounts, default=UNBOUNDED_TOKENS)


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
        self._share = use * config.share
        self._guard = guard
        self._quotas: dict[str, Quota] = {}
        self.fingerprint = fingerprint(self._secret, config.base_url)

    def __repr__(self) -> str:
        return f"KeyBinding({self.name})"

    @property
    def proxy_url(self) -> str | None:
        """The proxy's address, with its password."""
        return self._proxy.reveal() if self._proxy else None

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
        """`answer` with the key's secrets hidden: some servers repeat in their errors what they were given."""
        for secret in (self._secret, *self._extra.values()):
            value = secret.reveal()
            if len(value) >= SHORTEST_SECRET:
                answer = answer.replace(value.encode(), HIDDEN.encode())
        return answer

    def serves(self, model: str) -> bool:
        """Whether requests for `model` may go to this key."""
        return self.config.serves(model)

    def quota(self, model: str) -> Quota:
        """The quota that `model` draws on: that of the key's group, else of the account behind its secret."""
        owner = f"group:{self.config.group}" if self.config.group else self.fingerprint
        name = f"{quote(owner, safe=':')}:{quote(self.config.quota_scope(model), safe='*')}"
        if name not in self._quotas:
            self._quotas[name] = Quota(name, tuple(self._limits(name, model)))
        return self._quotas[name]

    def quotas(self) -> list[Quota]:
        """The quotas that were drawn on so far."""
        return list(self._quotas.values())

    def _limits(self, quota: str, model: str) -> list[QuotaLimit]:
        configured = self.config.limits_for(model)
        if configured is None:
            return []
        items: list[tuple[Unit, RateLimitItem]] = [
            *(("requests", item) for item in configured.requests),
            *(("tokens", item) for item in configured.tokens),
        ]
        return [
            QuotaLimit.of_item(
                quota, unit, item, scaled_amount(item, self._share), self._guard(item.get_expiry() * 1000)
            )
            for unit, item in items
        ]
