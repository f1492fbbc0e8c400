"""What is of no more use goes: a job that deletes in small batches, which any number of replicas may do at once."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, delete, exists, select
from sqlalchemy.orm import Session

from app.models import DeviceSession, Model, OutboxMail, RefreshToken, SingleUseToken

if TYPE_CHECKING:
    from app.runtime import Runtime

BATCH = 1000
KEPT = timedelta(days=1)
"""For how long an expired token is still told from an unknown one."""
SESSIONS_KEPT = timedelta(days=90)
"""For which a user, or who looks into a theft, sees the devices of before."""
MAILS_KEPT = timedelta(days=30)


async def clean(runtime: "Runtime") -> bool:
    """Deletes up to `BATCH` rows of a kind, and says whether there may be more."""
    return await runtime.database.write(delete_stale, runtime.clock.now())


def delete_stale(session: Session, now: datetime) -> bool:
    """The stale rows, kind by kind until one has `BATCH` of them: then it is True, and the rest is for another time."""
    ended = DeviceSession.ended_at < now - SESSIONS_KEPT
    over = DeviceSession.expires_at < now - SESSIONS_KEPT
    without_tokens = ~exists().where(RefreshToken.session_id == DeviceSession.id)
    forgotten = RefreshToken.session_id.in_(select(DeviceSession.id).where(ended | over))
    settled = OutboxMail.sent_at.is_not(None) | OutboxMail.failed_at.is_not(None)
    kinds: tuple[tuple[type[Model], Any, ColumnElement[bool]], ...] = (
        (SingleUseToken, SingleUseToken.token_hash, SingleUseToken.expires_at < now - KEPT),
        (OutboxMail, OutboxMail.id, (OutboxMail.created_at < now - MAILS_KEPT) & settled),
        (RefreshToken, RefreshToken.token_hash, RefreshToken.expires_at < now - KEPT),
        (RefreshToken, RefreshToken.token_hash, forgotten),
        (DeviceSession, DeviceSession.id, (ended | over) & without_tokens),
    )
    return any(_delete(session, model, key, stale) >= BATCH for model, key, stale in kinds)


def _delete(session: Session, model: type[Model], key: Any, stale: ColumnElement[bool]) -> int:
    # What another replica is deleting is left to it. PostgreSQL may run a plain subquery once a row, and lock more.
    some = select(key).where(stale).limit(BATCH).with_for_update(skip_locked=True, of=model).cte("some_of_them")
    statement = delete(model).where(key.in_(select(some.c[key.key]))).returning(key)
    deleted = session.execute(statement.execution_options(synchronize_session=False))
    return len(deleted.all())
