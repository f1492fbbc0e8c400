"""`/v1/links`: folders that whoever has the link may read, or fill, without an account."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Self
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
from app.platform.settings import MOST_BYTES, Settings
from app.records import models
from app.sharing import links
from app.sharing.giving import ShareAccess
from app.sharing.links import MOST_CONTRIBUTORS, Wish
from app.vending import links as opening

router = APIRouter(prefix="/v1/links", tags=["credentials"], route_class=JsonRoute)

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
    access: ShareAccess = "read"
    """What the link lets people do: `read` is to list the folder and download from it, `contribute` is also to write in
    a part of their own."""
    quota_bytes: Annotated[
        int | None,
        Field(
            ge=1,
            le=MOST_BYTES,
            description="How much all who have the link may contribute together. In bytes. Left out, or null: only the "
            "caller's own quota decides.",
        ),
    ] = None
    max_contributors: Annotated[
        int | None,
        Field(
            ge=1,
            le=MOST_CONTRIBUTORS,
            description="How many people may contribute by the link. Left out, or null: 50.",
        ),
    ] = None
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


class LinkContributor(ResponseModel):
    """Somebody without an account who contributes by a link."""

    id: UUID
    """The id in the keys of what they contribute: `by/<id>/`."""
    name: str
    """What they call themselves. Nobody has checked it."""
    created_at: Timestamp


class Link(ResponseModel):
    """A link of the caller's, without its secret."""

    link_id: UUID
    path: str
    """The folder that the link opens, within the caller's prefix. It ends in `/`."""
    access: ShareAccess
    """What the link lets people do: `read` is to list the folder and download from it, `contribute` is also to write in
    a part of their own."""
    quota_bytes: int | None
    """How much all who have the link may contribute together. In bytes. Null if only the owner's quota decides."""
    max_contributors: int | None
    """How many people may contribute by the link. Null if nobody may."""
    contributors: list[LinkContributor]
    """Who contributes by the link, oldest first."""
    label: str | None
    has_password: bool
    created_at: Timestamp
    expires_at: Annotated[Timestamp | None, Field(description="When the link ends by itself. Null if it does not.")]
    opened_at: Timestamp | None

    @classmethod
    def of(cls, row: models.Link, contributors: Sequence[models.LinkContributor]) -> Self:
        return cls(
            link_id=row.id,
            path=row.path,
            access=row.access,
            quota_bytes=row.quota_bytes,
            max_contributors=row.max_contributors,
            contributors=[LinkContributor(id=one.id, name=one.name, created_at=one.created_at) for one in contributors],
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
    access: ShareAccess
    """What the link lets people do: `read` is to list the folder and download from it, `contribute` is also to write in
    a part of their own."""
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
    contributor_name: Annotated[
        PrintableText | None,
        Field(
            min_length=1,
            max_length=60,
            description="What somebody calls themselves who wants to contribute. The owner of the link sees it. Left "
            "out, or null, to look at the album, and by a contributor who has a token.",
        ),
    ] = None
    contributor_token: Annotated[
        str | None,
        Field(
            max_length=64,
            description="The token of a contributor, who keeps it to go on as the same one. Left out, or null, by "
            "everybody else.",
        ),
    ] = None


class ReportLinkRequest(RequestModel):
    secret: LinkSecret
    """The secret of the link: what follows `#` in its address."""
    password: LinkPassword = None


class Contributor(ResponseModel):
    """Who contributes by a link."""

    id: UUID
    """The id in the keys of what they contribute: `by/<id>/`."""
    token: str
    """What to send as `contributor_token` from then on. Whoever has it contributes as the same person."""


class OpenedLink(ResponseModel):
    """What a link opens."""

    link_id: UUID
    access: ShareAccess
    """What the link lets people do: `read` is to list the folder and download from it, `contribute` is also to write in
    a part of their own."""
    path_name: str
    """The folder's own name, without the folders that it lies in."""
    expires_at: Annotated[Timestamp | None, Field(description="When the link ends by itself. Null if it does not.")]
    credentials: Credentials
    """A credential for that one folder. Open the link again before it expires."""
    write_prefix: str | None
    """Where the credential also writes and deletes, within that folder. Null if it only reads: nobody gave a name, or
    there is no room at the moment."""
    contributor: Contributor | None
    """Who contributes. Null if nobody gave a name or a token, and for a link that is only read."""


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

    With the `access` `contribute` they may also write in it, each under `by/` and an id of their own. The answer has
    its address, which is shown once. Whoever gets the address can pass it on.
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
        wish=Wish(
            path=body.path,
            expires_at=body.expires_at,
            access=body.access,
            quota_bytes=body.quota_bytes,
            max_contributors=body.max_contributors,
            label=body.label,
        ),
        hash_password=hash_password,
    )
    return NewLink(
        link_id=made.link.id,
        url=_url(platform.settings, made.secret),
        path=made.link.path,
        access=made.link.access,
        expires_at=made.link.expires_at,
        created_at=made.link.created_at,
    )


@router.get("")
async def list_links(platform: PlatformDep, actor: SignedIn, limit: Limit = 50, cursor: Cursor = None) -> LinkPage:
    """The caller's links that have not ended, newest first."""
    now = platform.clock.now()
    rows, next_cursor = await platform.database.read(links.list_own, now, actor, limit=limit, cursor=cursor)
    contributors = await platform.database.read(links.list_contributors, [row.id for row in rows])
    return LinkPage(items=[Link.of(row, contributors[row.id]) for row in rows], next_cursor=next_cursor)


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

    Where the link lets people contribute, whoever sends a `contributor_name` becomes a contributor. The keys then also
    write under `write_prefix`. Keep the `token` of the answer, and send it the next time.

    A link that is wrong, has expired, was withdrawn or is of a disabled user gives the same 404 `link_not_found`. So
    does one that expires within a quarter of an hour.
    """
    opened = await opening.open_link(
        platform,
        hasher,
        vending,
        origin,
        secret=body.secret,
        password=_password(body),
        contributor_name=body.contributor_name,
        contributor_token=body.contributor_token,
    )
    by = opened.contributor
    return OpenedLink(
        link_id=opened.link.id,
        access=opened.link.access,
        path_name=opened.path_name,
        expires_at=opened.link.expires_at,
        credentials=credentials_of(platform, opened.vended),
        write_prefix=opened.write_prefix,
        contributor=Contributor(id=by.id, token=by.token) if by else None,
    )


@router.post("/report", status_code=204, response_class=Response)
async def report_link(platform: PlatformDep, hasher: HasherDep, origin: OriginDep, body: ReportLinkRequest) -> None:
    """Tells the people who run the app that somebody minds what a link shows. The owner of the link is not told."""
    await opening.report(platform, hasher, origin, secret=body.secret, password=_password(body))


def _password(body: OpenLinkRequest | ReportLinkRequest) -> str | None:
    return None if body.password is None else body.password.get_secret_value()


def _url(settings: Settings, secret: str) -> str:
    """A page's own address never sends what follows `#`, and neither does a chat that makes a preview of it."""
    return f"{settings.app_link_base or settings.public_url}/album#{secret}"
