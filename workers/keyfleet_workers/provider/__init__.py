"""Calls to a provider, and what their answers mean."""

from keyfleet_workers.provider.classifier import classify
from keyfleet_workers.provider.client import Answer, CallFailed, ProviderClient
from keyfleet_workers.provider.limit_headers import LimitReport, limit_reports
from keyfleet_workers.provider.verdict import SaidLimit, Verdict, VerdictKind, classify_failure

__all__ = [
    "Answer",
    "CallFailed",
    "LimitReport",
    "ProviderClient",
    "SaidLimit",
    "Verdict",
    "VerdictKind",
    "classify",
    "classify_failure",
    "limit_reports",
]
