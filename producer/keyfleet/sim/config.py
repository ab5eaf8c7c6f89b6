"""The settings of the provider stand-in: a tree of frozen dataclasses that check themselves.

Every error is a `ConfigurationError` that names the setting and what is expected, never the value of a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal, get_args

from limits import parse

from keyfleet.errors import ConfigurationError

__all__ = [
    "Behaviour",
    "Flavour",
    "Kind",
    "LimitOf",
    "SimAnswers",
    "SimConfig",
    "SimFaults",
    "SimKey",
    "SimLatency",
    "SimLimit",
    "parse_limits",
]

LimitOf = Literal["requests", "tokens"]
Kind = Literal["sliding", "token_bucket", "fixed"]
Flavour = Literal["openai", "azure", "anthropic"]
Behaviour = Literal["ok", "revoked", "deactivated", "out_of_credit", "region_blocked", "outage"]


def _require(condition: bool, setting: str, expected: str) -> None:
    if not condition:
        raise ConfigurationError(f"{setting}: expected {expected}", setting=setting)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value)


def _require_number(owner: object, setting: str, *, above: float | None = None) -> None:
    """Check that a field is a number >= 0, or > `above` where that is given."""
    value = getattr(owner, setting)
    if above is None:
        _require(_is_number(value) and value >= 0, setting, "a number of 0 or more")
    else:
        _require(_is_number(value) and value > above, setting, f"a number above {above:g}")


def _require_count(owner: object, setting: str, *, least: int = 0) -> None:
    value = getattr(owner, setting)
    is_count = isinstance(value, int) and not isinstance(value, bool)
    _require(is_count and value >= least, setting, f"a whole number of {least} or more")


def _require_choice(value: object, setting: str, choices: object) -> None:
    names = get_args(choices)
    _require(value in names, setting, "one of " + ", ".join(names))


@dataclass(frozen=True, slots=True)
class SimLimit:
    """`amount` requests or tokens in any window of `window_s` seconds."""

    of: LimitOf
    amount: int
    window_s: float

    def __post_init__(self) -> None:
        _require_choice(self.of, "of", LimitOf)
        _require_count(self, "amount", least=1)
        _require_number(self, "window_s", above=0)

    @classmethod
    def parse(cls, of: LimitOf, notation: str) -> SimLimit:
        """Read the notation of the `limits` library: `500/minute`, `600/10 second`, `10000/day`."""
        try:
            item = parse(notation)
        except ValueError:
            message = f"{of}: expected a limit such as 500/minute or 600/10 second, not {notation!r}"
            raise ConfigurationError(message, setting=of) from None
        return cls(of, item.amount, float(item.get_expiry()))


def parse_limits(*, requests: Iterable[str] = (), tokens: Iterable[str] = ()) -> tuple[SimLimit, ...]:
    """Limits from the notation of the `limits` library, requests first."""
    of_requests = [SimLimit.parse("requests", notation) for notation in requests]
    return (*of_requests, *(SimLimit.parse("tokens", notation) for notation in tokens))


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
        _require(isinstance(self.name, str) and bool(self.name), "name", "a text that is not empty")
        secret_is_text = isinstance(self.api_key, str) and self.api_key.isascii() and self.api_key.isprintable()
        _require(secret_is_text and self.api_key.strip() != "", "api_key", "a made-up key of printable ASCII")
        _require(self.group is None or isinstance(self.group, str), "group", "a text")
        _require_choice(self.behaviour, "behaviour", Behaviour)
        _require_choice(self.flavour, "flavour", Flavour)
        if self.kind is not None:
            _require_choice(self.kind, "kind", Kind)

    @property
    def quota_group(self) -> str:
        """The group whose limits this key uses up."""
        return self.group or self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class SimLatency:
    """How long an answer takes: `latency_ms` give or take `jitter_ms` (uniform), counted from admission.

    `admission_jitter_ms` is a uniform delay of 0 up to that many milliseconds before a request meets its limits,
    as a network would add. Refusals (401, 429, 400) come without latency.
    """

    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    admission_jitter_ms: float = 0.0

    def __post_init__(self) -> None:
        for setting in ("latency_ms", "jitter_ms", "admission_jitter_ms"):
            _require_number(self, setting)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimAnswers:
    """What answers hold and what requests cost.

    A prompt costs its UTF-8 bytes / `bytes_per_token`, rounded up. `default_output_tokens` is charged where a
    request sets no maximum. `completion_tokens` (default: half of what is allowed, rounded up) is reported as
    output, never more than allowed. `answer_bytes` of filler follow the echo of the prompt in every choice.
    """

    answer_bytes: int = 0
    completion_tokens: int | None = None
    default_output_tokens: int = 16
    bytes_per_token: float = 4.0
    embedding_dimensions: int = 8

    def __post_init__(self) -> None:
        _require_count(self, "answer_bytes")
        _require_count(self, "default_output_tokens")
        _require_number(self, "bytes_per_token", above=0)
        _require_count(self, "embedding_dimensions", least=1)
        if self.completion_tokens is not None:
            _require_count(self, "completion_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimFaults:
    """Shares (0 to 1, together at most 1) of the requests that meet each fault.

    `spurious_429` refuses although there is room, and charges nothing. All others strike after admission, so they
    are charged. A hang ends when the client leaves, or without an answer after `hang_s`.
    """

    error_500: float = 0.0
    error_503: float = 0.0
    spurious_429: float = 0.0
    reset: float = 0.0
    hang: float = 0.0
    cut_off: float = 0.0
    invalid_json: float = 0.0
    refuse_content: float = 0.0
    hang_s: float = 600.0
    spurious_retry_after_ms: int = 200

    def __post_init__(self) -> None:
        for setting, rate in self.rates().items():
            _require(_is_number(rate) and 0 <= rate <= 1, setting, "a share from 0 to 1")
        _require(sum(self.rates().values()) <= 1 + 1e-9, "faults", "shares that add up to 1 at most")
        _require_number(self, "hang_s", above=0)
        _require_count(self, "spurious_retry_after_ms")

    def rates(self) -> dict[str, float]:
        """The share of each fault by its name."""
        return {
            "error_500": self.error_500,
            "error_503": self.error_503,
            "spurious_429": self.spurious_429,
            "reset": self.reset,
            "hang": self.hang,
            "cut_off": self.cut_off,
            "invalid_json": self.invalid_json,
            "refuse_content": self.refuse_content,
        }


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
        _require_choice(self.kind, "kind", Kind)
        for setting in ("refused_counts", "accept_any_key", "track_bodies", "track_inputs"):
            _require(isinstance(getattr(self, setting), bool), setting, "true or false")
        _require(isinstance(self.seed, int), "seed", "a whole number")
        _require(all(isinstance(model, str) for model in self.models), "models", "a list of names")
        if self.quantum_s is not None:
            _require_number(self, "quantum_s", above=0)
        if self.max_inputs is not None:
            _require_count(self, "max_inputs", least=1)
        _require(bool(self.keys) or self.accept_any_key, "keys", "at least one key, or accept_any_key: true")
        self._check_keys()

    def _check_keys(self) -> None:
        names: set[str] = set()
        secrets: set[str] = set()
        groups: dict[str, SimKey] = {}
        for index, key in enumerate(self.keys):
            _require(key.name not in names, f"keys[{index}].name", f"a name used once; {key.name!r} stands twice")
            _require(key.api_key not in secrets, f"keys[{index}].api_key", "a key of its own; it stands twice")
            first = groups.setdefault(key.quota_group, key)
            same = _shared(first) == _shared(key)
            expected = f"the limits, kind and flavour of {first.name!r}, since group {key.quota_group!r} shares them"
            _require(same, f"keys[{index}]", expected)
            names.add(key.name)
            secrets.add(key.api_key)


def _shared(key: SimKey) -> tuple[object, ...]:
    """What keys of one group have in common."""
    return key.limits, dict(key.models), key.kind, key.flavour
