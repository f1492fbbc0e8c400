"""The caller of a request: user, session, role, and how recently they authenticated."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

FRESH = timedelta(minutes=5)
"""How long after a sign-in or step-up a user may do sensitive things (ASVS 7.5.1)."""


UNKNOWN = datetime.max.replace(tzinfo=UTC)
"""The default of `created_at`: an account of unknown age counts as new."""


class Actor(NamedTuple):
    user_id: uuid.UUID
    session_id: uuid.UUID
    role: str
    authenticated_at: datetime
    mfa: bool
    """Whether the session was opened, or stepped up, with a second factor or a passkey that verified its user."""
    guest: bool
    not_before: datetime | None = None
    """Credentials issued to the user before this time are revoked."""
    quota_bytes: int | None = None
    """The user's own quota; None if the setting decides."""
    created_at: datetime = UNKNOWN
    """When the account was made."""

    def is_fresh(self, now: datetime) -> bool:
        """Whether the user authenticated within `FRESH`. A guest cannot authenticate, and is always fresh."""
        return self.guest or now - self.authenticated_at <= FRESH
