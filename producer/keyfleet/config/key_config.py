"""One API key, as it is configured: everything about it but the secret itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from keyfleet.config.environment import Environment
from keyfleet.config.model_limits import ModelLimits, best_pattern
from keyfleet.config.model_settings import GroupSettings, ModelSettings, Pool, pool_of
from keyfleet.config.references import ProxyUrl, SecretReference

__all__ = [
    "DEFAULT_AZURE_API_VERSION",
    "DEFAULT_BASE_URLS",
    "KEY_NAME_PATTERN",
    "PROVIDERS",
    "REFUNDS",
    "KeyConfig",
    "Provider",
]

Provider = Literal["openai", "azure", "anthropic", "compatible"]
PROVIDERS: tuple[Provider, ...] = ("openai", "azure", "anthropic", "compatible")

DEFAULT_BASE_URLS: Mapping[Provider, str] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
}
"""Azure has an address per resource, and a compatible server may be anywhere: these must be given."""

KEY_NAME_PATTERN = r"[A-Za-z0-9._-]{1,64}"

DEFAULT_AZURE_API_VERSION = "2024-10-21"
"""The latest generally available version of the data plane that is asked for by its date; `/openai/v1` needs none
(https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle)."""

REFUNDS: Mapping[Provider, bool] = {"openai": False, "azure": False, "anthropic": True, "compatible": False}
"""Whether a provider's count gives back what a request reserved and didn't use.

OpenAI charges at admission, the larger of `max_tokens` and an estimate from the request's characters
(https://platform.openai.com/docs/guides/rate-limits#reduce-the-max_tokens-to-match-the-size-of-your-completions); so
does Azure, an estimate of prompt and `max_tokens` that stays until the minute's end and is not what is billed
(https://learn.microsoft.com/azure/ai-services/openai/how-to/quota#understanding-rate-limits). Anthropic estimates the
input and corrects it, and counts output only as it is produced: `max_tokens` has no part in it
(https://platform.claude.com/docs/en/api/rate-limits). Of compatible servers nothing is known, so nothing is refunded.
"""


@dataclass(frozen=True, slots=True)
class KeyConfig:
    """A key by its name, which is what everyone sees.

    `group` None: the key shares its limits with no other name. `group_settings`: the limits of the whole group,
    within which the key's own are its project's; None: the key's limits are the group's. `models` maps names and
    patterns of models to their settings, in the file's order; empty: the key serves any model, under `limits`, or
    under learned ones where that is None. `headroom` is from 0 to below 1. `refunds` None: as REFUNDS has it for the
    provider. `timeout_s` and `concurrency` None: as the settings say. `line_number` is where the key stands in its
    file. What stands under a field goes into `docs/configuration.md`.
    """

    name: str
    """What everybody sees of the key."""
    api_key: SecretReference
    """Where its secret is."""
    group: str | None = None
    """Keys of one organisation: they share its limits, and are out of credit together (default: alone)."""
    proxy: ProxyUrl | None = None
    """The way to the provider (default: that of the environment)."""
    provider: Provider = "openai"
    """Whose interface it is; `compatible` is any other server that speaks OpenAI's."""
    base_url: str = DEFAULT_BASE_URLS["openai"]
    """The provider's address (default: OpenAI's or Anthropic's; others need it)."""
    organization: str | None = None
    """Sent as `OpenAI-Organization` (default: none)."""
    project: str | None = None
    """Sent as `OpenAI-Project`; within a group that stands under `groups` it also tells pools apart (default:
    none)."""
    headers: Mapping[str, SecretReference] = field(default_factory=dict, hash=False)
    """More headers, by name, with secrets as at `api_key` (default: none)."""
    timeout_s: float | None = None
    """Longest silence of the provider in a call (default: `KEYFLEET_TIMEOUT`)."""
    concurrency: int | None = None
    """Most calls under way (default: `KEYFLEET_CONCURRENCY`)."""
    workers: int = 1
    """How many processes serve it on a host."""
    headroom: float = 0.0
    """The share of every limit that is left to others."""
    models: Mapping[str, ModelSettings] = field(default_factory=dict, hash=False)
    """The models it serves, and their limits (default: any model)."""
    limits: ModelLimits | None = None
    group_settings: GroupSettings | None = None
    api_version: str | None = None
    """Azure's, for a `base_url` without `/openai/v1` (default: `2024-10-21`)."""
    refunds: bool | None = None
    """Whether the provider gives back what a request reserved and didn't use (default: `anthropic` yes, others no)."""
    line_number: int | None = field(default=None, compare=False, repr=False)

    @property
    def share(self) -> float:
        """The share of its limits that may be used: 1 less `headroom`."""
        return round(1.0 - self.headroom, 9)

    def serves(self, model: str) -> bool:
        """Whether requests for `model` may go to this key."""
        return not self.models or best_pattern(self.models, model) is not None

    def settings_for(self, model: str) -> ModelSettings:
        """What is configured for `model` itself. Raises LookupError for a model that the key doesn't serve."""
        if not self.models:
            return ModelSettings(self.limits or ModelLimits())
        pattern = best_pattern(self.models, model)
        if pattern is None:
            raise LookupError(f"key {self.name} doesn't serve the model {model}")
        return self.models[pattern]

    def pools_for(self, model: str) -> tuple[Pool, ...]:
        """The one or two pools that `model` draws on, the outermost first.

        One, where the key has no group (its own pool), where its group has no limits apart from the key's (the
        group's pool), and where only its group has some for this model. Two, where both have: the group's, and in
        it the one of the key's project.

        Raises LookupError for a model that the key doesn't serve.
        """
        limits = self.settings_for(model).limits
        if self.group_settings is None:
            return (pool_of("group" if self.group else "own", self.models, self.limits, model),)
        outer = self.group_settings.pool_for(model)
        return (outer, pool_of("own", self.models, self.limits, model)) if limits else (outer,)

    def unset_variables(self, env: Environment) -> tuple[str, ...]:
        """The variables that its secrets need and that are not set, each once."""
        references = [self.api_key, *([self.proxy] if self.proxy else []), *self.headers.values()]
        return tuple(dict.fromkeys(name for reference in references for name in reference.unset_variables(env)))
