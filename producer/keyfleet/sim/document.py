"""Reading the stand-in's settings from YAML, and writing them as a plain document that reads back equal.

The document mirrors `SimConfig`. A limit is a text (`600/10 second`) or, for windows that the notation can't say,
`{amount: 60, window_s: 0.5}`; limits stand in `requests:`, `tokens:` and `images:` lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml

from keyfleet.errors import ConfigurationError
from keyfleet.sim.conduct import SimAnswers, SimFaults, SimLatency
from keyfleet.sim.config import LimitOf, SimConfig, SimKey, SimLimit

__all__ = ["config_from_document", "document_of", "load_sim_config"]

Part = TypeVar("Part", SimAnswers, SimFaults, SimLatency)

_UNITS: tuple[LimitOf, ...] = get_args(LimitOf)
_LIMIT_FIELDS = frozenset(_UNITS)
_KEY_FIELDS = frozenset({"name", "api_key", "models", "group", "kind", "behaviour", "flavour"}) | _LIMIT_FIELDS
_CONFIG_FIELDS = frozenset(one.name for one in fields(SimConfig))


def load_sim_config(path: Path) -> SimConfig:
    """Read a YAML file.

    Raises ConfigurationError that names the file and the field, with what is expected there.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read ({error.strerror})", setting=str(path)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{path}{where}: is no valid YAML", setting=str(path)) from None
    try:
        return config_from_document({} if document is None else document)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}", setting=error.setting) from None


def config_from_document(document: object) -> SimConfig:
    """A configuration from what a YAML or JSON text holds; raises ConfigurationError that names the field."""
    values = _mapping(document, "the configuration", _CONFIG_FIELDS)
    if "latency" in values:
        values["latency"] = _part(SimLatency, values["latency"], "latency")
    if "answers" in values:
        values["answers"] = _part(SimAnswers, values["answers"], "answers")
    if "faults" in values:
        values["faults"] = _part(SimFaults, values["faults"], "faults")
    if "default_limits" in values:
        values["default_limits"] = _limits(_mapping(values["default_limits"], "default_limits", _LIMIT_FIELDS), "")
    if "models" in values:
        values["models"] = tuple(_list(values["models"], "models"))
    if "keys" in values:
        keys = _list(values["keys"], "keys")
        values["keys"] = tuple(_key(entry, f"keys[{index}]") for index, entry in enumerate(keys))
    return SimConfig(**values)


def document_of(config: SimConfig) -> dict[str, Any]:
    """The same configuration as a plain document (it holds the made-up keys)."""
    document = {one.name: getattr(config, one.name) for one in fields(config)}
    for name in ("latency", "answers", "faults"):
        document[name] = asdict(document[name])
    document["models"] = list(config.models)
    document["default_limits"] = _document_of_limits(config.default_limits)
    document["keys"] = [
        {
            "name": key.name,
            "api_key": key.api_key,
            "group": key.group,
            "kind": key.kind,
            "behaviour": key.behaviour,
            "flavour": key.flavour,
            "models": {model: _document_of_limits(limits) for model, limits in key.models.items()},
            **_document_of_limits(key.limits),
        }
        for key in config.keys
    ]
    return document


def _document_of_limits(limits: tuple[SimLimit, ...]) -> dict[str, Any]:
    lists: dict[str, Any] = {of: [] for of in _UNITS}
    for limit in limits:
        lists[limit.of].append({"amount": limit.amount, "window_s": limit.window_s})
    return lists


def _mapping(value: object, where: str, allowed: frozenset[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where}: expected fields and values", setting=where)
    unknown = sorted(str(name) for name in value if name not in allowed)
    if unknown:
        expected = ", ".join(sorted(allowed))
        raise ConfigurationError(f"{where}: unknown field {unknown[0]!r}; expected {expected}", setting=unknown[0])
    return dict(value)


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigurationError(f"{where}: expected a list", setting=where)
    return value


def _part(kind: type[Part], value: object, where: str) -> Part:
    values = _mapping(value, where, frozenset(one.name for one in fields(kind)))
    try:
        return kind(**values)
    except ConfigurationError as error:
        raise _within(where, error) from None


def _key(value: object, where: str) -> SimKey:
    values = _mapping(value, where, _KEY_FIELDS)
    for name in ("name", "api_key"):
        if name not in values:
            raise ConfigurationError(f"{where}: the field {name} is missing", setting=f"{where}.{name}")
    limits = _limits(values, where)
    models = values.pop("models", None) or {}
    if not isinstance(models, Mapping):
        raise ConfigurationError(f"{where}.models: expected models with their limits", setting=f"{where}.models")
    values["models"] = {
        str(model): _limits(_mapping(given or {}, f"{where}.models.{model}", _LIMIT_FIELDS), f"{where}.models.{model}")
        for model, given in models.items()
    }
    try:
        return SimKey(limits=limits, **values)
    except ConfigurationError as error:
        raise _within(where, error) from None


def _limits(values: dict[str, Any], where: str) -> tuple[SimLimit, ...]:
    """Take the lists of limits out of `values`."""
    limits: list[SimLimit] = []
    for of in _UNITS:
        place = f"{where or 'default_limits'}.{of}"
        for index, notation in enumerate(_list(values.pop(of, []), place)):
            limits.append(_limit(of, notation, f"{place}[{index}]"))
    return tuple(limits)


def _limit(of: LimitOf, notation: object, where: str) -> SimLimit:
    try:
        if isinstance(notation, Mapping):
            values = _mapping(notation, where, frozenset({"amount", "window_s"}))
            return SimLimit(of, values.get("amount", 0), values.get("window_s", 0))
        return SimLimit.parse(of, str(notation))
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}", setting=where) from None


def _within(where: str, error: ConfigurationError) -> ConfigurationError:
    return ConfigurationError(f"{where}.{error}", setting=f"{where}.{error.setting}")
