"""Other people's code that breaks with a secret in its words, or logs one: no log shows it."""

from __future__ import annotations

import os
from pathlib import Path

from keyfleet.sim import SimConfig
from support import Place, ServerProcess, bare_line, sim_key, write_lines
from support.fixtures import StartSim
from support.ledger_check import assert_promises_kept
from support.secret_hunt import forms_of, traces_in

SECRET = "Zq7vXw2pLk9sTf4rBn6mYc1d"
LINES = 24

CARELESS = """
import logging, threading, warnings
from urllib3.connection import HTTPConnection

send, calls = HTTPConnection.request, []


def careless(self, method, url, body=None, headers=None, **named):
    calls.append(url)
    words = f"sending {dict(headers)}"
    logging.getLogger("urllib3.careless").debug("%s", words)
    if len(calls) % 4 == 1:
        try:
            raise ValueError(words)
        except ValueError as error:
            raise RuntimeError(words) from error
    if len(calls) % 4 == 2:
        warnings.warn(words, UserWarning)
    if len(calls) % 4 == 3:
        threading.Thread(target=fail, args=(words,), name=words).start()
        logging.getLogger("careless.of.its.own").error("it failed", exc_info=RuntimeError(words))
    return send(self, method, url, body, headers, **named)


def fail(words):
    raise KeyError(words)


HTTPConnection.request = careless
"""


def path_with_careless_client(directory: Path) -> str:
    """The path of modules for processes whose HTTP client is careless."""
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(CARELESS, encoding="utf-8")
    return os.pathsep.join(filter(None, (str(directory), os.environ.get("PYTHONPATH"))))


def test_what_other_code_says_and_dies_of_shows_no_secret(
    place: Place, start_sim: StartSim, broker: ServerProcess
) -> None:
    key = sim_key("one", secret=SECRET)
    sim = start_sim(SimConfig(keys=(key,)))
    place.write_keys(sim, (key,))
    write_lines(place.directory / "in.jsonl", [bare_line(n) for n in range(1, LINES + 1)])
    arguments = ("worker", "--key", "one", "--log-level", "debug", "--broker", broker.url)
    worker = place.start(*arguments, PYTHONPATH=path_with_careless_client(place.directory / "site"))
    run = place.start("run", "in.jsonl", "--no-workers", "--broker", broker.url)
    assert run.wait() == 0, run.stderr
    assert_promises_kept(sim, place.directory / "in_results.jsonl", LINES)
    said = worker.stderr
    for trace in ("a call broke on one", "RuntimeError", "UserWarning", "an error ended the thread", "it failed"):
        assert trace in said, f"{trace} is not in the log"
    assert said.count("urllib3.careless: sending {") >= LINES
    assert traces_in(said.encode(), forms_of(SECRET)) == []
