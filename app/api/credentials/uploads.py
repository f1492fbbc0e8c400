"""`/v1/uploads`: one file from a client that cannot sign requests."""

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import AfterValidator, Field

from app.api.provided import PlatformDep, VendingDep
from app.http.guards import OriginDep, SignedIn
from app.http.routes import JsonRoute
from app.http.wire import RequestModel, ResponseModel, Timestamp
from app.vending import tickets

router = APIRouter(prefix="/v1", tags=["credentials"], route_class=JsonRoute)


def _media_type(value: str) -> str:
    if not re.fullmatch(tickets.MEDIA_TYPE, value):
        raise ValueError(
            "write a media type such as image/jpeg or video/webm;codecs=vp9,opus; where a browser knows none "
            "(`File.type` is empty), application/octet-stream"
        )
    return value


MediaType = Annotated[
    str,
    Field(max_length=tickets.LONGEST_MEDIA_TYPE, json_schema_extra={"pattern": tickets.MEDIA_TYPE}),
    AfterValidator(_media_type),
]


class UploadTicketRequest(RequestModel):
    path: Annotated[str, Field(examples=["albums/2026/beach.jpg"], max_length=1024)]
    """Where to put the object within the caller's prefix."""
    content_type: MediaType
    """The media type as the page has it, such as `Blob.type`. Parameters stay."""
    size: Annotated[int, Field(ge=1, le=tickets.LARGEST)]
    """The size of the object. In bytes: no more and no fewer are taken."""
    grant_id: Annotated[
        UUID | None,
        Field(
            strict=False,
            description="A received grant with the access `contribute`. `path` is then within the caller's own part of "
            "that folder, and `content_type` is a picture or a film, but not SVG. Naming the grant accepts it. Left "
            "out, or null: the caller's own prefix.",
        ),
    ] = None


class UploadField(ResponseModel):
    name: str
    """The name of a field of the form."""
    value: str
    """The value of the field."""


class UploadTicket(ResponseModel):
    """A form to send by POST as `multipart/form-data`: all fields in this order, then the picture as `file`."""

    url: str
    """Where to send the form."""
    fields: list[UploadField]
    """The fields to send before the file, in this order."""
    key: str
    """The key of the object in the bucket."""
    expiration: Timestamp
    """When the form stops working."""
    expires_in: int
    """How long the form still works, by the service's clock. In seconds."""
    server_time: Timestamp
    credential_id: UUID
    """The id in the ledger of the credential that signed the form."""


@router.post("/uploads")
async def create_upload_ticket(
    platform: PlatformDep, vending: VendingDep, origin: OriginDep, actor: SignedIn, body: UploadTicketRequest
) -> UploadTicket:
    """A form for one object of exactly this size and type. S3 answers it with 201 and an ETag.

    The form is good for 15 minutes, or less if the credential that signs it ends sooner. `expires_in` says how long.
    """
    ticket = await tickets.create(
        platform,
        vending,
        origin,
        actor,
        path=body.path,
        content_type=body.content_type,
        size=body.size,
        grant_id=body.grant_id,
    )
    now = platform.clock.now()
    return UploadTicket(
        url=ticket.url,
        fields=[UploadField(name=name, value=value) for name, value in ticket.fields],
        key=ticket.key,
        expiration=ticket.expires_at,
        expires_in=max(0, int((ticket.expires_at - now).total_seconds())),
        server_time=now,
        credential_id=ticket.credential_id,
    )
