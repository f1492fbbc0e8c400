"""`/v1/links`: folders that whoever has the link may read, without an account."""

from functools import partial
from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field

from app.accounts.passwords import MAX_LENGTH
from app.api.credentials.credentials import LONGEST_PATH, Credentials, credentials_of
from app.api.provided import BucketDep, HasherDep, PlatformDep, VendingDep
from app.http.guards import OriginDep, SignedIn
from app.http.routes import JsonRoute
from app.http.wire import (
    Cursor,
    Limit,
    MomentInBody,
    PasswordText,
    PrintableText,
    RequestModel,
    ResponseModel,
    Timestamp,
)
from app.platform.limits import address_key
from app.platform.settings import Settings
from app.records import models
from app.sharing import links
from app.vending import links as opening

router = APIRouter(prefix="/v1/links", tags=["credentials"], route_class=JsonRoute)

LinkAccess = Literal["read"]
LEAST_PASSWORD = 8
"""Characters. Guesses are few: see the limit `link_guess`."""

LinkSecret = Annotated[str, Field(max_length=64)]
LinkPassword = Annotated[
    PasswordText | None,
    Field(
        max_length=MAX_LENGTH,
        description="The password of the link. Left out, or null, for a link without one, and to learn whether it has "
        "one: then the answer is 401 `link_password_required`.",
    ),
]


class LinkRequest(RequestModel):
    path: Annotated[str, Field(examples=["albums/2026/"], max_length=LONGEST_PATH)]
    """The folder that the link opens, within the caller's prefix. It ends in `/`."""
    access: LinkAccess = "read"
    """What the link lets people do. Always `read`: they list the folder and download from it."""
    expires_at: Annotated[
        MomentInBody | None,
        Field(description="When the link ends by itself. Left out, or null: not before it is withdrawn."),
    ] = None
    password: Annotated[
        PasswordText | None,
        Field(
            min_length=LEAST_PASSWORD,
            max_length=MAX_LENGTH,
            description="What people have to know besides the link. Left out, or null: the link alone is enough.",
        ),
    ] = None
    label: Annotated[
        PrintableText | None,
        Field(
            min_length=1,
            max_length=100,
            description="What the caller calls the link. Whoever opens it does not see this. Left out, or null: no "
            "name.",
        ),
    ] = None


class Link(ResponseModel):
    """A link of the caller's, without its secret."""

    link_id: UUID
    path: str
    """The folder that the link opens, within the caller's prefix. It ends in `/`."""
    access: LinkAccess
    """What the link lets people do: `read` is to list the folder and download from it."""
    label: str | None
    has_password: bool
    created_at: Timestamp
    expires_at: Annotated[Timestamp | None, Field(description="When the link ends by itself. Null if it does not.")]
    opened_at: Timestamp | None

    @classmethod
    def of(cls, row: models.Link) -> Self:
        return cls(
            link_id=row.id,
            path=row.path,
            access="read",
            label=row.label,
            has_password=row.password_hash is not None,
            created_at=row.created_at,
            expires_at=row.expires_at,
            opened_at=row.opened_at,
        )


class NewLink(ResponseModel):
    """A link that was just made."""

    link_id: UUID
    url: str
    """The address to send to people. What follows `#` is the link's secret, which is shown only now."""
    path: str
    """The folder that the link opens, within the caller's prefix. It ends in `/`."""
    access: LinkAccess
    """What the link lets people do: `read` is to list the folder and download from it."""
    expires_at: Annotated[Timestamp | None, Field(description="When the link ends by itself. Null if it does not.")]
    created_at: Timestamp


class LinkPage(ResponseModel):
    items: list[Link]
    next_cursor: str | None


class LinkWithdrawal(ResponseModel):
    effective_by: Timestamp
    """When, at the latest, the engine refuses what was vended by the link."""


class OpenLinkRequest(RequestModel):
    secret: LinkSecret
    """The secret of the link: what follows `#` in its address."""
    password: LinkPassword = None


class OpenedLink(ResponseModel):
    """What a link opens."""

    link_id: UUID
    access: LinkAccess
    """What the link lets people do: `read` is to list the folder and download from it."""
    path_name: str
    """The folder's own name, without the folders that it lies in."""
    expires_at: Annotated[Timestamp | None, Field(description="When the link ends by itself. Null if it does not.")]
    credentials: Credentials
    """A credential for that one folder. Open the link again before it expires."""


@router.post("", status_code=201)
async def create_link(
    platform: PlatformDep,
    hasher: HasherDep,
    bucket: BucketDep,
    origin: OriginDep,
    *,
    actor: SignedIn,
    body: LinkRequest,
) -> NewLink:
    """Makes a link by which anybody who has it may read a folder, until it is withdrawn or expires.

    The answer has its address, which is shown once. Whoever gets the address can pass it on.
    """
    hash_password = None
    if body.password is not None:
        password, by = body.password.get_secret_value(), address_key(origin.address)
        hash_password = partial(hasher.hash_again, password, by=by)
    made = await links.create(
        platform,
        bucket,
        origin,
        actor,
        path=body.path,
        expires_at=body.expires_at,
        hash_password=hash_password,
        label=body.label,
    )
    return NewLink(
        link_id=made.link.id,
        url=_url(platform.settings, made.secret),
        path=made.link.path,
        access="read",
        expires_at=made.link.expires_at,
        created_at=made.link.created_at,
    )


@router.get("")
async def list_links(platform: PlatformDep, actor: SignedIn, limit: Limit = 50, cursor: Cursor = None) -> LinkPage:
    """The caller's links that have not ended, newest first."""
    now = platform.clock.now()
    rows, next_cursor = await platform.database.read(links.list_own, now, actor, limit=limit, cursor=cursor)
    return LinkPage(items=[Link.of(row) for row in rows], next_cursor=next_cursor)


@router.delete("/{link_id:uuid}", status_code=202)
async def withdraw_link(platform: PlatformDep, origin: OriginDep, actor: SignedIn, link_id: UUID) -> LinkWithdrawal:
    """Ends a link. Nobody can open it any more, and what was vended by it is revoked."""
    now = platform.clock.now()
    effective_by = await platform.database.write(
        links.withdraw, origin, now, platform.settings, actor=actor, link_id=link_id
    )
    return LinkWithdrawal(effective_by=effective_by)


@router.post("/open")
async def open_link(
    platform: PlatformDep, hasher: HasherDep, vending: VendingDep, origin: OriginDep, body: OpenLinkRequest
) -> OpenedLink:
    """Temporary AWS keys that read the folder of a link, for anybody who has its secret.

    A link that is wrong, has expired, was withdrawn or is of a disabled user gives the same 404 `link_not_found`. So
    does one that expires within a quarter of an hour.
    """
    opened = await opening.open_link(platform, hasher, vending, origin, secret=body.secret, password=_password(body))
    return OpenedLink(
        link_id=opened.link.id,
        access="read",
        path_name=opened.path_name,
        expires_at=opened.link.expires_at,
        credentials=credentials_of(platform, opened.vended),
    )


@router.post("/report", status_code=204, response_class=Response)
async def report_link(platform: PlatformDep, hasher: HasherDep, origin: OriginDep, body: OpenLinkRequest) -> None:
    """Tells the people who run the app that somebody minds what a link shows. The owner of the link is not told."""
    await opening.report(platform, hasher, origin, secret=body.secret, password=_password(body))


def _password(body: OpenLinkRequest) -> str | None:
    return None if body.password is None else body.password.get_secret_value()


def _url(settings: Settings, secret: str) -> str:
    """A page's own address never sends what follows `#`, and neither does a chat that makes a preview of it."""
    return f"{settings.app_link_base or settings.public_url}/album#{secret}"
