"""Recovery codes. Each replaces a lost authenticator app once.

A code has 120 random bits, so a keyed hash is enough to store it (ASVS 6.5.2).
"""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, insert, update
from sqlalchemy.orm import Session

from app.crypto import kinds
from app.crypto.encoding import random_base32
from app.crypto.vault import Vault
from app.mail import outbox
from app.platform.problems import MfaRequired, NotFound
from app.records import audit, secret_keys, users
from app.records.actor import Actor
from app.records.audit import Origin
from app.records.models import RecoveryCode, User

HOW_MANY = 10
SIZE = 15
"""Bytes: 24 characters of base32."""
GROUP = 4


def renew(session: Session, vault: Vault, origin: Origin, now: datetime, *, actor: Actor) -> Sequence[str]:
    """Makes a new set of codes, and invalidates the old one.

    Raises `NotFound` without an authenticator app, and `MfaRequired` if the session has not shown a second factor.
    """
    user = users.lock_user(session, actor.user_id)
    if not users.mfa_enabled(session, user.id):
        raise NotFound
    if not actor.mfa:
        raise MfaRequired
    audit.record(
        session,
        origin,
        "mfa.recovery_codes_made",
        now,
        actor_id=user.id,
        subject_id=user.id,
        session_id=actor.session_id,
    )
    outbox.tell(session, vault, now, "recovery_codes_made", user)
    return replace(session, vault, now, user_id=user.id)


def replace(session: Session, vault: Vault, now: datetime, *, user_id: uuid.UUID) -> Sequence[str]:
    """Replaces the user's codes with a new set, each like `ABCD-EFGH-…`."""
    remove(session, user_id=user_id)
    plain = [random_base32(SIZE) for _ in range(HOW_MANY)]
    session.execute(
        insert(RecoveryCode),
        [
            {
                "code_hash": vault.digest(kinds.RECOVERY_CODE, *_parts(user_id, code)),
                "user_id": user_id,
                "created_at": now,
            }
            for code in plain
        ],
    )
    return ["-".join(code[at : at + GROUP] for at in range(0, len(code), GROUP)) for code in plain]


def remove(session: Session, *, user_id: uuid.UUID) -> None:
    session.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))


def use(session: Session, vault: Vault, now: datetime, *, user: User, code: str) -> bool:
    """Whether the code is right. It is used up, also if it is sent many times at once. The user is told by mail."""
    claimed = session.scalar(
        update(RecoveryCode)
        .where(
            RecoveryCode.code_hash.in_(
                secret_keys.digests(session, vault, kinds.RECOVERY_CODE, *_parts(user.id, code))
            ),
            RecoveryCode.user_id == user.id,
            RecoveryCode.used_at.is_(None),
        )
        .values(used_at=now)
        .returning(RecoveryCode.user_id)
        .execution_options(synchronize_session=False)
    )
    if claimed is None:
        return False
    outbox.tell(session, vault, now, "recovery_code_used", user)
    return True


def _parts(user_id: uuid.UUID, code: str) -> tuple[bytes, bytes]:
    return user_id.bytes, code.encode("utf-8", "surrogatepass")
