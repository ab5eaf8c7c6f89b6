"""The one place that reads the environment: `os.environ` over the current directory's `.env`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn, TypeVar

from keyfleet.config.dotenv_file import read_dotenv
from keyfleet.config.notation import parse_duration_s, parse_percentage, parse_yes_no
from keyfleet.errors import ConfigurationError

__all__ = ["Environment"]

DOTENV_NAME = ".env"

D = TypeVar("D")
T = TypeVar("T")


class Environment:
    """Variables by name, read once. Nothing of them shows in `repr`, and they can't be pickled by accident.

    A blank variable counts as unset. The getters take several names, of which the first one that is set counts, and
    raise ConfigurationError that names this variable (also as `setting`) and never shows its value.
    """

    __slots__ = ("_from_dotenv", "_values")

    def __init__(self, values: Mapping[str, str], *, from_dotenv: frozenset[str] = frozenset()) -> None:
        self._values = dict(values)
        self._from_dotenv = from_dotenv

    @classmethod
    def read(cls, *, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> Environment:
        """`environ` (default `os.environ`) over the `.env` of `cwd`; a variable set to nothing hides `.env`'s.

        What `.env` holds is not put into `os.environ`, where child processes and crash reports would see it.
        """
        environ = os.environ if environ is None else environ
        dotenv = read_dotenv((cwd or Path.cwd()) / DOTENV_NAME, environ)
        return cls({**dotenv, **environ}, from_dotenv=frozenset(dotenv.keys() - environ.keys()))

    def with_values(self, values: Mapping[str, str]) -> Environment:
        """These variables under `values`."""
        return Environment({**self._values, **values}, from_dotenv=self._from_dotenv - values.keys())

    def get(self, *names: str) -> str | None:
        """The value, without blanks around it, of the first of `names` that is set; None where none is."""
        name = self.first_set(*names)
        return None if name is None else self._values[name].strip()

    def first_set(self, *names: str) -> str | None:
        """The first of `names` that is set to more than blanks."""
        return next((name for name in names if self._values.get(name, "").strip()), None)

    def is_defined(self, name: str) -> bool:
        """Whether `name` stands in the environment at all, be it with nothing in it."""
        return name in self._values

    def names_starting_with(self, prefix: str) -> list[str]:
        """The names, sorted, of the variables that are set and begin with `prefix`."""
        return sorted(name for name in self if name.startswith(prefix))

    def is_from_dotenv(self, name: str) -> bool:
        """Whether the value comes from the `.env` file."""
        return name in self._from_dotenv

    def get_int(self, *names: str, default: D, minimum: int = 1) -> int | D:
        """A whole number of at least `minimum`."""
        expected = f"a whole number of at least {minimum}"
        return self._get(names, default, lambda text: _at_least(int(text), minimum), expected)

    def get_float(self, *names: str, default: D, minimum: float = 0.0) -> float | D:
        """A finite number of at least `minimum`."""
        expected = f"a number of at least {minimum:g}"
        return self._get(names, default, lambda text: _at_least(float(text), minimum), expected)

    def get_bool(self, *names: str, default: D) -> bool | D:
        """yes, true, on or 1; no, false, off or 0."""
        return self._get(names, default, parse_yes_no)

    def get_duration_s(self, *names: str, default: D) -> float | D:
        """Seconds, from `90s`, `10m`, `2h` or plain seconds."""
        return self._get(names, default, parse_duration_s)

    def get_percentage(self, *names: str, default: D) -> float | D:
        """A share above 0 and at most 1, from `70%` or `0.7`."""
        return self._get(names, default, parse_percentage)

    def get_parsed(self, *names: str, default: D, parse: Callable[[str], T]) -> T | D:
        """What `parse` makes of the text; the text of its ValueError goes into the message, so it shows no value."""
        return self._get(names, default, parse)

    def _get(self, names: tuple[str, ...], default: D, parse: Callable[[str], T], expected: str = "") -> T | D:
        name = self.first_set(*names)
        if name is None:
            return default
        try:
            return parse(self._values[name].strip())
        except ValueError as error:
            problem = f"expected {expected}" if expected else str(error)
        # Outside of the handler, so that the ValueError of int() or float(), which quotes the value, isn't chained.
        raise ConfigurationError(f"{name}: {problem}", setting=name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.first_set(name) is not None

    def __iter__(self) -> Iterator[str]:
        return (name for name, value in self._values.items() if value.strip())

    def __repr__(self) -> str:
        return f"Environment({len(self._values)} variables)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Environment holds secrets and can't be pickled")


N = TypeVar("N", int, float)


def _at_least(number: N, minimum: N) -> N:
    if not math.isfinite(number) or number < minimum:
        raise ValueError("too small")
    return number
