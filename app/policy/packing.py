"""Divides a user's shares into parts: one credential for each session policy that they need."""

import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from app.policy.session_policy import Access, Room, Share

Key = TypeVar("Key")
Value = TypeVar("Value")

MOST_REMEMBERED = 10_000
"""Refusals of STS that are remembered. Each takes a few hundred bytes."""


@dataclass(frozen=True, slots=True)
class Beside:
    """The user's own part of the policy, beside which the shares are packed."""

    user_id: uuid.UUID
    access: Access
    prefix: str


class Packing:
    """Divides shares into parts by counting the characters of their policies.

    Only STS knows the packed size of a policy. After STS has refused a part as too large, this process makes smaller
    parts for as long as it remembers. It remembers refusals by user, so that one user's unusual folder does not shrink
    the parts of others. It also remembers them by the rest of the policy: a share that does not fit beside a long path
    may fit beside a short one.
    """

    def __init__(self) -> None:
        self._most: dict[Beside, int] = {}
        self._refused: dict[tuple[Beside, uuid.UUID], None] = {}

    def pack(self, beside: Beside, shares: Sequence[Share], room: Room) -> tuple[list[tuple[Share, ...]], list[Share]]:
        """The parts, in the order of the shares, and the shares that fit into no part. There is at least one part."""
        most = self._most.get(beside, sys.maxsize)
        parts: list[list[Share]] = [[]]
        too_large: list[Share] = []
        left = room.left
        for share in shares:
            taken = room.taken(share.prefix)
            if taken > room.left or (beside, share.grant_id) in self._refused:
                too_large.append(share)
                continue
            if taken > left or len(parts[-1]) >= most:
                parts.append([])
                left = room.left
            parts[-1].append(share)
            left -= taken
        return [tuple(part) for part in parts], too_large

    def note_refused(self, beside: Beside, part: Sequence[Share]) -> None:
        """Remembers that STS refused a part of `pack` as too large."""
        if len(part) == 1:
            _remember(self._refused, (beside, part[0].grant_id), None)
        else:
            _remember(self._most, beside, min(self._most.get(beside, sys.maxsize), len(part) // 2))


def _remember(memory: dict[Key, Value], key: Key, value: Value) -> None:
    """Stores the value as the newest. If the memory is full, forgets the oldest."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > MOST_REMEMBERED:
        del memory[next(iter(memory))]
