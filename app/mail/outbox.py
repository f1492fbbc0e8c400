"""The outbox: a mail is a row in the transaction of what it tells of, so neither is there without the other.

A mail is sent at least once: a worker that dies between sending and noting it leaves it to another one after LEASE. The
Message-ID is the same each time.
"""

import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from app.crypto import DecryptionFailed, Vault
from app.db import signal_after_commit
from app.models import OutboxMail, User

SEALED_AS = "token of a mail"
SIGNAL = "outbox"
LEASE = timedelta(minutes=5)
"""For how long a mail that a worker has taken is left to it: several times what one try takes at most."""
FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(hours=4)
GIVE_UP_AFTER = timedelta(days=1)
Kind = Literal[
    "verify_email",
    "address_taken",
    "reset_password",
    "invitation",
    "password_changed",
    "change_email",
    "email_change_requested",
    "email_changed",
    "mfa_enabled",
    "mfa_disabled",
    "recovery_codes_made",
    "recovery_code_used",
    "passkey_added",
    "passkey_removed",
    "identity_linked",
    "identity_unlinked",
    "account_erased",
    "folder_shared",
    "folder_waiting",
]


@dataclass(frozen=True)
class Mail:
    """One that a worker has taken. `token` is what its link carries."""

    id: uuid.UUID
    kind: Kind
    recipient: str = field(repr=False)
    token: str | None = field(repr=False)
    created_at: datetime
    attempts: int
    readable: bool = True
    """False where the token was sealed with another SECRET_KEY."""


def tell(session: Session, vault: Vault, now: datetime, kind: Kind, user: User, *, token: str | None = None) -> None:
    """A mail to the user's own address, if there is one."""
    if user.email is not None:
        put(session, vault, now, kind, about=user.id, recipient=user.email, token=token)


def put(
    session: Session,
    vault: Vault,
    now: datetime,
    kind: Kind,
    *,
    about: uuid.UUID | None,
    recipient: str | None,
    token: str | None = None,
) -> None:
    """Adds a mail to be sent as soon as the transaction is committed. `token` is what its link carries.

    `about`: whose account it tells of, whatever address it goes to; it is exported, and erased, with that.

    One to nobody is settled at once: a request about an unknown address then takes as long as any other.
    """
    mail_id = uuid.uuid4()
    sealed = None if token is None else vault.encrypt(SEALED_AS, token.encode(), bound_to=str(mail_id))
    session.execute(
        insert(OutboxMail).values(
            id=mail_id,
            kind=kind,
            user_id=about,
            recipient=recipient or "",
            token_encrypted=None if recipient is None else sealed,
            created_at=now,
            next_try_at=now,
            attempts=0,
            failed_at=now if recipient is None else None,
        )
    )
    if recipient is not None:
        signal_after_commit(session, SIGNAL)


def take(session: Session, vault: Vault, now: datetime, *, most: int) -> Sequence[Mail]:
    """Up to `most` mails that are due: by one statement, so that no two workers take the same one."""
    due = (
        select(OutboxMail.id)
        .where(OutboxMail.sent_at.is_(None), OutboxMail.failed_at.is_(None), OutboxMail.next_try_at <= now)
        .order_by(OutboxMail.next_try_at)
        .limit(most)
        .with_for_update(skip_locked=True)
        .cte("due")  # PostgreSQL would run a plain subquery once a row, and lock more than `most`
    )
    rows = session.execute(
        update(OutboxMail)
        .where(OutboxMail.id.in_(select(due.c.id)))
        .values(next_try_at=now + LEASE, attempts=OutboxMail.attempts + 1)
        .returning(
            OutboxMail.id,
            OutboxMail.kind,
            OutboxMail.recipient,
            OutboxMail.token_encrypted,
            OutboxMail.created_at,
            OutboxMail.attempts,
        )
        .execution_options(synchronize_session=False)
    ).all()
    return [_open(vault, row) for row in rows]


def note_sent(session: Session, now: datetime, mail: Mail) -> None:
    _settle(session, mail, sent_at=now, token_encrypted=None)


def note_failed(session: Session, now: datetime, mail: Mail, *, for_good: bool) -> bool:
    """Puts the next try off, at growing intervals for GIVE_UP_AFTER. Whether it was given up."""
    exponent = min(mail.attempts - 1, 30)
    delay = min(FIRST_DELAY * 2**exponent, LONGEST_DELAY) * random.uniform(0.75, 1.25)  # noqa: S311 - it spreads
    given_up = for_good or now + delay > mail.created_at + GIVE_UP_AFTER
    if given_up:
        _settle(session, mail, failed_at=now, token_encrypted=None)
    else:
        _settle(session, mail, next_try_at=now + delay)
    return given_up


def _open(vault: Vault, row: Any) -> Mail:
    token, readable = None, True
    if row.token_encrypted is not None:
        try:
            token = vault.decrypt(SEALED_AS, row.token_encrypted, bound_to=str(row.id)).decode()
        except DecryptionFailed:
            readable = False
    return Mail(row.id, row.kind, row.recipient, token, row.created_at, row.attempts, readable)


def _settle(session: Session, mail: Mail, **values: Any) -> None:
    """Not where another worker, after the lease, was done before."""
    session.execute(
        update(OutboxMail)
        .where(OutboxMail.id == mail.id, OutboxMail.sent_at.is_(None), OutboxMail.failed_at.is_(None))
        .values(**values)
        .execution_options(synchronize_session=False)
    )
