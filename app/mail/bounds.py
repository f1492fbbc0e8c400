"""How many mails one recipient gets in an hour, whatever causes them: each kind says which bound it counts against.

Counted in the database, as a mail is about to be sent for the first time. Redis may forget a limit, and the request
that causes a mail cannot tell by its time or its answer whether the mail was dropped. Windows are fixed, as all limits.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import case
from sqlalchemy.orm import Session

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
"""Which mails share a count. `strangers`: those that anybody can cause to any address. `passwords`: links to choose a
password, which an owner needs whatever strangers did. `kind`: notices to the owner of an account, which its user or
staff cause. Each kind of notice has a count of its own, so that whoever stole a session cannot use up the notice of
what they do last."""
WINDOW = timedelta(hours=1)


@dataclass(frozen=True)
class Bound:
    counter: Counter
    most: int
    """Mails to one recipient in an hour: one that finds as many on the count is dropped."""


_ASKED_FOR = Bound("strangers", 10)
_UNASKED_FOR = Bound("strangers", 5)
"""Fewer than may be on the count, so that whoever waits for a link still gets it."""
_PASSWORD = Bound("passwords", 20)
"""Twice what strangers may ask for: the rest is for staff, who are no hindrance to each other."""
_NOTICE = Bound("kind", 10)

BOUNDS: Mapping[Kind, Bound] = {
    "verify_email": _ASKED_FOR,
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


def key_of(vault: Vault, kind: Kind, recipient: str) -> bytes:
    """What a mail is counted by: a keyed digest, so that no address is kept with the count."""
    counter = BOUNDS[kind].counter
    name = kind if counter == "kind" else counter
    return vault.digest(f"mails to one recipient: {name}", _mailbox(recipient).encode("utf-8", "surrogatepass"))


def admit(session: Session, now: datetime, kind: Kind, key: bytes) -> bool:
    """Counts a mail, by one statement; False where its recipient has had as many as its bound allows."""
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
    """In one spelling, and without a `+tag`, by which one mailbox has as many addresses as anybody likes."""
    local, _, domain = unicodedata.normalize("NFKC", recipient).casefold().rpartition("@")
    return f"{local.partition('+')[0] or local}@{domain}"
