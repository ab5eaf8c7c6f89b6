"""The README's commands and code work as they stand."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from keyfleet.config import Environment, load_keys_file
from keyfleet.sim import SimConfig, SimProcess
from support.scripted_server import unused_port

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The README's code blocks of one language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def environment(directory: Path, sim: SimProcess | None = None) -> dict[str, str]:
    """What the commands run in: their own state, and the stand-in in place of the provider."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = {**os.environ, "PATH": path, "KEYFLEET_STATE_DIR": str(directory / "state")}
    if sim is not None:
        found["OPENAI_BASE_URL"] = f"{sim.base_url}/v1"
    return found


def shell(command: str, directory: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euc", command], cwd=directory, env=env, capture_output=True, text=True, timeout=100, check=False
    )


def test_the_main_job_runs_with_the_commands_as_they_stand(tmp_path: Path) -> None:
    line = blocks("json")[0].strip()
    (tmp_path / "requests.jsonl").write_text(f"{line}\n" * 12, encoding="utf-8")
    main, more = [block for block in blocks("bash") if "keyfleet run" in block]
    commands = "\n".join(part for part in main.splitlines() if not part.startswith("pip install"))
    with SimProcess(SimConfig(accept_any_key=True)) as sim:
        done = shell(f"{commands}\n{more}", tmp_path, environment(tmp_path, sim))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(row) for row in (tmp_path / "requests_results.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    assert all(row[2] == {"row": 1} and row[1]["object"] == "chat.completion" for row in rows)
    assert len((tmp_path / "first.jsonl").read_text().splitlines()) == 10
    assert "nothing to do" in done.stderr


def test_keys_and_jobs_can_be_looked_at_with_the_commands_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text(f"{blocks('json')[0].strip()}\n{{}}\n", encoding="utf-8")
    commands = [
        command
        for block in blocks("console")
        if "keyfleet jobs" in block or "keyfleet keys" in block
        for command in block.splitlines()
    ]
    with SimProcess(SimConfig(accept_any_key=True)) as sim:
        variables = {"KEYFLEET_KEYS": str(tmp_path / "keys.yaml"), **environment(tmp_path, sim)}
        key = {"name": "research-1", "api_key": "sk-made-up-0123456789", "base_url": f"{sim.base_url}/v1"}
        (tmp_path / "keys.yaml").write_text(yaml.safe_dump({"keys": [key]}), encoding="utf-8")
        (tmp_path / "keys.yaml").chmod(0o600)
        assert shell("keyfleet run requests.jsonl", tmp_path, variables).returncode == 1  # one line is no request
        done = {command.partition("#")[0].strip(): shell(command, tmp_path, variables) for command in commands}
    codes = {command: found.returncode for command, found in done.items() if found.returncode}
    assert codes == {
        "keyfleet jobs pause requests.jsonl": 2,  # the job is done
        "keyfleet jobs retry requests.jsonl": 1,  # the line is still no request
        "keyfleet jobs cancel requests.jsonl": 2,  # the job is done
    }
    assert "research-1: works" in done["keyfleet keys check"].stdout
    assert "line 2" in done["keyfleet jobs failed requests.jsonl"].stdout
    assert "2 of 2 requests are done" in done["keyfleet status requests.jsonl"].stdout


def test_the_gateway_answers_curl_with_the_commands_as_they_stand(tmp_path: Path) -> None:
    start, call = (block.strip() for block in blocks("bash") if "keyfleet gateway" in block or "curl" in block)
    port = unused_port()
    command = start.splitlines()[-1].replace("8000", str(port))
    with SimProcess(SimConfig(accept_any_key=True)) as sim:
        variables = {**environment(tmp_path, sim), "OPENAI_API_KEY": "sk-made-up-0123456789"}
        gateway = subprocess.Popen(
            ["bash", "-euc", f"exec {command}"], cwd=tmp_path, env=variables, stdout=subprocess.PIPE, text=True
        )
        with gateway:
            assert gateway.stdout is not None
            assert f"listening on http://127.0.0.1:{port}/v1" in gateway.stdout.readline()
            done = shell(call.replace("8000", str(port)), tmp_path, variables)
            gateway.terminate()
            gateway.stdout.read()
    assert (done.returncode, gateway.returncode) == (0, 0), done.stderr
    *chunks, end = [line.removeprefix("data: ") for line in done.stdout.splitlines() if line]
    deltas = [choice["delta"] for chunk in chunks for choice in json.loads(chunk)["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "Say hello."
    assert end == "[DONE]"


def test_the_programs_run_as_they_stand(tmp_path: Path) -> None:
    with SimProcess(SimConfig(accept_any_key=True)) as sim:
        variables = {**environment(tmp_path, sim), "OPENAI_API_KEY": "sk-made-up-0123456789"}
        key = {"name": "one", "api_key": "${OPENAI_API_KEY}", "base_url": f"{sim.base_url}/v1"}
        (tmp_path / "keys.yaml").write_text(yaml.safe_dump({"keys": [key]}), encoding="utf-8")
        done = [
            subprocess.run(
                [sys.executable, "-c", code],
                cwd=tmp_path,
                env=variables,
                capture_output=True,
                text=True,
                timeout=100,
                check=False,
            )
            for code in blocks("python")
        ]
    assert [found.returncode for found in done] == [0, 0], [found.stderr for found in done]
    assert done[0].stdout == "Say hello.\nSay hello."
    *embedded, counts = done[1].stdout.splitlines()
    assert sorted(line.rpartition(" ")[0] for line in embedded) == sorted(f"text {number}" for number in range(100))
    assert counts in ("2 ['Why?', 'How?']", "2 ['How?', 'Why?']")


def test_the_keys_file_can_be_read(tmp_path: Path) -> None:
    text = next(block for block in blocks("yaml") if "keys:" in block)
    path = tmp_path / "keys.yaml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    keys = load_keys_file(path, Environment({"OPENAI_API_KEY_1": "sk-made-up"}))
    assert [key.name for key in keys] == [entry["name"] for entry in yaml.safe_load(text)["keys"]]


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^keyfleet (\w+)", README, re.MULTILINE))))
def test_every_command_named_there_exists(command: str, tmp_path: Path) -> None:
    done = shell(f"keyfleet {command} --help", tmp_path, environment(tmp_path))
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed here")
def test_the_demo_shows_each_key_and_meets_no_rate_limit(tmp_path: Path) -> None:
    command = f"make --no-print-directory -C {ROOT} -o .venv/installed KEYFLEET='{sys.executable} -m keyfleet' demo"
    done = shell(command, tmp_path, environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "2,000 succeeded, 0 failed" in done.stderr
    rows = re.findall(r"^(large|medium|small)\s+[\d,]+\s+[\d,]+\s+\d+%\s+(\d+)$", done.stderr, re.MULTILINE)
    assert rows == [("large", "0"), ("medium", "0"), ("small", "0")]
    assert "The stand-in saw 0 requests over a limit." in done.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed here")
def test_every_make_target_named_there_exists(tmp_path: Path) -> None:
    for target in sorted(set(re.findall(r"make (\w+)", README))):
        done = shell(f"make -C {ROOT} --dry-run {target}", tmp_path, environment(tmp_path))
        assert done.returncode == 0, done.stderr
