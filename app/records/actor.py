"""Who calls: the user, by which session, with which role, and how recently authenticated."""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

FRESH = timedelta(minutes=5)
"""For how long a sign-in, or a step-up, is good for what only its user may do (ASVS 7.5.1)."""


UNKNOWN = datetime.max.replace(tzinfo=UTC)
"""When an account was made of which nobody says it: it is as new as can be."""


@dataclass(frozen=True, slots=True)
class Actor:
    user_id: uuid.UUID
    session_id: uuid.UUID
    role: str
    authenticated_at: datetime
    mfa: bool
    """Whether the session was opened, or stepped up, with a second factor or a passkey that verified its user."""
    guest: bool
    not_before: datetime | None = None
    """Credentials that were issued to them before are revoked."""
    quota_bytes: int | None = None
    """Their own; None: the setting decides."""
    created_at: datetime = UNKNOWN
    """Of the account."""

    def is_fresh(self, now: datetime) -> bool:
        """Whether they were seen to be who they are a moment ago. A guest has nothing to be seen by."""
        return self.guest or now - self.authenticated_at <= FRESH
