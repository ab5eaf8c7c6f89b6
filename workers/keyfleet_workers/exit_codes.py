"""Exit codes by which a worker process tells its supervisor why it ended."""

__all__ = ["CONFIGURATION_EXIT", "KEY_SET_ASIDE"]

CONFIGURATION_EXIT = 2
"""The configuration is wrong: starting it again would not help."""

KEY_SET_ASIDE = 75
"""The key can't be used for now (EX_TEMPFAIL of sysexits.h)."""
