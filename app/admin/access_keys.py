"""Finds the owner of an access key from a trail or a leak report."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session, undefer_group

from app.platform.problems import NotFound, Overloaded, StsRefused, StsThrottled, StsUnavailable
from app.platform.process import Platform
from app.platform.settings import Settings
from app.records.models import DeviceSession, IssuedCredential, User
from app.revocation import effective
from app.vending import ledger
from app.vending.broker import Broker


@dataclass(frozen=True)
class Vended:
    """A credential from the ledger, with its user and session, if they still exist."""

    credential: IssuedCredential
    user: User | None
    family: DeviceSession | None
    effective_by: datetime | None
    """The engine refuses it from this moment at the latest; None if it is not revoked."""

    def is_alive(self, now: datetime) -> bool:
        return self.credential.withdrawn_at is None and now < self.credential.expires_at


@dataclass(frozen=True)
class KnownKey:
    account: str | None
    """The AWS account; None if STS does not say."""
    vended: Vended | None
    """None for a key that is not in the ledger, such as this service's base credentials."""


async def look_up(platform: Platform, broker: Broker, access_key_id: str) -> KnownKey:
    """Raises `NotFound` for a key that neither the ledger nor STS knows."""
    vended = await platform.database.read(find_vended, platform.settings, access_key_id)
    account = await _account(broker, access_key_id)
    if vended is None and account is None:
        raise NotFound
    return KnownKey(account, vended)


def find_vended(session: Session, settings: Settings, access_key_id: str) -> Vended | None:
    credential = ledger.find_issued(session, access_key_id)
    if credential is None:
        return None
    user = session.get(User, credential.user_id)
    family = session.get(DeviceSession, credential.session_id, options=[undefer_group("over")])
    return Vended(credential, user, family, effective.effective_by_of(session, settings, credential))


async def _account(broker: Broker, access_key_id: str) -> str | None:
    """The key's AWS account; None if STS fails, because a leak must be investigated anyway."""
    try:
        return await broker.account_of(access_key_id)
    except (StsRefused, StsThrottled, StsUnavailable, Overloaded):
        return None
