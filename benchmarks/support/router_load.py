"""Callers of LiteLLM's router, in the router's own process, as its users have it.

Run by path with the interpreter that has LiteLLM, `router_load.py BASE_URL MODEL API_KEY…`, one deployment for each
key; orders as in `load.py`. Nothing of Keyfleet is imported.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.support.load import Load, Recorder, serve_orders

ATTEMPTS_TIMEOUT_S = 60.0


def make_router(base_url: str, model: str, api_keys: list[str]) -> Any:
    """A router as its documentation sets one up, with its default strategy, and without its prints."""
    litellm: Any = importlib.import_module("litellm")
    litellm.suppress_debug_info = True
    deployments = [
        {"model_name": model, "litellm_params": {"model": f"openai/{model}", "api_base": base_url, "api_key": api_key}}
        for api_key in api_keys
    ]
    return litellm.Router(model_list=deployments, timeout=ATTEMPTS_TIMEOUT_S)


async def call(router: Any, document: dict[str, Any], recorder: Recorder) -> None:
    """One call."""
    began_s, first_s, is_good = time.perf_counter(), None, True
    try:
        answer = await router.acompletion(**document)
        if document.get("stream"):
            async for chunk in answer:
                if first_s is None and chunk.choices and chunk.choices[0].delta.content:
                    first_s = time.perf_counter()
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        is_good = False
    recorder.note(began_s, first_s, is_good=is_good)


async def run(router: Any, load: Load, recorder: Recorder) -> None:
    """One load."""

    async def caller(start_s: float) -> None:
        await asyncio.sleep(start_s)
        while not recorder.is_over:
            await call(router, json.loads(load.body), recorder)

    await asyncio.gather(*map(caller, load.starts_s()))


if __name__ == "__main__":
    the_router = make_router(sys.argv[1], sys.argv[2], sys.argv[3:])
    serve_orders(lambda load, recorder: run(the_router, load, recorder))
