"""What a key meets that isn't in order: the errors that providers answer with, before any limit is looked at."""

from __future__ import annotations

from keyfleet.sim.config import Behaviour
from keyfleet.sim.error_bodies import NAMED_ERRORS, ApiError, incorrect_api_key

__all__ = ["error_for_call", "error_for_models"]

_ERRORS: dict[Behaviour, ApiError] = {
    "deactivated": NAMED_ERRORS["account_deactivated"],
    "out_of_credit": NAMED_ERRORS["insufficient_quota"],
    "region_blocked": NAMED_ERRORS["unsupported_country"],
    "outage": NAMED_ERRORS["503"],
}


def error_for_call(behaviour: Behaviour, api_key: str) -> ApiError | None:
    """What every call of a key ends with; None where all is in order."""
    return incorrect_api_key(api_key) if behaviour == "revoked" else _ERRORS.get(behaviour)


def error_for_models(behaviour: Behaviour, api_key: str) -> ApiError | None:
    """The same for the list of models, which costs nothing and so is given to a key without credit too."""
    return None if behaviour == "out_of_credit" else error_for_call(behaviour, api_key)
