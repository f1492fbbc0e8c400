"""A user's e-mail address, as staff look after it: another link to verify it, verified by hand, another address.

An administrator cannot verify or change the address of their own account here, because an account's own settings ask
for its password. The address of another member of staff cannot be changed either: with it an administrator could act
under a colleague's name.
"""

from uuid import UUID

from sqlalchemy.orm import Session

from app.accounts import registration, verification
from app.admin import users
from app.admin.acts import STAFF, Act, lock, lock_other, record, refuse
from app.admin.users import Account
from app.crypto.vault import Vault
from app.mail import outbox
from app.platform.limits import account_key
from app.platform.problems import EmailTaken, FieldError, Forbidden, InvalidRequest
from app.platform.process import Platform
from app.records import addresses, single_use
from app.records.addresses import Address
from app.records.audit import Event
from app.records.models import User
from app.sharing import grants


async def send_verification(platform: Platform, act: Act, user_id: UUID) -> Account:
    """Sends another link to an unverified address.

    Raises `NotFound`, `Forbidden`, `RateLimited`, and `InvalidRequest` if there is nothing to verify.
    """
    await platform.limiter.hit("letter", account_key(platform.vault, f"by staff {user_id}"))
    return await platform.database.write(_send_verification, platform.vault, act, user_id)


def verify(session: Session, act: Act, user_id: UUID) -> Account:
    """Verifies the address by hand. Raises `NotFound`, `OwnAccount`, `Forbidden`, `InvalidRequest`."""
    user = lock_other(session, act, "email.verified", user_id)
    _require_unverified(session, act, "email.verified", user)
    verification.verify_by_hand(session, act.now, user)
    record(session, act, "email.verified", user_id)
    return users.get(session, user_id)


async def change(platform: Platform, act: Act, user_id: UUID, *, new_email: str) -> Account:
    """Gives the user another address at once. It is unverified, and gets a link. The old address gets a notice.

    Raises `NotFound`, `OwnAccount`, `Forbidden`, `EmailTaken`, `RateLimited`, and `InvalidRequest` if the address does
    not fit, or the user is a guest.
    """
    address = addresses.find(new_email)
    if address is None:
        raise InvalidRequest(errors=[FieldError("body.new_email", "invalid_email", "This is not an e-mail address.")])
    await platform.limiter.hit("letter", account_key(platform.vault, f"by staff {user_id}"))
    return await platform.database.write(
        _change, platform.vault, act, user_id, address=address, verifies=platform.settings.verifies_email
    )


def _send_verification(session: Session, vault: Vault, act: Act, user_id: UUID) -> Account:
    user = lock(session, act, "email.verification_requested", user_id, by=STAFF)
    _require_unverified(session, act, "email.verification_requested", user)
    verification.send_again(session, vault, act.now, user)
    record(session, act, "email.verification_requested", user_id)
    return users.get(session, user_id)


def _require_unverified(session: Session, act: Act, event: Event, user: User) -> None:
    if user.email is None or user.status != "active" or user.email_verified_at is not None:
        message = "This user has no address, is disabled, or has verified the address."
        error = FieldError("path.user_id", "nothing_to_verify", message)
        refuse(session, act, event, user.id, InvalidRequest(errors=[error], keeps_writes=True))


def _change(session: Session, vault: Vault, act: Act, user_id: UUID, *, address: Address, verifies: bool) -> Account:
    user = lock_other(session, act, "email.changed", user_id)
    if user.role != "user":
        refuse(session, act, "email.changed", user_id, Forbidden(_STAFF_CHANGE_THEIR_OWN, keeps_writes=True))
    if user.guest or user.email is None:
        error = FieldError("path.user_id", "no_address", "This user has no address that could change.")
        refuse(session, act, "email.changed", user_id, InvalidRequest(errors=[error], keeps_writes=True))
    if address.key == user.email_key:
        error = FieldError("body.new_email", "same_address", "This is the user's address already.")
        raise InvalidRequest(errors=[error])
    old_email = user.email
    # Grants that wait for the old address go to the user now. A later holder of that address gets none of them.
    grants.bind(session, act.origin, act.now, user_id=user.id, session_id=None, verifies=verifies)
    if not registration.give_address(session, user, address, verified_at=None):
        refuse(session, act, "email.changed", user_id, EmailTaken("An account with this e-mail address exists."))
    # Links that were sent to the old address must not work any more.
    single_use.withdraw(session, act.now, "email_change", "password_reset", "email_verification", user_id=user.id)
    verification.send_link(session, vault, act.now, user, {}, kind="verify_new_email")
    outbox.put(session, vault, act.now, "email_changed_by_staff", about=user.id, recipient=old_email)
    record(session, act, "email.changed", user_id)
    return users.get(session, user_id)


_STAFF_CHANGE_THEIR_OWN = "Members of staff change their own address. Give them the role `user` first."
