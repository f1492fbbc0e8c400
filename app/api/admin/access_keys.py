"""`/v1/admin/access-keys` and what else an operator asks STS."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import Field

from app.admin import access_keys
from app.admin.access_keys import Vended
from app.admin.user_filters import Status
from app.api.provided import BrokerDep, PlatformDep
from app.http.guards import Support
from app.http.routes import JsonRoute
from app.http.wire import RequestModel, ResponseModel, Timestamp
from app.policy.session_policy import Access
from app.vending import ledger

router = APIRouter(prefix="/v1/admin", tags=["admin"], route_class=JsonRoute)

AccessKeyId = Annotated[str, Path(min_length=16, max_length=128, pattern="^[A-Za-z0-9_]+$")]
"""As STS has it for GetAccessKeyInfo, in ASCII."""


class AccessKeyUser(ResponseModel):
    user_id: UUID
    email: str | None
    display_name: str | None
    status: Status


class AccessKeySession(ResponseModel):
    session_id: UUID
    device_name: str | None
    created_at: Timestamp
    """When the device signed in."""
    last_used_at: Timestamp
    ended_at: Timestamp | None


class AccessKeyIssuance(ResponseModel):
    credential_id: UUID
    user_id: UUID
    session_id: UUID
    link_id: UUID | None
    access: Access
    prefix: str
    shared_prefixes: list[str]
    write_prefixes: list[str]
    issued_at: Timestamp
    expiration: Timestamp
    revoked_at: Timestamp | None
    effective_by: Timestamp | None
    """When, at the latest, the engine refuses the credential. Null if it was not revoked."""


class AccessKey(ResponseModel):
    access_key_id: str
    """The access key id that was asked about."""
    account: str | None
    """The AWS account of the key, as STS says. Null where STS does not say."""
    alive: bool | None
    """Whether the credential is neither expired nor revoked. Null for a key that was not vended here."""
    credential: AccessKeyIssuance | None
    """What was vended with this key. Null for a key that was not vended here."""
    user: AccessKeyUser | None
    """The user who got it. Null for a key that was not vended here, and if the user is not known any more."""
    session: AccessKeySession | None
    """The session that got it. Null for a key that was not vended here or was vended by a link, and if the session is
    not known any more."""


class DecodeAuthorizationMessageRequest(RequestModel):
    encoded_message: Annotated[str, Field(min_length=1, max_length=10_240, pattern="^[A-Za-z0-9_+/=-]+$")]
    """What stands in AWS's message behind `Encoded authorization failure message:`."""


class DecodedAuthorizationMessage(ResponseModel):
    decoded_message: str
    """What AWS decoded: JSON, as AWS wrote it."""


@router.get("/access-keys/{access_key_id}")
async def get_access_key(
    platform: PlatformDep, broker: BrokerDep, _actor: Support, access_key_id: AccessKeyId
) -> AccessKey:
    """Whose access key it is. For a key that was vended here: its user, device and credential. For every key: its AWS
    account, if STS knows it.
    """
    known = await access_keys.look_up(platform, broker, access_key_id)
    vended = known.vended
    return AccessKey(
        access_key_id=access_key_id,
        account=known.account,
        alive=vended.is_alive(platform.clock.now()) if vended else None,
        credential=_issuance(vended) if vended else None,
        user=_user(vended) if vended else None,
        session=_session(vended) if vended else None,
    )


@router.post("/authorization-messages/decode")
async def decode_authorization_message(
    broker: BrokerDep, _actor: Support, body: DecodeAuthorizationMessageRequest
) -> DecodedAuthorizationMessage:
    """Explains why AWS refused a request. STS DecodeAuthorizationMessage decodes the encoded part of AWS's message."""
    return DecodedAuthorizationMessage(decoded_message=await broker.decode(body.encoded_message))


def _issuance(vended: Vended) -> AccessKeyIssuance:
    row = vended.credential
    return AccessKeyIssuance(
        credential_id=row.id,
        user_id=row.user_id,
        session_id=row.session_id,
        link_id=row.link_id,
        access=row.access,
        prefix=row.prefix,
        shared_prefixes=ledger.shared_prefixes(row),
        write_prefixes=ledger.write_prefixes(row),
        issued_at=row.issued_at,
        expiration=row.expires_at,
        revoked_at=row.withdrawn_at,
        effective_by=vended.effective_by,
    )


def _user(vended: Vended) -> AccessKeyUser | None:
    user = vended.user
    if user is None:
        return None
    return AccessKeyUser(user_id=user.id, email=user.email, display_name=user.display_name, status=user.status)


def _session(vended: Vended) -> AccessKeySession | None:
    family = vended.family
    if family is None:
        return None
    return AccessKeySession(
        session_id=family.id,
        device_name=family.device_name,
        created_at=family.created_at,
        last_used_at=family.last_used_at,
        ended_at=family.over_at,
    )
