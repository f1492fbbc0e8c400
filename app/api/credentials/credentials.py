"""`/v1/credentials`: what the app is here for."""

from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from app.api.provided import PlatformDep, VendingDep
from app.http.guards import OriginDep, SignedIn, SignedInBare
from app.http.routes import DirectRoute, JsonRoute
from app.http.wire import Cursor, Limit, RequestModel, ResponseModel, Timestamp
from app.platform.process import Platform
from app.policy.session_policy import Access
from app.records import models
from app.revocation import effective
from app.vending import access_checks, ledger
from app.vending.access_checks import Reason
from app.vending.orders import Purpose
from app.vending.vending import Vended, Wish

router = APIRouter(prefix="/v1", tags=["credentials"], route_class=JsonRoute)

LONGEST_PATH = 1024


class CredentialsRequest(RequestModel):
    access: Access = "read_write"
    path: Annotated[str, Field(examples=["albums/2026/"], max_length=LONGEST_PATH)] = ""
    """A folder within the caller's prefix, to which the credential is narrowed. It ends in `/`. Empty, or left out: the
    whole prefix."""
    duration_seconds: int | None = None
    """How long the credential should live. In seconds, from 900 to what the operator allows. Left out, or null: as long
    as the operator has set."""
    purpose: Annotated[
        Purpose | None,
        Field(
            description="`upload`: a lease for a long upload. It needs `path` and has the access `write`, which may be "
            "left out. It may live longer than other credentials. Left out, or null, for every other use."
        ),
    ] = None
    include_shared: Annotated[
        bool, Field(description="The credential also reads the folders of others that the caller has accepted.")
    ] = False
    grant_ids: Annotated[
        list[Annotated[UUID, Field(strict=False)]] | None,
        Field(
            max_length=100,
            description="With `include_shared`: the received grants to carry. Naming a grant accepts it. Left out, the "
            "credential carries the oldest 200 grants that the caller has accepted. Grants that have ended, and grants "
            "to others, are left out: see `shared_prefixes`.",
        ),
    ] = None
    shared_part: Annotated[
        int,
        Field(
            ge=1,
            description="Which part of the shared folders, up to `shared_parts`. A credential holds 7 to 12 folders, "
            "or about 5 that it also writes in.",
        ),
    ] = 1

    @property
    def wish(self) -> Wish:
        unnamed = self.purpose == "upload" and "access" not in self.model_fields_set
        return Wish(
            access="write" if unnamed else self.access,
            path=self.path,
            duration=self.duration_seconds,
            purpose=self.purpose,
            include_shared=self.include_shared,
            grant_ids=None if self.grant_ids is None else tuple(self.grant_ids),
            part=self.shared_part,
        )


class Credentials(ResponseModel):
    credential_id: UUID
    access_key_id: str
    secret_access_key: str
    """The secret access key, with which requests to S3 are signed."""
    session_token: str
    """The session token, which each request to S3 carries."""
    expiration: Timestamp
    expires_in: int
    """How long the credential still works, by the service's clock. In seconds."""
    server_time: Timestamp
    access: Access
    bucket: str
    """The name of the bucket."""
    prefix: str
    shared_prefixes: list[str]
    write_prefixes: list[str]
    shared_part: int
    """Which part of the shared folders this credential reads."""
    shared_parts: int
    """How many credentials it takes to read all that is shared."""
    region: str
    """The region of the bucket."""
    endpoint_url: str | None
    """The URL of S3. Null for AWS's own in the region."""
    force_path_style: bool
    """Whether the name of the bucket stands in the path of a URL, not in its host."""


class ContainerCredentials(ResponseModel):
    """What the container provider of the AWS SDKs reads."""

    access_key_id: Annotated[str, Field(serialization_alias="AccessKeyId")]
    """The access key id."""
    secret_access_key: Annotated[str, Field(serialization_alias="SecretAccessKey")]
    """The secret access key."""
    token: Annotated[str, Field(serialization_alias="Token")]
    """The session token."""
    expiration: Annotated[Timestamp, Field(serialization_alias="Expiration")]
    """When the credential expires."""


class Revocation(ResponseModel):
    revoked: int
    """How many credentials were revoked."""
    effective_by: Timestamp
    """When, at the latest, the engine refuses the last of them."""


class IssuedCredential(ResponseModel):
    credential_id: UUID
    access_key_id: str
    access: Access
    prefix: str
    shared_prefixes: list[str]
    write_prefixes: list[str]
    session_id: UUID
    link_id: UUID | None
    issued_at: Timestamp
    expiration: Timestamp
    revoked_at: Timestamp | None

    @classmethod
    def of(cls, row: models.IssuedCredential) -> Self:
        return cls(
            credential_id=row.id,
            access_key_id=row.access_key_id,
            access=row.access,
            prefix=row.prefix,
            shared_prefixes=ledger.shared_prefixes(row),
            write_prefixes=ledger.write_prefixes(row),
            session_id=row.session_id,
            link_id=row.link_id,
            issued_at=row.issued_at,
            expiration=row.expires_at,
            revoked_at=row.withdrawn_at,
        )


class IssuedCredentialPage(ResponseModel):
    items: list[IssuedCredential]
    next_cursor: str | None


class S3Header(RequestModel):
    """A header of the app's request to S3."""

    name: Annotated[str, Field(max_length=64, pattern="^[A-Za-z0-9-]+$")]
    """The name of the header, in any case."""
    value: Annotated[str, Field(max_length=8192)]
    """What the header says."""


class AccessCheckRequest(RequestModel):
    action: Annotated[str, Field(examples=["s3:GetObject"], max_length=64, pattern="^[sS]3:[A-Za-z0-9]+$")]
    """The IAM action or the S3 call, such as `s3:GetObject`."""
    key: Annotated[str, Field(max_length=1024)]
    """The whole key in the bucket. Of a list, its prefix."""
    access_key_id: Annotated[str | None, Field(max_length=128)] = None
    """The access key id of the credential that the app used. Left out, or null: a credential that a vend without any
    wishes gives."""
    headers: Annotated[list[S3Header], Field(max_length=64)] = []
    """The headers of that request. Those for an ACL, tags, a lock or a copy's source take more actions; others make no
    difference. Leave `Authorization` out."""


class AccessCheck(ResponseModel):
    allowed: bool
    """Whether the policies allow it."""
    reason: Reason
    """What decides: both policies allow it (`allowed`), the `session_policy` or `role_policy` does not, a statement
    denies it (`explicit_deny`) or is unknown here (`not_evaluable`), or the credential is `revoked` or `expired`."""
    statement: str | None
    """JSON of the statement that decided, or of the one that is missing. Of the role's own policy, it has Sid and
    Effect alone. Null for a credential that was revoked or has expired."""
    detail: str
    """The same for developers, and what to do."""


async def issue_credentials(
    platform: PlatformDep,
    vending: VendingDep,
    origin: OriginDep,
    actor: SignedIn,
    body: CredentialsRequest | None = None,
) -> Credentials:
    """Temporary AWS keys for the caller's own prefix. Keep them only in memory, and ask again before `expiration`.

    With `include_shared` the keys also read the folders of others that the caller has accepted. With the `access`
    `read_write` they also write and delete under `write_prefixes`: the caller's own part of each folder that is shared
    with `contribute`, unless its owner's quota or the grant's is reached. They expire before the
    first of those grants does. A grant that ends too soon is left out: before `duration_seconds` have
    passed, or within 16 minutes if you do not send `duration_seconds`.
    """
    wish = (body or CredentialsRequest()).wish
    return credentials_of(platform, await vending.issue(origin, actor, wish))


router.add_api_route("/credentials", issue_credentials, methods=["POST"], route_class_override=DirectRoute)


@router.get("/credentials/container")
async def get_container_credentials(
    vending: VendingDep,
    origin: OriginDep,
    actor: SignedInBare,
    access: Access = "read_write",
    path: Annotated[
        str,
        Query(
            max_length=LONGEST_PATH,
            description="A folder within the caller's prefix, to which the credential is narrowed. It ends in `/`. "
            "Empty, or left out: the whole prefix.",
        ),
    ] = "",
) -> ContainerCredentials:
    """The same keys in the container format of the AWS SDKs, for `AWS_CONTAINER_CREDENTIALS_FULL_URI`.

    If STS is slow, you get the cached keys again within a second, and new ones later.
    """
    vended = await vending.issue(origin, actor, Wish(access=access, path=path), for_sdk=True)
    credential = vended.issued.credential
    return ContainerCredentials(
        access_key_id=credential.access_key_id,
        secret_access_key=credential.secret_access_key,
        token=credential.session_token,
        expiration=credential.expires_at,
    )


@router.post("/credentials/revoke", status_code=202)
async def revoke_credentials(platform: PlatformDep, origin: OriginDep, actor: SignedIn) -> Revocation:
    """Revokes all live credentials of the caller on every device. Each device stays signed in and gets new ones.

    `effective_by` says when the engine refuses the last of them. Where the engine cannot be told sooner, that is their
    expiration.
    """
    await platform.limiter.hit("revoke_credentials", str(actor.user_id))
    count, effective_by = await platform.database.write(
        effective.revoke_own, origin, platform.clock.now(), platform.settings, actor
    )
    return Revocation(revoked=count, effective_by=effective_by)


@router.post("/access-checks")
async def explain_access(
    platform: PlatformDep, vending: VendingDep, actor: SignedIn, body: AccessCheckRequest
) -> AccessCheck:
    """Explains why S3 refuses a request of the app: what the session policy and the role's own policy say about an
    action and a key.

    The check looks only at policies, so it never tells whether an object exists. An API call such as `s3:HeadObject`
    stands for the actions that it needs, and so do its `headers`: `x-amz-acl` adds `s3:PutObjectAcl`, for example. The
    source of a copy is known by the header `x-amz-copy-source`.
    """
    found = await access_checks.explain(
        platform,
        vending,
        actor,
        action=body.action,
        key=body.key,
        headers={header.name: header.value for header in body.headers},
        access_key_id=body.access_key_id,
    )
    return AccessCheck(allowed=found.allowed, reason=found.reason, statement=found.statement, detail=found.detail)


@router.get("/me/credentials")
async def list_credentials(
    platform: PlatformDep, actor: SignedIn, limit: Limit = 50, cursor: Cursor = None
) -> IssuedCredentialPage:
    """Every credential that was issued to the caller, newest first, without secrets."""
    rows, next_cursor = await platform.database.read(
        ledger.list_issued, user_id=actor.user_id, limit=limit, cursor=cursor
    )
    return IssuedCredentialPage(items=[IssuedCredential.of(row) for row in rows], next_cursor=next_cursor)


def credentials_of(platform: Platform, vended: Vended) -> Credentials:
    issued, settings, now = vended.issued, platform.settings, platform.clock.now()
    credential = issued.credential
    return Credentials(
        credential_id=issued.credential_id,
        access_key_id=credential.access_key_id,
        secret_access_key=credential.secret_access_key,
        session_token=credential.session_token,
        expiration=credential.expires_at,
        expires_in=max(0, int((credential.expires_at - now).total_seconds())),
        server_time=now,
        access=issued.order.access,
        bucket=settings.bucket,
        prefix=issued.order.prefix,
        shared_prefixes=[share.prefix for share in issued.order.shares],
        write_prefixes=issued.order.write_prefixes,
        shared_part=vended.part,
        shared_parts=vended.parts,
        region=settings.region,
        endpoint_url=settings.s3_public_endpoint_url or settings.s3_endpoint_url,
        force_path_style=settings.s3_force_path_style,
    )
