"""Changes the display name, and checks whether a session may enrol another factor."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.platform.problems import MfaRequired
from app.records import audit
from app.records.actor import Actor
from app.records.audit import Origin
from app.records.models import Passkey, User
from app.records.users import lock_user, mfa_enabled


def rename(session: Session, origin: Origin, now: datetime, actor: Actor, *, display_name: str | None) -> User:
    """Changes or removes the user's display name."""
    user = lock_user(session, actor.user_id)
    user.display_name = display_name
    audit.record(
        session,
        origin,
        "user.profile_changed",
        now,
        actor_id=actor.user_id,
        subject_id=actor.user_id,
        session_id=actor.session_id,
    )
    return user


def refuse_enrolment_past_a_factor(session: Session, actor: Actor) -> None:
    """Raises `MfaRequired` if an administrator has a second factor that the session has not used.

    Setting up the first factor takes only a password. If the next one did too, a password alone would get past both.
    """
    if actor.role == "user" or actor.mfa:
        return
    passkey = session.scalar(select(Passkey.id).where(Passkey.user_id == actor.user_id).limit(1))
    if passkey is not None or mfa_enabled(session, actor.user_id):
        raise MfaRequired
