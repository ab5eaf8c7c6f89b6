"""Calls to a provider, and what their answers mean."""

from keyfleet_workers.provider.client import Answer, CallFailed, ProviderClient
from keyfleet_workers.provider.verdict import Verdict, VerdictKind, classify, classify_failure

__all__ = [
    "Answer",
    "CallFailed",
    "ProviderClient",
    "Verdict",
    "VerdictKind",
    "classify",
    "classify_failure",
]
