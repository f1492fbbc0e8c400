"""The same act on many users, each in a transaction of its own, which a refusal for another user does not undo."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args
from uuid import UUID

from app.admin import acts
from app.admin.acts import Act
from app.auth import authentication
from app.platform.problems import Forbidden, Problem
from app.platform.process import Platform
from app.records.actor import Actor

MOST = 100
"""Users of one call."""
BulkAct = Literal["sign_out", "unlock", "send_password_reset", "revoke_credentials", "disable", "enable"]
BY_STAFF: frozenset[BulkAct] = frozenset({"sign_out", "unlock", "send_password_reset"})
"""What support may do too."""


@dataclass(frozen=True)
class Outcome:
    user_id: UUID
    refusal: Problem | None


async def act_on(platform: Platform, actor: Actor, act: Act, name: BulkAct, user_ids: Sequence[UUID]) -> list[Outcome]:
    """What became of each user, in the order given. The audit has each of them, with the reason.

    The actor comes last, because their own sign-out or disabling would end the rest. If the database fails, the users
    that are left get the same refusal untried. Raises `Forbidden`.
    """
    if name not in BY_STAFF and actor.role != "admin":
        await authentication.record_refusal(platform, act.origin, actor, reason="forbidden")
        raise Forbidden
    do = _ways(platform, act)[name]
    done: dict[UUID, Problem | None] = {}
    failed: Problem | None = None
    for user_id in sorted(dict.fromkeys(user_ids), key=lambda one: one == actor.user_id):
        if failed is not None:
            done[user_id] = failed
            continue
        try:
            await do(user_id)
            done[user_id] = None
        except Problem as problem:
            done[user_id] = problem
            failed = problem if problem.status >= 500 else None
    return [Outcome(user_id, done[user_id]) for user_id in dict.fromkeys(user_ids)]


def _ways(platform: Platform, act: Act) -> dict[BulkAct, Callable[[UUID], Awaitable[object]]]:
    write = platform.database.write
    ways: dict[BulkAct, Callable[[UUID], Awaitable[object]]] = {
        "sign_out": lambda user_id: write(acts.sign_out, act, user_id),
        "unlock": lambda user_id: acts.unlock(platform, act, user_id),
        "send_password_reset": lambda user_id: acts.send_password_reset(platform, act, user_id),
        "revoke_credentials": lambda user_id: write(acts.revoke_credentials, act, user_id),
        "disable": lambda user_id: write(acts.disable, act, user_id),
        "enable": lambda user_id: write(acts.enable, act, user_id),
    }
    assert ways.keys() == set(get_args(BulkAct))
    return ways
