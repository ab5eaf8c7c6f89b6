"""Tells how long a function took."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

__all__ = ["timeit"]

P = ParamSpec("P")
R = TypeVar("R")


def timeit(function: Callable[P, R]) -> Callable[P, R]:
    """A decorator that prints the seconds of each call that returns. The arguments, prompts often, are left out."""

    @functools.wraps(function)
    def timed(*arguments: P.args, **options: P.kwargs) -> R:
        began_s = time.perf_counter()
        result = function(*arguments, **options)
        sys.stdout.write(f"Function {function.__name__} took {time.perf_counter() - began_s:.4f} seconds\n")
        return result

    return timed
