"""How the stand-in conducts itself: how long answers take, what they hold, and which faults strike."""

from __future__ import annotations

from dataclasses import dataclass

from keyfleet.sim.checks import is_number, require, require_count, require_number

__all__ = ["SimAnswers", "SimFaults", "SimLatency"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimLatency:
    """How long an answer takes: `latency_ms` give or take `jitter_ms` (uniform), counted from admission.

    The first token of a streamed answer takes `first_token_ms` (default: `latency_ms`) with the same jitter, and each
    further one `token_interval_ms` more. With several choices, one token of each choice comes at a time.

    `admission_jitter_ms` is a uniform delay of 0 up to that many milliseconds before a request meets its limits,
    as a network would add. Refusals (401, 429, 400) come without latency.
    """

    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    admission_jitter_ms: float = 0.0
    first_token_ms: float | None = None
    token_interval_ms: float = 0.0

    def __post_init__(self) -> None:
        for setting in ("latency_ms", "jitter_ms", "admission_jitter_ms", "token_interval_ms"):
            require_number(self, setting)
        if self.first_token_ms is not None:
            require_number(self, "first_token_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimAnswers:
    """What answers hold and what requests cost.

    A prompt costs its UTF-8 bytes / `bytes_per_token`, rounded up. `default_output_tokens` is charged where a
    request sets no maximum. `completion_tokens` (default: half of what is allowed, rounded up) is reported as
    output, never more than allowed. `answer_bytes` of filler follow the echo of the prompt in every choice and image.
    """

    answer_bytes: int = 0
    completion_tokens: int | None = None
    default_output_tokens: int = 16
    bytes_per_token: float = 4.0
    embedding_dimensions: int = 8

    def __post_init__(self) -> None:
        require_count(self, "answer_bytes")
        require_count(self, "default_output_tokens")
        require_number(self, "bytes_per_token", above=0)
        require_count(self, "embedding_dimensions", least=1)
        if self.completion_tokens is not None:
            require_count(self, "completion_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimFaults:
    """Shares (0 to 1, together at most 1) of the requests that meet each fault.

    `spurious_429` refuses although there is room, and charges nothing. All others strike after admission, so they
    are charged. A hang ends when the client leaves, or without an answer after `hang_s`.

    `break_off`, `stream_error` and `stall` strike in the middle of a stream, after `break_after_tokens` tokens of it
    or all that it has: the connection is closed, an error is sent as the last event, or nothing more comes until the
    client leaves or `hang_s` have passed. A call that isn't streamed meets `cut_off`, `error_500` or `hang` instead.
    All other faults strike before a stream begins.
    """

    error_500: float = 0.0
    error_503: float = 0.0
    spurious_429: float = 0.0
    reset: float = 0.0
    hang: float = 0.0
    cut_off: float = 0.0
    invalid_json: float = 0.0
    refuse_content: float = 0.0
    break_off: float = 0.0
    stream_error: float = 0.0
    stall: float = 0.0
    break_after_tokens: int = 2
    hang_s: float = 600.0
    spurious_retry_after_ms: int = 200

    def __post_init__(self) -> None:
        for setting, rate in self.rates().items():
            require(is_number(rate) and 0 <= rate <= 1, setting, "a share from 0 to 1")
        require(sum(self.rates().values()) <= 1 + 1e-9, "faults", "shares that add up to 1 at most")
        require_number(self, "hang_s", above=0)
        require_count(self, "spurious_retry_after_ms")
        require_count(self, "break_after_tokens")

    def rates(self) -> dict[str, float]:
        """The share of each fault by its name."""
        return {
            "error_500": self.error_500,
            "error_503": self.error_503,
            "spurious_429": self.spurious_429,
            "reset": self.reset,
            "hang": self.hang,
            "cut_off": self.cut_off,
            "invalid_json": self.invalid_json,
            "refuse_content": self.refuse_content,
            "break_off": self.break_off,
            "stream_error": self.stream_error,
            "stall": self.stall,
        }
