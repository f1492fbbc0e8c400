"""How shares are divided into credentials: as many as their policies have room for."""

import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from app.policy.session_policy import Access, Room, Share

Key = TypeVar("Key")
Value = TypeVar("Value")

MOST_REMEMBERED = 10_000
"""Of what STS found too large; each takes a few hundred bytes."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What the shares are packed beside: the user's own part of the policy."""

    user_id: uuid.UUID
    access: Access
    prefix: str


class Packing:
    """Characters are counted. What STS packs a policy into it alone knows: what it refused gets smaller parts for as
    long as this process remembers. By user, so that nobody's odd folder makes the parts of others small, and by what
    else the policy says: what has no room beside a long path has it elsewhere.
    """

    def __init__(self) -> None:
        self._most: dict[Beside, int] = {}
        self._refused: dict[tuple[Beside, uuid.UUID], None] = {}

    def pack(self, beside: Beside, shares: Sequence[Share], room: Room) -> tuple[list[tuple[Share, ...]], list[Share]]:
        """The parts, at least one, in the order of the shares; and the shares that fit into none."""
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
        """STS has no room for a part that `pack` gave."""
        if len(part) == 1:
            _remember(self._refused, (beside, part[0].grant_id), None)
        else:
            _remember(self._most, beside, min(self._most.get(beside, sys.maxsize), len(part) // 2))


def _remember(memory: dict[Key, Value], key: Key, value: Value) -> None:
    """As the newest; the oldest is forgotten for it."""
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > MOST_REMEMBERED:
        del memory[next(iter(memory))]
