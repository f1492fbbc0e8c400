"""The outbox: a mail is a row in the transaction of the act that causes it. So act and mail are committed together.

A mail is sent at least once: if a worker dies before it has noted that a mail was sent, another worker sends the mail
again after LEASE, with the same Message-ID.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from app.crypto import kinds
from app.crypto.vault import DecryptionFailed, Vault
from app.mail import bounds
from app.mail.bounds import Kind
from app.platform import retries
from app.platform.db import signal_after_commit
from app.records.models import OutboxMail, User

SEALED_AS = kinds.MAIL_TOKEN
SIGNAL = "outbox"
LEASE = timedelta(minutes=5)
"""How long a worker keeps a mail that it has taken: several times the longest try."""


@dataclass(frozen=True)
class Mail:
    """A mail that a worker has taken. Its link carries `token`."""

    id: uuid.UUID
    kind: Kind
    recipient: str = field(repr=False)
    token: str | None = field(repr=False)
    created_at: datetime
    attempts: int
    readable: bool = True
    """False if the token was encrypted with another SECRET_KEY."""


@dataclass(frozen=True)
class Taken:
    """The due mails that a worker took."""

    mails: Sequence[Mail]
    dropped: Sequence[Kind]
    """The kinds of mails beyond their recipient's bound. Nobody gets these mails, and their rows are settled."""

    @property
    def count(self) -> int:
        return len(self.mails) + len(self.dropped)


def tell(session: Session, vault: Vault, now: datetime, kind: Kind, user: User, *, token: str | None = None) -> None:
    """Adds a mail to the user's own address, if there is one."""
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
    """Adds a mail, which is sent as soon as the transaction is committed. Its link carries `token`.

    `about`: the account that the mail is about, whatever address it goes to. The mail is exported and erased with this
    account.

    A mail without a recipient is settled at once. It makes a request about an unknown address take as long as another.
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


def take(session: Session, vault: Vault, now: datetime, *, most: int, bounded: bool = True) -> Taken:
    """Takes up to `most` due mails, by one statement, so that no two workers take the same mail.

    `bounded`: whether each mail counts against its recipient's bound on its first try.
    """
    due = (
        select(OutboxMail.id)
        .where(OutboxMail.sent_at.is_(None), OutboxMail.failed_at.is_(None), OutboxMail.next_try_at <= now)
        .order_by(OutboxMail.next_try_at)
        .limit(most)
        .with_for_update(skip_locked=True)
        .cte("due")  # PostgreSQL would run a plain subquery for each row, and lock more than `most`
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
    mails = [_open(vault, row) for row in rows]
    dropped = _beyond_bounds(session, vault, now, mails) if bounded else []
    for mail in dropped:
        _settle(session, mail, failed_at=now, token_encrypted=None)
    return Taken([mail for mail in mails if mail not in dropped], [mail.kind for mail in dropped])


def _beyond_bounds(session: Session, vault: Vault, now: datetime, mails: Sequence[Mail]) -> Sequence[Mail]:
    """The mails beyond their bound. Counts in the order of the keys, so that two workers do not deadlock."""
    first_tries = [mail for mail in mails if mail.attempts == 1]
    keyed = [(key, mail) for mail in first_tries for key in bounds.keys_of(vault, mail.kind, mail.recipient)]
    keyed.sort(key=itemgetter(0))
    dropped = {mail.id: mail for key, mail in keyed if not bounds.admit(session, now, mail.kind, key)}
    return list(dropped.values())


def note_sent(session: Session, now: datetime, mail: Mail) -> None:
    _settle(session, mail, sent_at=now, token_encrypted=None)


def note_failed(session: Session, now: datetime, mail: Mail, *, for_good: bool) -> bool:
    """Postpones the next try, at growing intervals. Gives up after a day, and returns whether it did."""
    give_up_at = mail.created_at + retries.GIVE_UP_AFTER
    next_try_at = None if for_good else retries.next_try(now, attempts=mail.attempts, give_up_at=give_up_at)
    if next_try_at is None:
        _settle(session, mail, failed_at=now, token_encrypted=None)
    else:
        _settle(session, mail, next_try_at=next_try_at)
    return next_try_at is None


def _open(vault: Vault, row: Any) -> Mail:
    token, readable = None, True
    if row.token_encrypted is not None:
        try:
            token = vault.decrypt(SEALED_AS, row.token_encrypted, bound_to=str(row.id)).decode()
        except DecryptionFailed:
            readable = False
    return Mail(row.id, row.kind, row.recipient, token, row.created_at, row.attempts, readable)


def _settle(session: Session, mail: Mail, **values: Any) -> None:
    """Updates the mail, unless another worker took it after the lease and has settled it."""
    session.execute(
        update(OutboxMail)
        .where(OutboxMail.id == mail.id, OutboxMail.sent_at.is_(None), OutboxMail.failed_at.is_(None))
        .values(**values)
        .execution_options(synchronize_session=False)
    )
