"""One API key, as it is configured: everything about it but the secret itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from keyfleet.config.environment import Environment
from keyfleet.config.model_limits import ModelLimits, best_pattern
from keyfleet.config.references import ProxyUrl, SecretReference

__all__ = ["ANY_MODEL", "DEFAULT_BASE_URLS", "KEY_NAME_PATTERN", "PROVIDERS", "KeyConfig", "Provider"]

Provider = Literal["openai", "azure", "anthropic", "compatible"]
PROVIDERS: tuple[Provider, ...] = ("openai", "azure", "anthropic", "compatible")

DEFAULT_BASE_URLS: Mapping[Provider, str] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
}
"""Azure has an address per resource, and a compatible server may be anywhere: these must be given."""

KEY_NAME_PATTERN = r"[A-Za-z0-9._-]{1,64}"

ANY_MODEL = "*"
"""The quota scope of limits that stand at the key itself and so cover all of its models together."""


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """A key by its name, which is what everyone sees.

    `group` None: the key shares its limits with no other name. `models` maps names and patterns of models to
    their limits, in the file's order; empty: the key serves any model, under `limits`, or under learned ones
    where that is None. `headroom` is the share (0 to below 1) of every limit that is left to others. `timeout_s` and
    `concurrency` None: as the settings say. `workers` is how many processes serve the key on a host.
    `line_number` is where the key stands in its file.
    """

    name: str
    api_key: SecretReference
    group: str | None = None
    proxy: ProxyUrl | None = None
    provider: Provider = "openai"
    base_url: str = DEFAULT_BASE_URLS["openai"]
    organization: str | None = None
    project: str | None = None
    headers: Mapping[str, SecretReference] = field(default_factory=dict, hash=False)
    timeout_s: float | None = None
    concurrency: int | None = None
    workers: int = 1
    headroom: float = 0.0
    models: Mapping[str, ModelLimits] = field(default_factory=dict, hash=False)
    limits: ModelLimits | None = None
    line_number: int | None = field(default=None, compare=False, repr=False)

    @property
    def share(self) -> float:
        """The share of its limits that may be used: 1 less `headroom`."""
        return round(1.0 - self.headroom, 9)

    def serves(self, model: str) -> bool:
        """Whether requests for `model` may go to this key."""
        return not self.models or best_pattern(self.models, model) is not None

    def limits_for(self, model: str) -> ModelLimits | None:
        """The configured limits, without `headroom` taken off. None: nobody configured any, so they are learned.

        Raises LookupError for a model that the key doesn't serve.
        """
        limits = self.models.get(self.quota_scope(model)) if self.models else self.limits
        return limits or None

    def quota_scope(self, model: str) -> str:
        """What names the pool that `model` draws from, within the key's quota group.

        It is the pattern that matches, as it is written: all models that match `gpt-4o*` share its limits. For
        limits at the key, which cover all its models together, it is `*`. Where limits have to be learned, it is the
        model's own name, since providers count each model for itself.

        Raises LookupError for a model that the key doesn't serve.
        """
        if not self.models:
            return ANY_MODEL if self.limits else model
        pattern = best_pattern(self.models, model)
        if pattern is None:
            raise LookupError(f"key {self.name} doesn't serve the model {model}")
        return pattern if self.models[pattern] else model

    def unset_variables(self, env: Environment) -> tuple[str, ...]:
        """The variables that its secrets need and that are not set, each once."""
        references = [self.api_key, *([self.proxy] if self.proxy else []), *self.headers.values()]
        return tuple(dict.fromkeys(name for reference in references for name in reference.unset_variables(env)))
