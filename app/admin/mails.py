"""The outbox as staff see it: the mails that wait and those that were given up, and one more try for a mail.

The token of a mail that was given up is deleted. So a mail with a link cannot be sent again: a new link can.
"""

import uuid
from collections.abc import Sequence
from typing import Literal, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.admin.acts import STAFF, Act, record, require_role
from app.mail import letters, outbox
from app.mail.bounds import Kind
from app.platform.db import signal_after_commit
from app.platform.problems import FieldError, InvalidRequest, NotFound
from app.records import listing
from app.records.models import OutboxMail

State = Literal["waiting", "failed"]

WAITING = (OutboxMail.sent_at.is_(None), OutboxMail.failed_at.is_(None))
FAILED = (OutboxMail.failed_at.is_not(None), OutboxMail.recipient != "")


def list_in(
    session: Session, state: State, *, limit: int, cursor: str | None
) -> tuple[Sequence[OutboxMail], str | None]:
    """One page of the mails that wait, or that were given up, newest first. Raises `InvalidRequest`."""
    which, moment = (WAITING, OutboxMail.created_at) if state == "waiting" else (FAILED, OutboxMail.failed_at)
    rows = select(OutboxMail).where(*which)
    return listing.page(session, rows, moment, OutboxMail.id, limit=limit, cursor=cursor)


def can_retry(mail: OutboxMail) -> bool:
    return mail.failed_at is None or not letters.has_link(cast(Kind, mail.kind))


def retry(session: Session, act: Act, mail_id: uuid.UUID) -> OutboxMail:
    """Makes the mail due now. Raises `NotFound`, `Forbidden`, and `InvalidRequest` if its link is gone."""
    require_role(session, act, "mail.retried", None, among=STAFF)
    mail = session.get(OutboxMail, mail_id, with_for_update=True)
    if mail is None or mail.sent_at is not None or not mail.recipient:
        raise NotFound
    if not can_retry(mail):
        message = "The link of this mail is gone. Send a new one from the user's page."
        raise InvalidRequest(errors=[FieldError("path.mail_id", "link_gone", message)])
    mail.failed_at, mail.next_try_at = None, act.now
    signal_after_commit(session, outbox.SIGNAL)
    record(session, act, "mail.retried", mail.user_id, mail=str(mail.id), kind=mail.kind)
    session.flush()
    return mail
