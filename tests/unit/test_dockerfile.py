"""deploy/Dockerfile: two stages, of which the last has no tools, no root, and of the repository the wheel alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.metadata import metadata
from pathlib import Path

import pytest

from keyfleet.config.notation import parse_duration_s
from support.compose_file import PROJECT, compose_document, parse_command

DEPLOY = PROJECT / "deploy"


def instructions() -> list[list[tuple[str, str]]]:
    """Of what precedes the stages, and of each stage: (instruction, rest of the line)."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    found: list[list[tuple[str, str]]] = [[]]
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            if name == "FROM":
                found.append([])
            found[-1].append((name, " ".join(rest.split())))
    return found


BEFORE, BUILD, FINAL = instructions()


def of_final(name: str) -> list[str]:
    return [rest for instruction, rest in FINAL if instruction == name]


def copied_in_build() -> set[str]:
    return {word for name, rest in BUILD if name == "COPY" for word in rest.split()[:-1]}


def test_both_stages_stand_on_the_image_that_the_compose_file_names() -> None:
    assert [stage[0][1] for stage in (BUILD, FINAL)] == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    build = compose_document()["services"]["worker"]["build"]
    ((name, default),) = BEFORE
    assert (name, default) == ("ARG", f"PYTHON_IMAGE={build['args']['PYTHON_IMAGE']}")


def test_the_last_stage_takes_only_what_was_installed() -> None:
    assert of_final("COPY") == ["--from=build /opt/keyfleet /opt/keyfleet"]
    assert not any(re.search(r"\b(pip|apt-get|curl|git)\b", command) for command in of_final("RUN"))


def test_nothing_but_the_sources_gets_into_a_build() -> None:
    lines = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    assert {pattern[1:] for pattern in patterns if pattern.startswith("!")} == copied_in_build()
    assert all((PROJECT / name).exists() for name in copied_in_build())


def test_no_secret_could_be_given_to_a_build() -> None:
    assert [rest for stage in (BEFORE, BUILD, FINAL) for name, rest in stage if name in ("ARG", "ENV", "ADD")] == [
        BEFORE[0][1],
        *of_final("ENV"),
    ]
    assert not re.search(r"KEYFLEET_|API_KEY|PASSWORD", " ".join(of_final("ENV")))


def test_it_runs_as_a_user_by_number_who_is_not_root() -> None:
    assert of_final("USER") == ["10001:10001"]
    assert FINAL.index(("USER", "10001:10001")) > max(FINAL.index(("RUN", rest)) for rest in of_final("RUN"))


def test_it_is_stopped_by_the_signal_that_workers_finish_on() -> None:
    assert of_final("STOPSIGNAL") == ["SIGTERM"]
    assert [json.loads(rest) for rest in of_final("ENTRYPOINT")] == [["keyfleet"]]


def test_its_default_command_is_one_that_keyfleet_takes_and_its_health_check_asks_there() -> None:
    (command,) = [json.loads(rest) for rest in of_final("CMD")]
    given = parse_command(command)
    assert given["share"] is True
    (health,) = of_final("HEALTHCHECK")
    assert f"http://127.0.0.1:{given['metrics_port']}/healthz" in health
    assert all(parse_duration_s(time) > 0 for time in re.findall(r"--[a-z-]+=(\d+s)", health))


def test_the_extras_that_it_installs_are_there() -> None:
    (extras,) = re.findall(r"\[([a-z,]+)\]\"", " ".join(rest for name, rest in BUILD if name == "RUN"))
    assert set(extras.split(",")) <= set(metadata("keyfleet").get_all("Provides-Extra", []))


def test_the_script_that_tries_it_out_is_a_script() -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed here")
    script = DEPLOY / "try-compose.sh"
    done = subprocess.run([bash, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert script.stat().st_mode & 0o111


def test_no_file_with_secrets_of_ones_own_is_ever_committed() -> None:
    ignored = Path(PROJECT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {".env", "deploy/secrets/"} <= set(ignored)
