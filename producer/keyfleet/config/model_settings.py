"""What is configured for models: their limits, their names at the provider, and the pools that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from keyfleet.config.model_limits import ModelLimits, best_pattern

__all__ = ["ANY_MODEL", "GroupSettings", "ModelSettings", "Pool", "PoolLevel", "pool_of"]

ANY_MODEL = "*"
"""The scope of limits that stand at the key or group itself and so cover all of its models together."""

PoolLevel = Literal["group", "own"]


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What stands at one name or pattern of models.

    `alias` None: the same name. `family` None: the entry is a pool of its own. Entries of one family have the same
    `limits`, also where the file gives them at one of them only. What stands under a field goes into
    `docs/configuration.md`.
    """

    limits: ModelLimits = field(default_factory=ModelLimits)
    alias: str | None = None
    """The model's name at the provider: an Azure deployment, `openai/gpt-4o` at OpenRouter (default: the same
    name)."""
    family: str | None = None
    """Entries of one family are one pool; give its limits at one of them, or the same at all (default: none)."""


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """The limits of a whole organisation, within which each of its projects may have its own.

    As at a key, either `models` have limits, or `limits` cover all models together, or they are learned.
    """

    models: Mapping[str, ModelSettings] = field(default_factory=dict, hash=False)
    limits: ModelLimits | None = None

    def pool_for(self, model: str) -> Pool:
        """The organisation's pool that `model` draws on; a model that none of its patterns matches has its own."""
        return pool_of("group", self.models, self.limits, model)


@dataclass(frozen=True, slots=True)
class Pool:
    """What requests of some models draw on together.

    `level` "group": shared by all keys of a group. "own": the project's or the key's own. `scope` names the pool
    within what `level` says. `limits` are the configured ones, without headroom taken off; None: nobody configured
    any.
    """

    level: PoolLevel
    scope: str
    limits: ModelLimits | None


def pool_of(level: PoolLevel, models: Mapping[str, ModelSettings], limits: ModelLimits | None, model: str) -> Pool:
    """The pool that `model` draws on, where `models` or `limits` (for all models together) are configured.

    Its scope is the family, else the pattern that matches, as it is written: all models that match `gpt-4o*` share
    its limits. Where limits have to be learned, it is the family, else the model's own name, since providers count
    each model for itself.
    """
    if not models:
        return Pool(level, ANY_MODEL if limits else model, limits or None)
    pattern = best_pattern(models, model)
    if pattern is None:
        return Pool(level, model, None)
    settings = models[pattern]
    return Pool(level, settings.family or (pattern if settings.limits else model), settings.limits or None)
