"""What administrators and support do to accounts.

The audit records each act with its actor, user and reason, and each refusal with its actor and user. The actor's role
is checked once the user is locked, not when the request arrived. Nobody can remove the last administrator, not even
that administrator. Administrators never see a password or a token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NoReturn
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.accounts import guesses, registration
from app.admin import users
from app.admin.user_filters import Role
from app.admin.users import Account
from app.auth import endings, password_reset, recovery_codes
from app.crypto.vault import Vault
from app.lifecycle import erasure
from app.mail import outbox
from app.platform.limits import account_key
from app.platform.problems import (
    EmailTaken,
    FieldError,
    Forbidden,
    InvalidRequest,
    LastAdmin,
    NotFound,
    OwnAccount,
    Problem,
)
from app.platform.process import Platform
from app.platform.settings import Settings
from app.records import addresses, audit, single_use
from app.records.actor import Actor
from app.records.audit import Event, Origin, Outcome
from app.records.models import TotpFactor, Usage, User
from app.records.users import is_last_admin
from app.revocation import marks
from app.sharing import grants, links
from app.storage import quota

INVITATION_TTL = timedelta(hours=24)
"""Longer than a reset's: nobody waits for an invitation with the app in hand, and the account is still empty."""
ADMINS = frozenset({"admin"})
STAFF = frozenset({"admin", "support"})


@dataclass(frozen=True)
class Operator:
    """The person at the command line of the service's own host, who has no account. Only `app/cli` acts as one."""

    user_id: None = None
    session_id: None = None


OPERATOR = Operator()


@dataclass(frozen=True)
class Act:
    """Who acts, when, from where, and why. The reason is in their own words: printable, up to 500 characters."""

    origin: Origin
    now: datetime
    actor: Actor | Operator
    reason: str | None


def invite(session: Session, vault: Vault, act: Act, *, email: str, display_name: str | None, role: Role) -> Account:
    """Adds an account without a password, and mails its address a link to choose one.

    Raises `InvalidRequest`, `EmailTaken`, `Forbidden`.
    """
    address = addresses.parse(email)
    require_role(session, act, "user.invited", None, among=ADMINS)
    user_id = registration.add_account(
        session, act.now, address=address, password_hash=None, display_name=display_name, role=role
    )
    if user_id is None:
        refuse(session, act, "user.invited", None, EmailTaken("An account with this e-mail address exists."))
    user = session.get_one(User, user_id)
    password_reset.send_link(session, vault, act.now, user, kind="invitation", ttl=INVITATION_TTL)
    record(session, act, "user.invited", user_id, role=role)
    return users.get(session, user_id)


def change(
    session: Session, act: Act, user_id: UUID, *, renames: bool, display_name: str | None, role: Role | None
) -> Account:
    """Changes the user's role, which needs a reason, or if `renames` their name, which None removes.

    Raises `InvalidRequest`, `NotFound`, `LastAdmin`, `Forbidden`.
    """
    if role is not None:
        require_reason(act, "Say why the role changes.")
    event: Event = "user.profile_changed" if role is None else "user.role_changed"
    user = lock(session, act, event, user_id, leaves=role not in (None, "admin"))
    if renames:
        user.display_name = display_name
        record(session, act, "user.profile_changed", user_id)
    if role is not None and role != user.role:
        record(session, act, "user.role_changed", user_id, former_role=user.role, role=role)
        user.role = role
    return users.get(session, user_id)


def promote(session: Session, act: Act, user_id: UUID, *, role: Literal["support", "admin"], verifies: bool) -> Account:
    """Gives an account of a person whom the operator knows by the address a role. `verifies`: this service does.

    An unverified account may be somebody else's, who registered the address first. Raises what `change` raises.
    """
    user = session.get_one(User, user_id)
    if verifies and user.email_verified_at is None:
        wrong = "This address is not verified, so the account may be somebody else's: let its owner verify it first."
        raise InvalidRequest(errors=[FieldError("email", "not_verified", wrong)])
    return change(session, act, user_id, renames=False, display_name=None, role=role)


def has_account(session: Session, email_key: str) -> bool:
    return session.scalar(select(User.id).where(User.email_key == email_key)) is not None


def on_address(session: Session, act: Act, email_key: str, deed: Callable[[Session, Act, UUID], Account]) -> Account:
    """The deed on the account of the address. Raises `NotFound`, and what the deed raises."""
    user_id = session.scalar(select(User.id).where(User.email_key == email_key))
    if user_id is None:
        raise NotFound("No account has this e-mail address.")
    return deed(session, act, user_id)


def set_quota(session: Session, act: Act, settings: Settings, user_id: UUID, *, quota_bytes: int | None) -> Account:
    """Gives the user a quota of their own, or the default with None. It holds at once, and needs a reason.

    Raises `InvalidRequest`, `NotFound`, `Forbidden`.
    """
    require_reason(act, "Say why the quota changes.")
    user = lock(session, act, "user.quota_changed", user_id)
    record(session, act, "user.quota_changed", user_id, former_bytes=user.quota_bytes, bytes=quota_bytes)
    user.quota_bytes = quota_bytes
    if quota.effective(settings, quota_bytes) is not None:
        quota.expect_count(session, user_id, act.now)
    usage = session.get(Usage, user_id, with_for_update=True, populate_existing=True)
    if usage and quota.judge(session, act.origin, act.now, settings, user=user, usage=usage):
        grants.recall_filled(session, act.now, user_id)
    session.flush()
    return users.get(session, user_id)


def disable(session: Session, act: Act, user_id: UUID) -> Account:
    """Disables the user and ends all sessions (ASVS 7.4.2). A guest's session stays: nothing else opens the account.

    Nobody can read the folders that the user shares, or open the user's links, until the user is enabled.
    Raises `NotFound`, `LastAdmin`, `Forbidden`.
    """
    user = lock(session, act, "user.disabled", user_id, leaves=True)
    user.status = "disabled"
    single_use.withdraw(session, act.now, "mfa", "password_reset", "email_change", user_id=user_id)
    grants.suspend(session, act.now, user_id)
    links.suspend(session, act.origin, act.now, owner_id=user_id, actor_id=act.actor.user_id)
    if user.guest:
        _revoke_credentials(session, act, user_id)  # so that no vend under way gets through
    else:
        _end_sessions(session, act, user_id, "disabled")
    record(session, act, "user.disabled", user_id)
    return users.get(session, user_id)


def enable(session: Session, act: Act, user_id: UUID) -> Account:
    """Raises `NotFound`, `Forbidden`."""
    user = lock(session, act, "user.enabled", user_id)
    user.status = "active"
    record(session, act, "user.enabled", user_id)
    return users.get(session, user_id)


def sign_out(session: Session, act: Act, user_id: UUID) -> Account:
    """Ends all of the user's sessions. Raises `NotFound`, `Forbidden`."""
    lock(session, act, "user.signed_out", user_id, by=STAFF)
    _end_sessions(session, act, user_id, "administrator")
    record(session, act, "user.signed_out", user_id)
    return users.get(session, user_id)


def reset_mfa(session: Session, vault: Vault, act: Act, user_id: UUID) -> Account:
    """Removes authenticator app and recovery codes of a user who lost them, ends all sessions and tells the user.

    Passkeys stay, because each is a way to sign in, which the user can remove. Raises `NotFound`, `Forbidden`.
    """
    user = lock(session, act, "mfa.reset", user_id)
    session.execute(delete(TotpFactor).where(TotpFactor.user_id == user_id))
    recovery_codes.remove(session, user_id=user_id)
    single_use.withdraw(session, act.now, "mfa", user_id=user_id)
    _end_sessions(session, act, user_id, "mfa_reset")
    outbox.tell(session, vault, act.now, "mfa_disabled", user)
    record(session, act, "mfa.reset", user_id)
    return users.get(session, user_id)


def revoke_credentials(session: Session, act: Act, user_id: UUID) -> Account:
    """Revokes the user's credentials. The user stays signed in.

    Raises `NotFound`, `Forbidden`.
    """
    lock(session, act, "credential.revoked", user_id)
    _revoke_credentials(session, act, user_id)
    return users.get(session, user_id)


async def send_password_reset(platform: Platform, act: Act, user_id: UUID) -> Account:
    """Sends the mail that the user could request, to the stored address.

    For each user, all staff together have a limit of their own of the same size, so strangers cannot use it up.

    Raises `NotFound`, `Forbidden`, `RateLimited`, and `InvalidRequest` if the user has no address or is disabled.
    """
    await platform.limiter.hit("reset", account_key(platform.vault, f"by staff {user_id}"))
    return await platform.database.write(_send_password_reset, platform.vault, act, user_id)


async def unlock(platform: Platform, act: Act, user_id: UUID) -> Account:
    """Ends the lock of a user after too many wrong passwords or codes. Raises `NotFound`, `Forbidden`."""
    account = await platform.database.write(_unlock, act, user_id)
    await guesses.unlock(platform, account.user)
    return account


def unlock_from_host(session: Session, now: datetime, *, email_key: str, reason: str) -> User:
    """The same from the command line of this service's host. Returns the user. Raises `NotFound`."""
    user = session.scalar(select(User).where(User.email_key == email_key).with_for_update())
    if user is None:
        raise NotFound("No account has this e-mail address.")
    user.unlocked_at = now
    audit.record(session, audit.COMMAND_LINE, "user.unlocked", now, subject_id=user.id, reason=reason)
    return user


def erase(session: Session, vault: Vault, act: Act, user_id: UUID, *, verifies: bool) -> None:
    """Erases the account, as its owner could. `verifies`: whether this service requires verified addresses.

    Raises `NotFound`, `LastAdmin`, `Forbidden`.
    """
    user = lock(session, act, "user.erasure_requested", user_id, leaves=True)
    actor = act.actor if isinstance(act.actor, Actor) else None
    erasure.carry_out(session, vault, act.origin, act.now, user, verifies=verifies, actor=actor, reason=act.reason)


def _unlock(session: Session, act: Act, user_id: UUID) -> Account:
    user = lock(session, act, "user.unlocked", user_id, by=STAFF)
    user.unlocked_at = act.now
    record(session, act, "user.unlocked", user_id)
    session.flush()
    return users.get(session, user_id)


def _send_password_reset(session: Session, vault: Vault, act: Act, user_id: UUID) -> Account:
    user = lock(session, act, "password.reset_requested", user_id, by=STAFF)
    if user.email is None or user.status != "active":
        error = FieldError("path.user_id", "unreachable", "This user has no e-mail address, or is disabled.")
        problem = InvalidRequest(errors=[error], keeps_writes=True)
        refuse(session, act, "password.reset_requested", user_id, problem)
    password_reset.send_link(session, vault, act.now, user)
    record(session, act, "password.reset_requested", user_id)
    return users.get(session, user_id)


def lock(
    session: Session, act: Act, event: Event, user_id: UUID, *, by: frozenset[str] = ADMINS, leaves: bool = False
) -> User:
    """Locks the user, if the actor may act on them. `leaves`: the user will be no active administrator afterwards.

    Then all administrators are locked first. So if two demote each other, the second is refused as the last one.
    """
    is_last = leaves and is_last_admin(session, user_id)
    user = session.get(User, user_id, with_for_update=True)
    role = require_role(session, act, event, user.id if user else None, among=by)
    if user is None or user.status == "erased":
        raise NotFound
    if user.role == "admin" and role != "admin":
        refuse(session, act, event, user_id, Forbidden(keeps_writes=True))
    if is_last:
        refuse(session, act, event, user_id, LastAdmin())
    return user


def lock_other(session: Session, act: Act, event: Event, user_id: UUID) -> User:
    """`lock`, for what an account's own settings ask a proof for. Raises `OwnAccount` for the actor's own account."""
    user = lock(session, act, event, user_id)
    if isinstance(act.actor, Actor) and user.id == act.actor.user_id:
        refuse(session, act, event, user_id, OwnAccount(keeps_writes=True))
    return user


def require_reason(act: Act, message: str) -> None:
    if act.reason is None:
        raise InvalidRequest(errors=[FieldError("body.reason", "missing", message)])


def require_role(session: Session, act: Act, event: Event, subject_id: UUID | None, *, among: frozenset[str]) -> str:
    """The actor's role as it is now. Raises `Forbidden`."""
    if isinstance(act.actor, Operator):
        return "admin"
    status, role = session.execute(select(User.status, User.role).where(User.id == act.actor.user_id)).one()
    if status != "active" or role not in among:
        refuse(session, act, event, subject_id, Forbidden(keeps_writes=True))
    return str(role)


def _end_sessions(session: Session, act: Act, user_id: UUID, why: str) -> None:
    endings.sign_out(session, act.origin, act.now, user_id=user_id, actor_id=act.actor.user_id, reason=why)


def _revoke_credentials(session: Session, act: Act, user_id: UUID) -> None:
    marks.revoke_user(
        session,
        act.origin,
        act.now,
        user_id=user_id,
        actor_id=act.actor.user_id,
        session_id=act.actor.session_id,
        reason=act.reason or "",
    )


def refuse(session: Session, act: Act, event: Event, subject_id: UUID | None, problem: Problem) -> NoReturn:
    _write(session, act, event, subject_id, outcome="refused", detail={"reason": problem.code})
    raise problem


def record(session: Session, act: Act, event: Event, user_id: UUID | None, **detail: str | int | None) -> None:
    given = {} if act.reason is None else {"reason": act.reason}
    _write(session, act, event, user_id, outcome="done", detail=given | detail)


def _write(
    session: Session, act: Act, event: Event, subject_id: UUID | None, *, outcome: Outcome, detail: dict[str, Any]
) -> None:
    row = audit.row(
        act.origin,
        event,
        act.now,
        outcome=outcome,
        actor_id=act.actor.user_id,
        subject_id=subject_id,
        session_id=act.actor.session_id,
        **detail,
    )
    audit.record_all(session, [row])
