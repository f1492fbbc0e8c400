"""Step-up: a signed-in user proves again who they are, by password or code, before something that only they may do.

Wrong codes give a 403 here, as wrong passwords do. Apps answer a 401 by refreshing, which would not help.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from app.accounts import guesses, reauthentication
from app.accounts.passwords import Hasher
from app.auth import mfa, sessions
from app.auth.mfa import CodeMethod
from app.auth.rotation import SessionTokens
from app.crypto.vault import Vault
from app.platform.problems import MfaRequired, WrongCode, WrongPassword
from app.platform.process import Platform
from app.records import audit, users
from app.records.actor import Actor
from app.records.audit import Origin

CODE_NEEDED = "This account has a second factor: send `method` and `code`."


async def by_password(
    platform: Platform, hasher: Hasher, origin: Origin, actor: Actor, *, password: str
) -> SessionTokens:
    """Raises `MfaRequired` if the user has a second factor, `WrongPassword`, `RateLimited`, `Overloaded`."""
    if await platform.database.read(users.mfa_enabled, actor.user_id):
        raise MfaRequired(CODE_NEEDED)
    password_hash = await reauthentication.verify_password(platform, hasher, origin, actor, password)
    return await platform.database.write(
        _with_password, platform.vault, origin, platform.clock.now(), actor=actor, password_hash=password_hash
    )


async def by_code(platform: Platform, origin: Origin, actor: Actor, *, method: CodeMethod, code: str) -> SessionTokens:
    """Each try counts as a guess by the session. Raises `WrongCode`, `RateLimited`."""
    await guesses.count_signed_in(platform, origin, actor)
    grant = await platform.database.write(
        _with_code, platform.vault, origin, platform.clock.now(), actor=actor, method=method, code=code
    )
    await guesses.forget_signed_in(platform, actor)
    return grant


def _with_password(
    session: Session, vault: Vault, origin: Origin, now: datetime, *, actor: Actor, password_hash: str
) -> SessionTokens:
    user = users.lock_user(session, actor.user_id)
    if user.password_hash != password_hash:
        raise WrongPassword  # it was changed during the verification
    if users.mfa_enabled(session, user.id):
        raise MfaRequired(CODE_NEEDED)
    return sessions.step_up(session, vault, origin, now, session_id=actor.session_id, mfa=False)


def _with_code(
    session: Session, vault: Vault, origin: Origin, now: datetime, *, actor: Actor, method: CodeMethod, code: str
) -> SessionTokens:
    user = users.lock_user(session, actor.user_id)
    if not mfa.is_right(session, vault, now, user=user, method=method, code=code):
        audit.record(
            session,
            origin,
            "session.stepped_up",
            now,
            outcome="refused",
            actor_id=user.id,
            subject_id=user.id,
            session_id=actor.session_id,
            reason="wrong_code",
            method=method,
        )
        raise WrongCode
    return sessions.step_up(session, vault, origin, now, session_id=actor.session_id, mfa=True)
