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


class _Part:
    """A part that is being filled. It counts for both kinds of policy, because the next share may change the kind."""

    def __init__(self, room: Room, filled_room: Room) -> None:
        self.shares: list[Share] = []
        self._room = room
        self._filled_room = filled_room
        self._taken = self._taken_if_filled = 0
        self._filled = False

    def takes(self, share: Share) -> bool:
        taken, if_filled = self._sizes(share)
        if self._filled or share.contributes:
            return self._taken_if_filled + if_filled <= self._filled_room.left
        return self._taken + taken <= self._room.left

    def add(self, share: Share) -> None:
        taken, if_filled = self._sizes(share)
        self.shares.append(share)
        self._taken += taken
        self._taken_if_filled += if_filled
        self._filled = self._filled or share.contributes

    def _sizes(self, share: Share) -> tuple[int, int]:
        return self._room.taken(share.prefix), self._filled_room.taken(share.prefix, filled=share.contributes)


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

    def pack(
        self, beside: Beside, shares: Sequence[Share], room: Room, filled_room: Room | None = None
    ) -> tuple[list[tuple[Share, ...]], list[Share]]:
        """The parts, in the order of the shares, and the shares that fit into no part. There is at least one part.

        `filled_room`: the room of a part with at least one folder in which its user writes.
        """
        most = self._most.get(beside, sys.maxsize)
        parts: list[_Part] = [_Part(room, filled_room or room)]
        too_large: list[Share] = []
        for share in shares:
            if not _Part(room, filled_room or room).takes(share) or (beside, share.grant_id) in self._refused:
                too_large.append(share)
                continue
            if len(parts[-1].shares) >= most or not parts[-1].takes(share):
                parts.append(_Part(room, filled_room or room))
            parts[-1].add(share)
        return [tuple(part.shares) for part in parts], too_large

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
