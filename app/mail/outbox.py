"""The outbox: a mail is a row in the transaction of what it tells of, so neither is there without the other."""

import uuid
from datetime import datetime
from typing import Literal

from sqlalchemy import insert
from sqlalchemy.orm import Session

from app.crypto import Vault
from app.models import OutboxMail

SEALED_AS = "token of a mail"
Kind = Literal[
    "verify_email",
    "address_taken",
    "reset_password",
    "password_changed",
    "change_email",
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
]


def put(session: Session, vault: Vault, now: datetime, kind: Kind, *, recipient: str, token: str | None = None) -> None:
    """Adds a mail to be sent as soon as the transaction is committed. `token` is what its link carries."""
    mail_id = uuid.uuid4()
    sealed = None if token is None else vault.encrypt(SEALED_AS, token.encode(), bound_to=str(mail_id))
    session.execute(
        insert(OutboxMail).values(
            id=mail_id,
            kind=kind,
            recipient=recipient,
            token_encrypted=sealed,
            created_at=now,
            next_try_at=now,
            attempts=0,
        )
    )
