"""A user's ways to sign in, as staff see and remove them: devices, passkeys and outside identities.

Nobody can remove a user's last way to sign in, nor anything of their own account here.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.admin import users
from app.admin.acts import STAFF, Act, lock, lock_other, record, refuse
from app.admin.users import Account
from app.auth import authorizations, endings, identities, passkeys
from app.crypto.vault import Vault
from app.mail import outbox
from app.platform.problems import LastSignIn, NotFound
from app.records.models import Identity, Passkey
from app.records.users import can_sign_in_without


def list_passkeys(session: Session, user_id: UUID) -> Sequence[Passkey]:
    """Raises `NotFound`."""
    users.require(session, user_id)
    return passkeys.list_owned(session, user_id=user_id)


def list_identities(session: Session, user_id: UUID) -> Sequence[Identity]:
    """Raises `NotFound`."""
    users.require(session, user_id)
    return identities.list_linked(session, user_id=user_id)


def sign_out_device(session: Session, act: Act, user_id: UUID, session_id: UUID) -> Account:
    """Ends one of the user's sessions. Raises `NotFound`, `Forbidden`."""
    lock(session, act, "user.signed_out", user_id, by=STAFF)
    endings.sign_out(
        session,
        act.origin,
        act.now,
        user_id=user_id,
        actor_id=act.actor.user_id,
        family_id=session_id,
        reason="administrator",
    )
    record(session, act, "user.signed_out", user_id, device=str(session_id))
    return users.get(session, user_id)


def remove_passkey(session: Session, vault: Vault, act: Act, user_id: UUID, passkey_id: UUID) -> Account:
    """Removes a passkey, and tells the user by mail. Raises `NotFound`, `LastSignIn`, `OwnAccount`, `Forbidden`."""
    user = lock_other(session, act, "passkey.removed", user_id)
    passkey = session.scalar(select(Passkey).where(Passkey.id == passkey_id, Passkey.user_id == user.id))
    if passkey is None:
        raise NotFound
    if not can_sign_in_without(session, user, passkey):
        refuse(session, act, "passkey.removed", user_id, LastSignIn(keeps_writes=True))
    session.delete(passkey)
    outbox.tell(session, vault, act.now, "passkey_removed", user)
    record(session, act, "passkey.removed", user_id)
    return users.get(session, user_id)


def unlink_identity(session: Session, vault: Vault, act: Act, user_id: UUID, identity_id: UUID) -> Account:
    """Removes an outside identity, and tells the user by mail.

    Raises `NotFound`, `LastSignIn`, `OwnAccount`, `Forbidden`.
    """
    user = lock_other(session, act, "identity.unlinked", user_id)
    identity = session.scalar(select(Identity).where(Identity.id == identity_id, Identity.user_id == user.id))
    if identity is None:
        raise NotFound
    if not can_sign_in_without(session, user, identity):
        refuse(session, act, "identity.unlinked", user_id, LastSignIn(keeps_writes=True))
    authorizations.release(session, act.now, user_id=user.id, identity=identity)
    session.delete(identity)
    outbox.tell(session, vault, act.now, "identity_unlinked", user)
    record(session, act, "identity.unlinked", user_id, provider=identity.provider)
    return users.get(session, user_id)
