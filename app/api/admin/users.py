"""`/v1/admin/users`: every user, for the people who run the app."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import Field
from sqlalchemy.orm import Session

from app.accounts import guesses
from app.admin import acts, users
from app.admin.acts import Act
from app.admin.user_filters import Filters, Role, Sort, Status
from app.admin.users import Account
from app.api.credentials.credentials import IssuedCredential
from app.api.provided import PlatformDep
from app.auth.sessions import Method
from app.http.guards import Admin, OriginDep, Support
from app.http.routes import JsonRoute
from app.http.wire import Cursor, Limit, LongCursor, Moment, PrintableText, RequestModel, ResponseModel, Timestamp
from app.platform.process import Platform
from app.platform.settings import MOST_BYTES, Settings
from app.policy import session_policy
from app.records.actor import Actor
from app.records.audit import Origin
from app.records.counting import Kind as CountKind
from app.records.listing import Direction
from app.storage import quota

router = APIRouter(prefix="/v1/admin/users", tags=["admin"], route_class=JsonRoute)

counts = APIRouter(prefix="/v1/admin/user-count", tags=["admin"], route_class=JsonRoute)

DisplayName = Annotated[PrintableText, Field(min_length=1, max_length=100)]
Reason = Annotated[PrintableText, Field(min_length=1, max_length=500, pattern=r"\S")]


class UserUsage(ResponseModel):
    """As it was last counted. Users without a quota are not counted."""

    bytes: int
    objects: int
    old_bytes: int | None
    quota_bytes: int | None
    """How much the user may store: by their own quota, else by the operator's setting. In bytes. Null if there is no
    limit."""
    counted_at: Timestamp | None


class AdminUser(ResponseModel):
    id: UUID
    """The user's id, which never changes."""
    email: str | None
    email_verified: bool
    display_name: str | None
    status: Status
    role: Role
    guest: bool
    prefix: str
    """Where the user's objects are in the bucket: `users/<id>/`."""
    mfa_enabled: bool
    created_at: Timestamp
    last_seen_at: Timestamp | None
    """When one of the user's devices last signed in, refreshed or stepped up. Null if none ever did."""
    locked_until: Timestamp | None
    """Until when sign-ins by password or code are refused, after too many wrong ones. Null if they are not. Where
    limits are in memory, each process knows of its own alone."""
    quota_bytes: int | None
    """The quota that was set for this user. In bytes. Null if the operator's setting decides."""
    usage: UserUsage
    """What the user stores."""
    import_id: UUID | None
    """The id of the import that added the account. Null for other accounts."""


class UserPage(ResponseModel):
    items: list[AdminUser]
    next_cursor: str | None


class UserCount(ResponseModel):
    total: int
    """How many users match."""
    kind: CountKind
    """`exact`; or, with many users, the database's `estimate`, or `at_least` where it has none."""


class CreateUserRequest(RequestModel):
    email: str
    """The address of the new account, to which the invitation goes."""
    display_name: DisplayName | None = None
    role: Role = "user"


class UpdateUserRequest(RequestModel):
    """An empty name removes the name, because many clients cannot send null."""

    display_name: Annotated[PrintableText, Field(max_length=100)] | None = None
    """The new name. Null or an empty text removes it. Left out, the name stays."""
    role: Role | None = None
    """The new role: `user`, or `support` or `admin` for staff. Left out, or null, the role stays."""
    quota_bytes: Annotated[int, Field(ge=0, le=MOST_BYTES)] | None = None
    """A quota for this user. In bytes. Null, if it is sent, lets the operator's setting decide. Left out, the quota
    stays."""
    reason: Reason | None = None
    """Why you do this, in your own words. Needed if `role` or `quota_bytes` is sent."""


class ReasonRequest(RequestModel):
    reason: Reason


class UserSession(ResponseModel):
    session_id: UUID
    device_name: str | None
    method: Method
    created_at: Timestamp
    """When the device signed in."""
    last_used_at: Timestamp
    last_address: str | None


class UserSessionPage(ResponseModel):
    items: list[UserSession]
    next_cursor: str | None


class UserCredential(IssuedCredential):
    pass


class UserCredentialPage(ResponseModel):
    items: list[UserCredential]
    next_cursor: str | None


async def _filters(
    *,
    query: Annotated[
        PrintableText | None,
        Query(
            max_length=254,
            description="Only users with this in their address or name, in any case. One or two characters are the "
            "beginning of an address.",
        ),
    ] = None,
    status: Annotated[
        Status | None, Query(description="Only accounts that are `active`, `disabled` or `erased`.")
    ] = None,
    role: Annotated[Role | None, Query(description="Only users with this role: `user`, `support` or `admin`.")] = None,
    guest: Annotated[bool | None, Query(description="Only guests (`true`), or everybody else (`false`).")] = None,
    email_verified: Annotated[
        bool | None, Query(description="Only users whose address is verified (`true`), or is not (`false`).")
    ] = None,
    mfa_enabled: Annotated[
        bool | None,
        Query(description="Only users who have an authenticator app (`true`), or everybody else (`false`)."),
    ] = None,
    import_id: Annotated[UUID | None, Query(description="Only users whom this import added.")] = None,
    created_after: Annotated[Moment | None, Query(description="Only users created after this time.")] = None,
    created_before: Annotated[Moment | None, Query(description="Only users created before this time.")] = None,
    last_seen_after: Annotated[
        Moment | None, Query(description="Only users last seen after this time, to the hour.")
    ] = None,
    last_seen_before: Annotated[
        Moment | None, Query(description="Only users last seen before this time, to the hour, or never.")
    ] = None,
) -> Filters:
    return Filters(
        query=query,
        status=status,
        role=role,
        guest=guest,
        email_verified=email_verified,
        mfa_enabled=mfa_enabled,
        import_id=import_id,
        created_after=created_after,
        created_before=created_before,
        last_seen_after=last_seen_after,
        last_seen_before=last_seen_before,
    )


FiltersDep = Annotated[Filters, Depends(_filters)]


@router.get("")
async def list_users(
    platform: PlatformDep,
    _actor: Support,
    filters: FiltersDep,
    *,
    sort: Annotated[
        Sort,
        Query(description="What to sort by: `created_at`, `last_seen_at` or `email`. Users who lack it come last."),
    ] = "created_at",
    direction: Annotated[Direction, Query(description="From the first (`asc`), or from the last (`desc`).")] = "desc",
    limit: Limit = 50,
    cursor: LongCursor = None,
) -> UserPage:
    """The users that match, newest first or in another order. `last_seen_at` sorts and filters to the hour."""
    found, next_cursor = await platform.database.read(
        users.search, filters, sort=sort, descending=direction == "desc", limit=limit, cursor=cursor
    )
    return UserPage(items=await _shown_all(platform, found), next_cursor=next_cursor)


@counts.get("")
async def get_user_count(platform: PlatformDep, _actor: Support, filters: FiltersDep) -> UserCount:
    """How many users match: exactly, or about."""
    found = await users.count(platform, filters)
    return UserCount(total=found.total, kind=found.kind)


@router.post("", status_code=201)
async def create_user(platform: PlatformDep, origin: OriginDep, actor: Admin, body: CreateUserRequest) -> AdminUser:
    """Creates an account without a password. A mail invites its owner to choose a password within 24 hours."""
    account = await platform.database.write(
        acts.invite,
        platform.vault,
        act_of(platform, origin, actor, None),
        email=body.email,
        display_name=body.display_name,
        role=body.role,
    )
    return await shown(platform, account)


@router.get("/{user_id}")
async def get_user(user_id: UUID, platform: PlatformDep, _actor: Support) -> AdminUser:
    """One user."""
    return await shown(platform, await platform.database.read(users.get, user_id))


@router.patch("/{user_id}")
async def update_user(
    user_id: UUID, platform: PlatformDep, origin: OriginDep, actor: Admin, body: UpdateUserRequest
) -> AdminUser:
    """Changes the members that are sent. A name that is null or empty is removed. The last administrator keeps the
    role.
    """
    act = act_of(platform, origin, actor, body.reason)

    def change(session: Session) -> Account:
        account = acts.change(
            session,
            act,
            user_id,
            renames="display_name" in body.model_fields_set,
            display_name=body.display_name or None,
            role=body.role,
        )
        if "quota_bytes" not in body.model_fields_set:
            return account
        return acts.set_quota(session, act, platform.settings, user_id, quota_bytes=body.quota_bytes)

    return await shown(platform, await platform.database.write(change))


@router.delete("/{user_id}", status_code=202, response_class=Response)
async def erase_user(
    user_id: UUID, platform: PlatformDep, origin: OriginDep, actor: Admin, body: ReasonRequest
) -> None:
    """Erases the account for good. The account is gone at once, and its pictures shortly after. The last administrator
    cannot be erased.

    Some proxies drop the body of a DELETE. `POST /v1/admin/users/{user_id}/erasure` does the same.
    """
    act = act_of(platform, origin, actor, body.reason)
    await platform.database.write(acts.erase, platform.vault, act, user_id, verifies=platform.settings.verifies_email)


@router.post("/{user_id}/erasure", status_code=202, response_class=Response)
async def request_erasure(
    user_id: UUID, platform: PlatformDep, origin: OriginDep, actor: Admin, body: ReasonRequest
) -> None:
    """Does what `DELETE /v1/admin/users/{user_id}` does, by a request whose body passes every proxy."""
    await erase_user(user_id, platform, origin, actor, body)


@router.post("/{user_id}/disable")
async def disable_user(
    user_id: UUID, platform: PlatformDep, origin: OriginDep, actor: Admin, body: ReasonRequest
) -> AdminUser:
    """Signs the user out and refuses them from their next request on. The last administrator cannot be disabled."""
    act = act_of(platform, origin, actor, body.reason)
    return await shown(platform, await platform.database.write(acts.disable, act, user_id))


@router.post("/{user_id}/enable")
async def enable_user(
    user_id: UUID, platform: PlatformDep, origin: OriginDep, actor: Admin, body: ReasonRequest
) -> AdminUser:
    """Lets a disabled user sign in again."""
    act = act_of(platform, origin, actor, body.reason)
    return await shown(platform, await platform.database.write(acts.enable, act, user_id))


@router.post("/{user_id}/sign-out")
async def sign_out_user(
    user_id: UUID, platform: PlatformDep, origin: OriginDep, actor: Support, body: ReasonRequest
) -> AdminUser:
    """Signs all of the user's devices out. A guest has no other way to sign in, and loses the account."""
    act = act_of(platform, origin, actor, body.reason)
    return await shown(platform, await platform.database.write(acts.sign_out, act, user_id))


@router.post("/{user_id}/reset-mfa")
async def reset_user_mfa(
    user_id: UUID, platform: PlatformDep, origin: OriginDep, actor: Admin, body: ReasonRequest
) -> AdminUser:
    """Removes the user's authenticator app and recovery codes, signs all devices out, and tells the user by mail."""
    act = act_of(platform, origin, actor, body.reason)
    return await shown(platform, await platform.database.write(acts.reset_mfa, platform.vault, act, user_id))


@router.post("/{user_id}/revoke-credentials")
async def revoke_user_credentials(
    user_id: UUID, platform: PlatformDep, origin: OriginDep, actor: Admin, body: ReasonRequest
) -> AdminUser:
    """Revokes all live credentials of the user. The user stays signed in, and each device gets new ones."""
    act = act_of(platform, origin, actor, body.reason)
    return await shown(platform, await platform.database.write(acts.revoke_credentials, act, user_id))


@router.post("/{user_id}/send-password-reset")
async def send_password_reset(
    user_id: UUID, platform: PlatformDep, origin: OriginDep, actor: Support, body: ReasonRequest
) -> AdminUser:
    """Sends the user the mail of `POST /v1/password-resets`."""
    act = act_of(platform, origin, actor, body.reason)
    return await shown(platform, await acts.send_password_reset(platform, act, user_id))


@router.post("/{user_id}/unlock")
async def unlock_user(
    user_id: UUID, platform: PlatformDep, origin: OriginDep, actor: Support, body: ReasonRequest
) -> AdminUser:
    """Ends the lock-out of a user after too many wrong passwords or codes."""
    act = act_of(platform, origin, actor, body.reason)
    return await shown(platform, await acts.unlock(platform, act, user_id))


@router.get("/{user_id}/sessions")
async def list_user_sessions(
    user_id: UUID, platform: PlatformDep, _actor: Support, limit: Limit = 50, cursor: Cursor = None
) -> UserSessionPage:
    """The devices that the user is signed in on, newest first."""
    alive, next_cursor = await platform.database.read(
        users.list_sessions, platform.clock.now(), user_id, limit=limit, cursor=cursor
    )
    devices = [
        UserSession(
            session_id=family.id,
            device_name=family.device_name,
            method=family.method,
            created_at=family.created_at,
            last_used_at=family.last_used_at,
            last_address=family.last_address,
        )
        for family in alive
    ]
    return UserSessionPage(items=devices, next_cursor=next_cursor)


@router.get("/{user_id}/credentials")
async def list_user_credentials(
    user_id: UUID, platform: PlatformDep, _actor: Support, limit: Limit = 50, cursor: Cursor = None
) -> UserCredentialPage:
    """Every credential that was issued to the user, newest first, without secrets."""
    rows, next_cursor = await platform.database.read(users.list_credentials, user_id, limit=limit, cursor=cursor)
    return UserCredentialPage(items=[UserCredential.of(row) for row in rows], next_cursor=next_cursor)


def act_of(platform: Platform, origin: Origin, actor: Actor, reason: str | None) -> Act:
    return Act(origin, platform.clock.now(), actor, reason)


async def shown(platform: Platform, account: Account) -> AdminUser:
    (shown,) = await _shown_all(platform, [account])
    return shown


async def _shown_all(platform: Platform, accounts: Sequence[Account]) -> list[AdminUser]:
    locked = await guesses.locked_until(platform, [account.user for account in accounts])
    return [_view(account, until, platform.settings) for account, until in zip(accounts, locked, strict=True)]


def _view(account: Account, locked_until: datetime | None, settings: Settings) -> AdminUser:
    user, usage = account.user, account.usage
    return AdminUser(
        id=user.id,
        email=user.email,
        email_verified=user.email_verified_at is not None,
        display_name=user.display_name,
        status=user.status,
        role=user.role,
        guest=user.guest,
        prefix=session_policy.user_prefix(user.id),
        mfa_enabled=account.mfa_enabled,
        created_at=user.created_at,
        last_seen_at=account.last_seen_at,
        locked_until=locked_until,
        quota_bytes=user.quota_bytes,
        usage=UserUsage(
            bytes=usage.bytes if usage else 0,
            objects=usage.objects if usage else 0,
            old_bytes=quota.old_bytes(settings, usage),
            quota_bytes=quota.effective(settings, user.quota_bytes),
            counted_at=usage.counted_at if usage else None,
        ),
        import_id=user.import_id,
    )
