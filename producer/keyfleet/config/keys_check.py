"""What a keys file may say and most likely doesn't mean: warnings for `keyfleet keys check`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from keyfleet.config.key_config import KeyConfig
from keyfleet.config.model_limits import ModelLimits, best_pattern
from keyfleet.config.model_settings import ANY_MODEL, ModelSettings, Pool

__all__ = ["keys_warnings"]

_SAMPLES = ("", "a", "-0x")
"""What a wildcard is replaced by, to find models that a pattern matches."""


def keys_warnings(keys: Sequence[KeyConfig]) -> tuple[str, ...]:
    """Warnings about keys that were read without an error, each with the names and lines of the keys it is about.

    Keys of a group that give one pool different limits; the same secret under two names; a pattern of models that
    never applies; a secret that is written out in the file. No secret is in them.
    """
    return (*_differing_limits(keys), *_shared_secrets(keys), *_dead_patterns(keys), *_literal_secrets(keys))


@dataclass(frozen=True)
class _Claim:
    """What one key says of a pool's limits."""

    key: KeyConfig
    limits: ModelLimits | None


def _differing_limits(keys: Iterable[KeyConfig]) -> Iterator[str]:
    first: dict[tuple[str | None, ...], _Claim] = {}
    warned: set[tuple[str | None, ...]] = set()
    for key in keys:
        if key.group is None:
            continue
        for model in key.models or (ANY_MODEL,):
            pool = key.pools_for(model)[-1]
            identity = _identity(key, pool)
            claim = first.setdefault(identity, _Claim(key, pool.limits))
            if claim.limits != pool.limits and identity not in warned:
                warned.add(identity)
                yield (
                    f"{_named(key)} and {_named(claim.key)} share the limits of {pool.scope} in group {key.group}, "
                    "but give different ones; each keeps to its own. Expected the same at both"
                )


def _identity(key: KeyConfig, pool: Pool) -> tuple[str | None, ...]:
    if pool.level == "group":
        return ("group", key.group, pool.scope)
    return ("project", key.group, key.project or f"secret {hash(key.api_key)}", pool.scope)


def _shared_secrets(keys: Iterable[KeyConfig]) -> Iterator[str]:
    first: dict[object, KeyConfig] = {}
    for key in keys:
        other = first.setdefault((key.api_key, key.base_url), key)
        if other is not key:
            yield (
                f"{_named(key)} and {_named(other)} have the same api_key, so they are one account under two names "
                "and share its limits; expected a secret for each, or `workers: 2` at one"
            )


def _dead_patterns(keys: Iterable[KeyConfig]) -> Iterator[str]:
    groups_seen = set()
    for key in keys:
        yield from _dead_patterns_of(key.models, _named(key))
        if key.group_settings is not None and key.group not in groups_seen:
            groups_seen.add(key.group)
            yield from _dead_patterns_of(key.group_settings.models, f"group {key.group}")


def _dead_patterns_of(models: Mapping[str, ModelSettings], where: str) -> Iterator[str]:
    for pattern in models:
        winners = {best_pattern(models, model) for model in _matching_models(pattern)}
        if winners and pattern not in winners:
            other = min(winner for winner in winners if winner is not None)
            yield f"{where}: the models of `{pattern}` all go to `{other}`, so `{pattern}` never applies"


def _matching_models(pattern: str) -> list[str]:
    """Some models that `pattern` matches; those of a pattern with `[…]` can't be made up so simply."""
    if "[" in pattern or not set(pattern) & set("*?"):
        return []
    return [pattern.replace("*", sample).replace("?", letter) for sample in _SAMPLES for letter in "a0"]


def _literal_secrets(keys: Iterable[KeyConfig]) -> Iterator[str]:
    for key in keys:
        fields = ["api_key"] if key.api_key.is_literal else []
        if key.proxy is not None and key.proxy.has_literal_credentials:
            fields.append("proxy")
        for field in fields:
            yield (
                f"{_named(key)}: the secret of `{field}` is written out in the file; "
                "${VARIABLE} or file:/path keeps it out of backups and version control"
            )


def _named(key: KeyConfig) -> str:
    return f"key {key.name} (line {key.line_number})" if key.line_number else f"key {key.name}"
