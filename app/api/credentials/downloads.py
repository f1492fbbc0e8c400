"""`/v1/downloads`: signed access to folders by a CDN."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from app.api.credentials.credentials import LONGEST_PATH
from app.api.provided import DownloadsDep
from app.http.guards import OriginDep, SignedIn
from app.http.routes import JsonRoute
from app.http.wire import RequestModel, ResponseModel, Timestamp
from app.vending import downloads

router = APIRouter(prefix="/v1", tags=["credentials"], route_class=JsonRoute)


class DownloadsRequest(RequestModel):
    path: Annotated[str, Field(max_length=LONGEST_PATH)] = ""
    """A folder within the caller's prefix, which is signed for. It ends in `/`. Empty, or left out: the whole
    prefix."""
    grant_ids: Annotated[
        list[Annotated[UUID, Field(strict=False)]] | None,
        Field(
            max_length=100,
            description="The received grants whose folders are signed for too. Naming a grant accepts it. Left out: "
            "the oldest 200 grants that the caller has accepted. Empty: none. Grants that have ended, and grants to "
            "others, are left out of the answer.",
        ),
    ] = None


class DownloadCookie(ResponseModel):
    name: str
    """The name of the cookie."""
    value: str
    """The value of the cookie."""


class Download(ResponseModel):
    """Access to every object in one folder, at the CDN."""

    prefix: str
    """The folder, as a prefix of keys in the bucket. It ends in `/`."""
    base_url: str
    """The folder's URL at the CDN. It ends in `/`. Append the rest of the key, percent-encoded."""
    query: str
    """The query to append to each URL in the folder, without its `?`."""
    cookies: list[DownloadCookie]
    """The same as cookies, for a client that sends cookies to the CDN. Use one of both."""
    expires_at: Timestamp
    """When it stops working. It cannot be taken back before."""


class Downloads(ResponseModel):
    items: list[Download]
    """The caller's own folder first, then one for each folder of others."""


@router.post("/downloads")
async def create_downloads(
    signed: DownloadsDep, origin: OriginDep, actor: SignedIn, body: DownloadsRequest | None = None
) -> Downloads:
    """Signed URLs, or cookies, with which a CDN hands out the objects of the caller's folder, and of the folders of
    others that the caller has accepted.

    A signature works for 450 to 900 seconds, if the operator has not set another grid, or until the grant ends. The
    same request gets the same answer meanwhile. Ask again when `expires_at` is near.
    """
    wish = body or DownloadsRequest()
    made = await signed.create(origin, actor, path=wish.path, grant_ids=wish.grant_ids)
    return Downloads(items=[_download(one) for one in made])


def _download(one: downloads.Download) -> Download:
    return Download(
        prefix=one.prefix,
        base_url=one.base_url,
        query=one.query,
        cookies=[DownloadCookie(name=name, value=value) for name, value in one.cookies.items()],
        expires_at=one.expires_at,
    )
