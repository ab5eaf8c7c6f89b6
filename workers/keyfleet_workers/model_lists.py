"""Tells the fleet which models the provider of a worker's key lists, while somebody wants to know."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import redis

from keyfleet import redis_keys
from keyfleet.checked_json import is_number, parse_json
from keyfleet.config import is_pattern
from keyfleet.errors import MalformedEntry
from keyfleet.listed_models import ListedModel, encode_models
from keyfleet_workers.binding import KeyBinding
from keyfleet_workers.provider import CallFailed, ProviderClient

__all__ = ["LIST_LIFE_MS", "NEW_ENOUGH_MS", "TRY_AGAIN_MS", "ModelLists", "listed_in", "served_of"]

logger = logging.getLogger(__name__)

NEW_ENOUGH_MS = 600_000
"""A key's list is asked for anew when it is older, and somebody wants to know (ms)."""

TRY_AGAIN_MS = 60_000
"""After so long a provider is asked again that has not answered (ms); longer than asking may take."""

LIST_LIFE_MS = 3_600_000
"""A list that could not be had anew for so long is no longer told (ms)."""

TIMEOUT_S = 20.0
"""Longest silence of a provider that is asked (s)."""

LARGEST_ANSWER_BYTES = 4_000_000
"""A longer answer is not looked at: parsing it would hold up calls."""


@dataclass(slots=True)
class ModelLists:
    """Looks once a second whether a list is wanted and due; asking has a thread of its own, one at a time.

    One worker of a key asks. So does each once when it is new, since its key may be configured otherwise by now.
    """

    client: redis.Redis
    fleet: str
    binding: KeyBinding
    provider: ProviderClient
    may_ask: Callable[[], bool] = lambda: True
    """False where the key is not to be used at all."""
    _thread: threading.Thread | None = field(default=None, repr=False)
    _is_new: bool = True

    def look(self) -> None:
        """Begin to ask, if it is time. Raises redis.RedisError."""
        if self._thread is not None and self._thread.is_alive():
            return
        if not self.client.exists(redis_keys.models_wanted(self.fleet)):
            return
        turn = redis_keys.model_list_turn(self.fleet, self.binding.name)
        if self.client.set(turn, "1", nx=True, px=TRY_AGAIN_MS) or self._is_new:
            self._is_new = False
            self._thread = threading.Thread(target=self._run, name="keyfleet-models", daemon=True)
            self._thread.start()

    def wait(self, timeout_s: float) -> None:
        """Wait until nothing is being asked."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._tell(self._ask())
        except redis.RedisError as error:
            logger.info("the list of models could not be told (%s)", type(error).__name__)
        except Exception as error:
            logger.error("asking for the list of models failed (%s)", type(error).__name__)

    def _ask(self) -> list[ListedModel] | None:
        """What the provider lists of what the key serves; None where that can't be had.

        Azure isn't asked: it lists what could be deployed, and requests name deployments.
        """
        if self.binding.provider == "azure" or not self.may_ask():
            return None
        try:
            answer = self.provider.get("/v1/models", read_timeout_s=TIMEOUT_S)
        except CallFailed as error:
            logger.info("the list of models can't be had: %s", error)
            return None
        if answer.status != 200 or len(answer.body) > LARGEST_ANSWER_BYTES:
            logger.info("the list of models can't be had: status %d, %d bytes", answer.status, len(answer.body))
            return None
        listed = listed_in(self.binding.without_secrets(answer.body), owner=self.binding.provider)
        return None if listed is None else served_of(self.binding, listed)

    def _tell(self, models: list[ListedModel] | None) -> None:
        """None is told as an empty list, so that nobody waits for it, unless an earlier list stands."""
        name = redis_keys.model_list(self.fleet, self.binding.name)
        text = encode_models(models or ())
        if models is None:
            self.client.set(name, text, nx=True, px=LIST_LIFE_MS)
            return
        pipeline = self.client.pipeline(transaction=False)
        pipeline.set(name, text, px=LIST_LIFE_MS)
        pipeline.set(redis_keys.model_list_turn(self.fleet, self.binding.name), "1", px=NEW_ENOUGH_MS)
        pipeline.execute()


def served_of(binding: KeyBinding, listed: Mapping[str, ListedModel]) -> list[ListedModel]:
    """What of `listed` the key serves, under the names by which callers know it: a model that is configured under
    another name than the provider's (`as:`) goes by the configured one."""
    found = {name: model for name, model in listed.items() if binding.serves(name)}
    for name, settings in binding.config.models.items():
        there = listed.get(settings.alias or name)
        if there is not None and not is_pattern(name):
            found[name] = replace(there, id=name)
    return list(found.values())


def listed_in(body: bytes, *, owner: str) -> dict[str, ListedModel] | None:
    """The models of a provider's answer by name, None where it is no list of models; entries without a name are left
    out. Some servers give the bare list. `owner` is the owner where none is named."""
    try:
        document = parse_json(body)
    except MalformedEntry:
        return None
    rows = document.get("data") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        return None
    models = (_listed(row, owner) for row in rows if isinstance(row, dict))
    return {model.id: model for model in models if model is not None}


def _listed(row: dict[str, Any], owner: str) -> ListedModel | None:
    name, owned_by = row.get("id"), row.get("owned_by")
    if not isinstance(name, str):
        return None
    try:
        return ListedModel(name, _created_s(row), owned_by if isinstance(owned_by, str) and owned_by else owner)
    except MalformedEntry:
        return None


def _created_s(row: dict[str, Any]) -> int:
    """`created` in seconds since the epoch, or Anthropic's `created_at` as text; 0 where neither can be read."""
    created, created_at = row.get("created"), row.get("created_at")
    if is_number(created):
        return int(row["created"])
    if not isinstance(created_at, str):
        return 0
    try:
        return max(0, int(datetime.fromisoformat(created_at.replace("Z", "+00:00")).timestamp()))
    except (ValueError, OverflowError, OSError):
        return 0
