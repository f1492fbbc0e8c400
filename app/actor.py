"""Who calls: the user, by which session, with which role, and how recently authenticated."""

import uuid
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Actor:
    user_id: uuid.UUID
    session_id: uuid.UUID
    role: str
    authenticated_at: datetime
    mfa: bool
    """Whether the session was opened, or stepped up, with a second factor or a passkey that verified its user."""
    guest: bool
