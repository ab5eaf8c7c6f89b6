"""The settings of the provider stand-in: a tree of frozen dataclasses that check themselves.

Every error is a `ConfigurationError` that names the setting and what is expected, never the value of a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from limits import parse

from keyfleet.errors import ConfigurationError
from keyfleet.sim.checks import require, require_choice, require_count, require_number
from keyfleet.sim.conduct import SimAnswers, SimFaults, SimLatency

__all__ = [
    "Behaviour",
    "Flavour",
    "Kind",
    "LimitOf",
    "SimConfig",
    "SimKey",
    "SimLimit",
    "parse_limits",
]

LimitOf = Literal["requests", "tokens", "images"]
Kind = Literal["sliding", "token_bucket", "fixed"]
Flavour = Literal["openai", "azure", "anthropic"]
Behaviour = Literal["ok", "revoked", "deactivated", "out_of_credit", "region_blocked", "outage"]


@dataclass(frozen=True, slots=True)
class SimLimit:
    """`amount` requests, tokens or images in any window of `window_s` seconds."""

    of: LimitOf
    amount: int
    window_s: float

    def __post_init__(self) -> None:
        require_choice(self.of, "of", LimitOf)
        require_count(self, "amount", least=1)
        require_number(self, "window_s", above=0)

    @classmethod
    def parse(cls, of: LimitOf, notation: str) -> SimLimit:
        """Read the notation of the `limits` library: `500/minute`, `600/10 second`, `10000/day`."""
        try:
            item = parse(notation)
        except ValueError:
            message = f"{of}: expected a limit such as 500/minute or 600/10 second, not {notation!r}"
            raise ConfigurationError(message, setting=of) from None
        return cls(of, item.amount, float(item.get_expiry()))


def parse_limits(
    *, requests: Iterable[str] = (), tokens: Iterable[str] = (), images: Iterable[str] = ()
) -> tuple[SimLimit, ...]:
    """Limits from the notation of the `limits` library: requests, then tokens, then images."""
    given: tuple[tuple[LimitOf, Iterable[str]], ...] = (("requests", requests), ("tokens", tokens), ("images", images))
    return tuple(SimLimit.parse(of, notation) for of, notations in given for notation in notations)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimKey:
    """One API key that the stand-in knows. `api_key` is made up, and still never shown.

    `limits` hold for all models together that `models` doesn't name; `models` maps a model's name or pattern
    (`gpt-4o*`, one pool for all that match) to limits of its own. A key with `models` and without `limits` serves
    only those models; a key with neither is unlimited. Keys of one `group` (default: the key's own name) share
    their limits, which must be written equal at each of them. `kind` None means the kind of the whole stand-in.
    `flavour` is whose paths, headers and errors the key meets; with `azure` the path names the model.
    """

    name: str
    api_key: str = field(repr=False)
    limits: tuple[SimLimit, ...] = ()
    models: Mapping[str, tuple[SimLimit, ...]] = field(default_factory=dict)
    group: str | None = None
    kind: Kind | None = None
    behaviour: Behaviour = "ok"
    flavour: Flavour = "openai"

    def __post_init__(self) -> None:
        require(isinstance(self.name, str) and bool(self.name), "name", "a text that is not empty")
        secret_is_text = isinstance(self.api_key, str) and self.api_key.isascii() and self.api_key.isprintable()
        require(secret_is_text and self.api_key.strip() != "", "api_key", "a made-up key of printable ASCII")
        require(self.group is None or isinstance(self.group, str), "group", "a text")
        require_choice(self.behaviour, "behaviour", Behaviour)
        require_choice(self.flavour, "flavour", Flavour)
        if self.kind is not None:
            require_choice(self.kind, "kind", Kind)

    @property
    def quota_group(self) -> str:
        """The group whose limits this key uses up."""
        return self.group or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class SimConfig:
    """The whole stand-in.

    `accept_any_key` gives every unknown key a quota of its own under `default_limits`. `quantum_s` enforces limits
    of requests in shorter windows at the same rate (60/minute at 1 s: 1/second); the headers show the limit as
    written. Limits of tokens are not cut up, since one request may need more than such a slice. `refused_counts`
    makes a request refused by a limit count against the limits of requests all the same. `models` are the models
    that exist; empty means any. `max_inputs` is the most texts that one call may hold (None: any number).
    `track_bodies` False saves 16 bytes and more per request, but duplicates are then not counted; `track_inputs` counts
    texts that are sent again in place of bodies, whichever calls they are in.
    """

    keys: tuple[SimKey, ...] = ()
    kind: Kind = "sliding"
    quantum_s: float | None = None
    refused_counts: bool = False
    accept_any_key: bool = False
    default_limits: tuple[SimLimit, ...] = ()
    models: tuple[str, ...] = ()
    latency: SimLatency = field(default_factory=SimLatency)
    answers: SimAnswers = field(default_factory=SimAnswers)
    faults: SimFaults = field(default_factory=SimFaults)
    seed: int = 0
    track_bodies: bool = True
    track_inputs: bool = False
    max_inputs: int | None = None

    def __post_init__(self) -> None:
        require_choice(self.kind, "kind", Kind)
        for setting in ("refused_counts", "accept_any_key", "track_bodies", "track_inputs"):
            require(isinstance(getattr(self, setting), bool), setting, "true or false")
        require(isinstance(self.seed, int), "seed", "a whole number")
        require(all(isinstance(model, str) for model in self.models), "models", "a list of names")
        if self.quantum_s is not None:
            require_number(self, "quantum_s", above=0)
        if self.max_inputs is not None:
            require_count(self, "max_inputs", least=1)
        require(bool(self.keys) or self.accept_any_key, "keys", "at least one key, or accept_any_key: true")
        self._check_keys()

    def _check_keys(self) -> None:
        names: set[str] = set()
        secrets: set[str] = set()
        groups: dict[str, SimKey] = {}
        for index, key in enumerate(self.keys):
            require(key.name not in names, f"keys[{index}].name", f"a name used once; {key.name!r} stands twice")
            require(key.api_key not in secrets, f"keys[{index}].api_key", "a key of its own; it stands twice")
            first = groups.setdefault(key.quota_group, key)
            same = _shared(first) == _shared(key)
            expected = f"the limits, kind and flavour of {first.name!r}, since group {key.quota_group!r} shares them"
            require(same, f"keys[{index}]", expected)
            names.add(key.name)
            secrets.add(key.api_key)


def _shared(key: SimKey) -> tuple[object, ...]:
    """What keys of one group have in common."""
    return key.limits, dict(key.models), key.kind, key.flavour
