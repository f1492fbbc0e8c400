"""How shares are divided into credentials: as many as their policies have room for."""

import sys
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence

from app.credentials.orders import Share

MOST_USERS = 10_000
"""Whose policies STS found too large; each takes a few hundred bytes."""


class Packing:
    """Characters are counted. What STS packs a policy into it alone knows: whose policy it refused gets smaller parts
    for as long as this process remembers. By user, so that nobody's odd folder makes the parts of others small.
    """

    def __init__(self) -> None:
        self._most: OrderedDict[uuid.UUID, int] = OrderedDict()
        self._refused: defaultdict[uuid.UUID, set[uuid.UUID]] = defaultdict(set)

    def pack(
        self, user_id: uuid.UUID, shares: Sequence[Share], fits: Callable[[tuple[str, ...]], bool]
    ) -> tuple[list[tuple[Share, ...]], list[Share]]:
        """The parts, at least one, in the order of the shares; and the shares that fit into none."""
        most, refused = self._most.get(user_id, sys.maxsize), self._refused.get(user_id, ())
        parts: list[tuple[Share, ...]] = [()]
        too_large: list[Share] = []
        for share in shares:
            longer = (*parts[-1], share)
            if share.grant_id in refused:
                too_large.append(share)
            elif len(longer) <= most and fits(tuple(each.prefix for each in longer)):
                parts[-1] = longer
            elif fits((share.prefix,)):
                parts.append((share,))
            else:
                too_large.append(share)
        return parts, too_large

    def note_refused(self, user_id: uuid.UUID, part: Sequence[Share]) -> None:
        """STS has no room for a part of the user's that `pack` gave."""
        most = self._most.pop(user_id, sys.maxsize)
        if len(part) == 1:
            self._refused[user_id].add(part[0].grant_id)
        self._most[user_id] = min(most, len(part) // 2 or most)
        if len(self._most) > MOST_USERS:
            forgotten, _ = self._most.popitem(last=False)
            self._refused.pop(forgotten, None)
