"""The place where openai-manager has `timeit`."""

from keyfleet.openai_manager.timing import timeit

__all__ = ["timeit"]
