"""Programs of users that submit jobs, in processes of their own, which say how they stand on standard output."""

from __future__ import annotations

from support.commands import Command
from support.events import wait_until
from support.place import Place

__all__ = ["start_job_program", "wait_until_printed"]

_HEAD = """
import asyncio, json, logging, os, signal, sys, threading
from keyfleet import *
logging.basicConfig(level="WARNING")

def chat(text, **more):
    return {"model": "sim-model", "messages": [{"role": "user", "content": text}], "max_tokens": 5, **more}

def rows(count, text=""):
    for number in range(count):
        yield chat(f"row {number:06d} {text}".strip())

def say(*words):
    print(*words, flush=True)

"""


def start_job_program(place: Place, code: str, **changed: str) -> Command:
    """Start a program with `chat`, `rows`, `say` and keyfleet's names at hand; `changed` are more of its variables."""
    return place.start_program(_HEAD + code, **changed)


def wait_until_printed(program: Command, text: str, timeout_s: float = 30.0) -> str:
    """The line it prints that begins with `text`, without that. Fails if the program ends before."""

    def line() -> str | None:
        ended = program.code is not None
        found = next((line for line in program.stdout.splitlines() if line.startswith(text)), None)
        assert found is not None or not ended, f"it ended ({program.code}) without printing {text!r}:\n{program.stderr}"
        return found

    return str(wait_until(line, f"the program prints {text!r}", timeout_s=timeout_s)).removeprefix(text).strip()
