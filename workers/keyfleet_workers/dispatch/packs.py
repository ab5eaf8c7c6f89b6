"""Requests that one call carries together: usually one alone, many where their job asked for that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from keyfleet.batch.json_text import Member, NotJSON, decode_object, join_members, members_of
from keyfleet.batch.packing import Shareable, choices_of, shareable
from keyfleet.contract import Cost
from keyfleet.ledger import JobOptions, Taken
from keyfleet_workers.dispatch.answer_parts import Part, parts_of

__all__ = ["SPLIT", "Pack", "SharedCall", "UnlikeRequests", "smaller_pack"]

SPLIT = 16
"""Into so many calls the requests of one that failed are split, so that three rounds single one out of thousands."""


@dataclass(frozen=True, slots=True)
class Pack:
    """The requests of one call, in the order of their places in the queue. It costs one request, and what they cost."""

    members: tuple[Taken, ...]

    @property
    def first(self) -> Taken:
        """The request by which the call is known."""
        return self.members[0]

    @property
    def is_shared(self) -> bool:
        """Whether several requests are in it."""
        return len(self.members) > 1

    @property
    def cost(self) -> Cost:
        return Cost(sum(taken.cost_tokens for taken in self.members), sum(taken.cost_images for taken in self.members))

    @property
    def model(self) -> str:
        return self.first.model

    @property
    def endpoint(self) -> str:
        return self.first.endpoint

    @property
    def options(self) -> JobOptions:
        return self.first.options


class UnlikeRequests(ValueError):
    """Requests that can't share a call, whatever the ledger says."""


@dataclass(frozen=True, slots=True)
class SharedCall:
    """What one call of several requests sends, and how its answer is taken apart."""

    body: bytes = field(repr=False)
    kind: Shareable
    choices: int
    weights: tuple[int, ...]

    @classmethod
    def of(cls, pack: Pack) -> SharedCall:
        """Raises UnlikeRequests."""
        kind = shareable(pack.endpoint)
        if kind is None:
            raise UnlikeRequests("their endpoint takes no lists")
        common: dict[str, Any] | None = None
        inputs: list[str] = []
        for taken in pack.members:
            members = _members(taken)
            own = decode_object(members)
            if kind.field not in own:
                raise UnlikeRequests(f"one has no {kind.field}")
            del own[kind.field]
            if common is None:
                common, first = own, members
            if own != common or (taken.endpoint, taken.model, taken.options) != _target(pack.first):
                raise UnlikeRequests("their parameters differ")
            inputs.append(next(_value_text(one) for one in reversed(members) if one.key == kind.field))
        text = f'"{kind.field}": [{", ".join(inputs)}]'
        body = join_members(tuple(one._replace(text=text) if one.key == kind.field else one for one in first))
        return cls(body, kind, choices_of(kind, common or {}), tuple(max(one.cost_tokens, 1) for one in pack.members))

    def parts_of(self, answer: bytes) -> Iterator[Part]:
        """The answer of each request, in their order. Raises AnswerMisfit."""
        return parts_of(answer, self.kind.answers, self.choices, self.weights)

    def without_answers(self, document: Any) -> Any:
        """What an answer's document tells beside the answers, which are large; they are cut from its text."""
        if not isinstance(document, dict):
            return document
        return {name: value for name, value in document.items() if name != self.kind.answers}


def _target(taken: Taken) -> tuple[str, str, JobOptions]:
    return taken.endpoint, taken.model, taken.options


def _members(taken: Taken) -> tuple[Member, ...]:
    try:
        members = members_of(taken.body)
    except NotJSON as error:
        raise UnlikeRequests(f"one is {error}") from None
    if members is None:
        raise UnlikeRequests("one is no object")
    return members


def _value_text(member: Member) -> str:
    """A member's value as it was written; its name, which holds no colon, stands before it."""
    return member.text.partition(":")[2].strip()


def smaller_pack(taken: Taken, shared_by: int) -> str:
    """What `taken` may share a call with after one failed that `shared_by` requests shared: fewer of the same."""
    common, _, _ = taken.pack.rpartition(":")
    most = -(-shared_by // SPLIT)
    return f"{common}:{most}" if most > 1 else ""
