"""Bounds how many mails one recipient gets in an hour. Each kind of mail counts against one bound.

A mail is counted when it is about to be sent for the first time. So neither the time nor the answer of the request that
causes it shows whether it was dropped. Counts are in the database, because Redis may lose them. Windows are fixed, like
those of all limits.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import case
from sqlalchemy.orm import Session

from app.crypto import kinds
from app.crypto.vault import Vault
from app.platform.db import claim_row
from app.records.models import MailCount

Kind = Literal[
    "verify_email",
    "guest_upgrade",
    "address_taken",
    "reset_password",
    "invitation",
    "password_changed",
    "change_email",
    "email_change_requested",
    "email_changed",
    "email_changed_by_staff",
    "verify_new_email",
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
Counter = Literal["strangers", "passwords", "kind"]
"""Which mails share a count. `strangers`: mails that anybody can cause to any address. `passwords`: links to choose a
password, which an owner needs whatever strangers did. `kind`: notices to the owner of an account, caused by its user or
by staff. Each kind of notice has its own count, so that a thief with a session cannot use up the notice of their last
act."""
WINDOW = timedelta(hours=1)


@dataclass(frozen=True)
class Bound:
    counter: Counter
    most: int
    """Mails to one recipient in an hour. If the count has reached it, a mail is dropped."""


_ASKED_FOR = Bound("strangers", 10)
_UNASKED_FOR = Bound("strangers", 5)
"""Fewer than `_ASKED_FOR` on the same count, so that a recipient who waits for a link still gets it."""
_PASSWORD = Bound("passwords", 20)
"""Twice what strangers may ask for. The rest is left for staff."""
_NOTICE = Bound("kind", 10)

BOUNDS: Mapping[Kind, Bound] = {
    "verify_email": _ASKED_FOR,
    "verify_new_email": _NOTICE,
    "guest_upgrade": _ASKED_FOR,
    "change_email": _ASKED_FOR,
    "address_taken": _UNASKED_FOR,
    "folder_shared": _UNASKED_FOR,
    "folder_waiting": _UNASKED_FOR,
    "reset_password": _PASSWORD,
    "invitation": _PASSWORD,
    "password_changed": _NOTICE,
    "email_change_requested": _NOTICE,
    "email_changed": _NOTICE,
    "email_changed_by_staff": _NOTICE,
    "mfa_enabled": _NOTICE,
    "mfa_disabled": _NOTICE,
    "recovery_codes_made": _NOTICE,
    "recovery_code_used": _NOTICE,
    "passkey_added": _NOTICE,
    "passkey_removed": _NOTICE,
    "identity_linked": _NOTICE,
    "identity_unlinked": _NOTICE,
    "account_erased": _NOTICE,
}


def keys_of(vault: Vault, kind: Kind, recipient: str) -> tuple[bytes, ...]:
    """The keys that a mail is counted by. They are keyed digests, so that no address is stored with the count.

    While the secret key is being changed there are several, and each is counted. So the change renews no bound.
    """
    counter = BOUNDS[kind].counter
    name = kind if counter == "kind" else counter
    return vault.digests(kinds.MAIL_RECIPIENT.of(name), _mailbox(recipient).encode("utf-8", "surrogatepass"))


def admit(session: Session, now: datetime, kind: Kind, key: bytes) -> bool:
    """Counts a mail in one statement. Returns False if the recipient has had as many as the bound allows."""
    over = MailCount.ends_at <= now
    return claim_row(
        session,
        MailCount,
        {"key": key, "mails": 1, "ends_at": now + WINDOW},
        {
            "mails": case((over, 1), else_=MailCount.mails + 1),
            "ends_at": case((over, now + WINDOW), else_=MailCount.ends_at),
        },
        where=over | (MailCount.mails < BOUNDS[kind].most),
    )


def _mailbox(recipient: str) -> str:
    """The address in one spelling and without a `+tag`, because one mailbox can have any number of tags."""
    local, _, domain = unicodedata.normalize("NFKC", recipient).casefold().rpartition("@")
    return f"{local.partition('+')[0] or local}@{domain}"
