"""The part of Keyfleet that runs on worker hosts.

`app` is the Celery application for those who type `celery -A keyfleet_workers worker`; it is made at first use, from
the environment.
"""

from __future__ import annotations

from typing import Any

__all__ = ["app"]


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from keyfleet_workers.celery_app import build_app_from_environment

    globals()["app"] = found = build_app_from_environment()
    return found
