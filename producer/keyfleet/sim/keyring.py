"""The keys that the stand-in knows, and the quotas behind them."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from hashlib import sha256

from keyfleet.sim.config import Behaviour, Flavour, Kind, SimConfig, SimKey, SimLimit
from keyfleet.sim.enforcement import Quota

__all__ = ["ALL_KEYS", "GroupQuota", "KeyState", "Keyring"]

ALL_KEYS = "*"
"""Stands for every key where one can be named."""

_ANY_MODEL = "*"


class GroupQuota(Quota):
    """A quota that knows whose it is: of `group`, for the models that match `pattern`."""

    def __init__(
        self,
        config: SimConfig,
        group: str,
        pattern: str,
        limits: tuple[SimLimit, ...],
        kind: Kind,
        flavour: Flavour = "openai",
    ) -> None:
        super().__init__(limits, kind=kind, quantum_s=config.quantum_s, refused_counts=config.refused_counts)
        self.group = group
        self.pattern = pattern
        self.flavour: Flavour = flavour
        self.rules = (group, pattern, self.limits, kind, flavour, config.quantum_s, config.refused_counts)
        """What must be equal for a new configuration to go on with this quota as it stands."""


class KeyState:
    """One known key. `name` is what statistics show; the key itself is not kept here."""

    __slots__ = ("_quotas", "behaviour", "flavour", "group", "name")

    def __init__(self, key: SimKey, quotas: Mapping[str, GroupQuota]) -> None:
        self.name = key.name
        self.group = key.quota_group
        self.behaviour = key.behaviour
        self.flavour: Flavour = key.flavour
        self._quotas = quotas

    def quota_for(self, model: str) -> GroupQuota | None:
        """The quota that a model uses: by its name, else by the first pattern that matches; None: not served."""
        exact = self._quotas.get(model)
        if exact is not None:
            return exact
        return next((quota for pattern, quota in self._quotas.items() if fnmatchcase(model, pattern)), None)


class Keyring:
    """All keys of a configuration. Quotas that `earlier` holds under the same rules go on where they stand."""

    def __init__(self, config: SimConfig, earlier: Keyring | None = None) -> None:
        self._config = config
        self._kept = {quota.rules: quota for quota in earlier._quotas.values()} if earlier else {}
        self._quotas: dict[tuple[str, str], GroupQuota] = {}
        self._behaviour_of_strangers: Behaviour = "ok"
        self._keys = {key.api_key: self._key_state(key) for key in config.keys}

    def find(self, api_key: str) -> KeyState | None:
        """The state of a key; None where it is unknown and unknown keys aren't accepted."""
        known = self._keys.get(api_key)
        if known is None and self._config.accept_any_key:
            name = "any-" + sha256(api_key.encode("utf-8", "surrogateescape")).hexdigest()[:8]
            stranger = SimKey(
                name=name,
                api_key="unused",
                limits=self._config.default_limits,
                behaviour=self._behaviour_of_strangers,
            )
            known = self._keys[api_key] = self._key_state(stranger)
        return known

    def set_behaviour(self, name: str, behaviour: Behaviour) -> bool:
        """From now on the key `name`, or with `*` every key, behaves so; False: no such key."""
        if name == ALL_KEYS:
            self._behaviour_of_strangers = behaviour
        found = [state for state in self._keys.values() if name in (state.name, ALL_KEYS)]
        for state in found:
            state.behaviour = behaviour
        return bool(found) or name == ALL_KEYS

    def _key_state(self, key: SimKey) -> KeyState:
        limits = dict(key.models)
        if key.limits or not limits:
            limits[_ANY_MODEL] = key.limits
        kind = key.kind or self._config.kind
        quotas = {pattern: self._quota(key, pattern, given, kind) for pattern, given in limits.items()}
        return KeyState(key, quotas)

    def _quota(self, key: SimKey, pattern: str, limits: tuple[SimLimit, ...], kind: Kind) -> GroupQuota:
        group = key.quota_group
        known = self._quotas.get((group, pattern))
        if known is None:
            fresh = GroupQuota(self._config, group, pattern, limits, kind, key.flavour)
            known = self._quotas[group, pattern] = self._kept.get(fresh.rules, fresh)
        return known
