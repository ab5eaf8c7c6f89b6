"""A program written for openai-manager, with one import changed, against real workers."""

from __future__ import annotations

import json

from keyfleet.sim import SimConfig
from support.commands import run_command
from support.fixtures import StartSim
from support.place import Place, sim_key

PROGRAM = """
import json
import keyfleet.openai_manager as openai_manager
from keyfleet.openai_manager.utils import timeit

openai_manager.append_auth_from_config(config_path="auths.yml")

@timeit
def complete():
    prompts = [f"prompt {n}" if n != 7 else "bad [[sim:400]]" for n in range(40)]
    return openai_manager.Completion.create(model="gpt-3.5-turbo-instruct", prompt=prompts, max_tokens=2)

completions = complete()
chats = openai_manager.ChatCompletion.create(
    model="gpt-4o-mini", messages=[[{"role": "user", "content": text}] for text in ("Hi", "Ho")])
embeddings = openai_manager.Embedding.create(model="text-embedding-3-small", input=["a", "b"])
print(json.dumps({
    "texts": [one["choices"][0]["text"] if one else [one.status, one.code] for one in completions],
    "chats": [one.choices[0].message.content for one in chats],
    "embeddings": [len(one["data"][0]["embedding"]) for one in embeddings],
}))
"""

AUTHS = """
auth1:
  api_key: sk-of-first
  requests_per_min: 15
auth2:
  api_key: sk-of-second
  requests_per_min: 15
  tokens_per_min: 100000
"""
"""No two of the three keys have the room for 44 requests in their first minute."""


def test_a_program_of_openai_manager_runs_through_the_fleet(place: Place, start_sim: StartSim) -> None:
    sim = start_sim(SimConfig(keys=tuple(sim_key(name) for name in ("dotenv", "first", "second"))))
    (place.directory / "auths.yml").write_text(AUTHS, encoding="utf-8")
    dotenv = f"OPENAI_API_KEY_1=sk-of-dotenv\nOPENAI_BASE_URL={sim.base_url}/v1\nCOROTINE_PER_AUTH=3\n"
    (place.directory / ".env").write_text(dotenv + "REQUESTS_PER_MIN_LIMIT=20\n", encoding="utf-8")
    done = run_command((), cwd=place.directory, env=place.env, program=("-c", PROGRAM))
    assert done.code == 0, done.stderr
    took, printed = done.stdout.splitlines()
    assert took.startswith("Function complete took ")
    found = json.loads(printed)
    assert found["texts"] == [f"prompt {n}" if n != 7 else [400, "invalid_value"] for n in range(40)]
    assert (found["chats"], found["embeddings"]) == (["Hi", "Ho"], [8, 8])
    keys = sim.stats()["keys"]
    assert keys["dotenv"]["requests"] <= 20
    assert keys["first"]["requests"] <= 15
    assert keys["second"]["requests"] <= 15
    assert sum(key["requests"] for key in keys.values()) == 44
    assert all(key["in_flight_peak"] <= 3 for key in keys.values())
    place.wait_until_empty()
