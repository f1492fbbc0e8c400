"""Settings: environment variables `TOKENVEND_…`, or the same keys in `.env`. An error names each wrong or weak one."""

import base64
import contextlib
import json
import re
from email.utils import parseaddr
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self, get_args
from urllib.parse import urlsplit

from psycopg import pq
from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.crypto import webhooks
from app.platform.page_access import EXPOSED_HEADERS
from app.platform.reach import Reach
from app.platform.urls import host_name, http_url, is_address, origin, passkey_origin, with_plain_host

PREFIX = "TOKENVEND_"
Switch = Literal["on", "off"]
CommaSeparated = Annotated[tuple[str, ...], NoDecode]
Pooler = Literal["none", "session", "transaction"]
VendingMode = Literal["assume_role", "web_identity", "saml", "federation_token"]
KEYLESS: tuple[VendingMode, ...] = ("web_identity", "saml")
"""Modes in which STS trusts what this service signs itself: without base credentials, and not role chaining."""
TagName = Literal["user_id", "session_id", "access"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LONGEST_OF_A_ROLE = 43_200
"""Seconds that a role's credential lives at most. GetFederationToken, which uses no role, gives three times as long."""
MOST_BYTES = 2**53 - 1
"""The largest whole number that every JSON parser reads exactly: nine petabytes."""
LONGEST_CHAINED = 3600
"""Seconds that STS allows if one role assumes another (role chaining), whatever MaxSessionDuration says."""
STS_QUOTA = 600
"""Calls a second: AWS's default quota of STS for an account in each Region."""
KEEP_ALIVE = 620
"""Seconds: more than the 600 for which Google's load balancers keep a connection, which nobody can change."""
MOST_POLICY_ARNS = 10
MOST_REVOCATION_POLICY_ARNS = 20
"""IAM attaches ten managed policies to a role by default, including those that allow. AWS can raise this quota."""
MOST_TAGS = 50
TAG_KEY = r"(?!aws:)[\w .:/=+@-]{1,128}"
TAG_VALUE = r"[\w .:/=+@-]{0,256}"
"""STS's limits and allowed characters of session tags."""


SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
UNTRIMMED = frozenset({"secret_key", "secret_key_previous", "metrics_token", "cognito_client_secret", "database_url"})
"""Settings whose white space is not taken off unasked: it could be part of a secret, or of a file's name."""


class SettingsError(Exception):
    """The message has a line for each wrong setting: its name, and what it should be. It holds no secret value."""


class OidcProvider(BaseModel):
    """An issuer of outside identities, and the apps (`aud`) whose tokens are accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: str = Field(
        max_length=255, pattern=r"^(https://[^\s?#@]+|http://(127\.0\.0\.1|localhost)(:\d+)?(/[^\s?#@]*)?)$"
    )
    client_ids: tuple[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)], ...] = Field(min_length=1)
    tenants: tuple[str, ...] = ()
    """Of Microsoft Entra: the ids of the tenants whose users may sign in. They stand for `{tenantid}` in `issuer`."""

    team_id: str = ""
    key_id: str = ""
    private_key: SecretStr = SecretStr("")
    private_key_file: Path | None = None
    """Of Apple: the key that revokes a user's authorization when the account is erased, as text or as a file."""

    @property
    def revokes(self) -> bool:
        return bool(self.private_key.get_secret_value() or self.private_key_file)

    @model_validator(mode="after")
    def _has_a_whole_key(self) -> Self:
        parts = (self.team_id, self.key_id, self.revokes)
        if any(parts) and not all(parts):
            raise ValueError("must have `team_id`, `key_id` and `private_key` or `private_key_file` together, or none")
        if self.revokes and self.tenants:
            raise ValueError("with `tenants` takes no `private_key`")
        return self

    @property
    def issuers(self) -> dict[str, str | None]:
        """Each issuer, and its tenant if there are several."""
        if not self.tenants:
            return {self.issuer: None}
        return {self.issuer.replace(TENANT, tenant): tenant for tenant in self.tenants}

    @field_validator("issuer", mode="before")
    @classmethod
    def _trim(cls, value: object) -> object:
        return value.strip() if isinstance(value, str) else value

    @field_validator("issuer")
    @classmethod
    def _issuer(cls, value: str) -> str:
        """What no token says is refused. All else stays as it is: a token's `iss` is compared letter by letter."""
        if re.search(r"[<>$*]", value):
            raise ValueError(f"must have your own value in the place of the placeholder, as tokens have it: {value}")
        host = urlsplit(value).hostname or ""
        if not host.isascii():
            raise ValueError(f"must have its host as tokens have it: {host_name(host)}")
        return value

    @model_validator(mode="after")
    def _names_its_tenants(self) -> Self:
        if re.match(r"https://login\.microsoftonline\.(com|us)/(common|organizations|consumers)(/|$)", self.issuer):
            raise ValueError(f"of several tenants must be written with {TENANT}, and its `tenants` be listed")
        if TENANT in self.issuer and not self.tenants:
            raise ValueError(f"with {TENANT} needs `tenants`: the ids of the tenants whose users may sign in")
        if self.tenants and self.issuer.count(TENANT) != 1:
            raise ValueError(f"with `tenants` must have {TENANT} in its `issuer`, where the tenant's id stands")
        if not all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", tenant) for tenant in self.tenants):
            raise ValueError("must name its `tenants` by their ids in lower case, such as 9188040d-…")
        if re.search(r"[{}]", self.issuer.replace(TENANT, "")):
            raise ValueError(f"must have its `issuer` as in its ID tokens, with {TENANT} for one of several `tenants`")
        if max(map(len, self.issuers)) > 255:
            raise ValueError("must have an `issuer` of at most 255 characters")
        return self


TENANT = "{tenantid}"


class FirebaseHashConfig(BaseModel):
    """The `hash_config` that Firebase's console shows (Authentication, Users, Password hash parameters)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    algorithm: Literal["SCRYPT"] = "SCRYPT"
    base64_signer_key: SecretStr
    base64_salt_separator: SecretStr
    rounds: int = Field(ge=1, le=8)
    mem_cost: int = Field(ge=1, le=14)

    @field_validator("base64_signer_key", "base64_salt_separator")
    @classmethod
    def _base64(cls, value: SecretStr) -> SecretStr:
        try:
            base64.b64decode(value.get_secret_value(), validate=True)
        except ValueError:
            raise ValueError("must be base64") from None
        return value

    @field_validator("base64_signer_key")
    @classmethod
    def _whole(cls, value: SecretStr) -> SecretStr:
        if len(base64.b64decode(value.get_secret_value())) != 64:
            raise ValueError("must be 64 bytes in base64")
        return value


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    environment: Literal["development", "production"] = Field(
        "development", description="`production` refuses weak or missing values at start"
    )
    development_remote: Switch = Field(
        "off",
        description="`on`: development also answers other machines; `off`: it listens on loopback only",
    )
    database_url: str = Field(
        "sqlite:///var/tokenvend.db",
        repr=False,
        description="SQLAlchemy URL; `postgresql+psycopg://…` for many replicas",
    )
    database_iam_auth: bool = Field(
        False, description="`true` for RDS: IAM makes the password of each connection from the base credentials"
    )
    database_pool_size: int = Field(
        10,
        ge=1,
        le=200,
        description="database connections of each process, and as many threads; on PostgreSQL two connections more",
    )
    database_pooler: Pooler = Field(
        "none",
        description="the mode of a pooler in front of PostgreSQL, such as PgBouncer or RDS Proxy: `session` or "
        "`transaction`",
    )
    secret_key: SecretStr = Field(
        SecretStr(""),
        description="32 random characters or more; encrypts the signing keys and keys the hashes of tokens",
    )
    secret_key_previous: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="while the secret key is being changed: the previous one, which is still accepted; or several as a "
        "list in JSON, the latest first",
    )
    public_url: str = Field(
        "http://127.0.0.1:8000",
        description="where clients reach the service, with its path on a shared host; also the issuer of its tokens",
    )
    bucket: str = Field("", description="the bucket that holds the pictures")
    role_arn: str = Field("", description="the role that the service assumes for each credential")
    role_policy: str | None = Field(
        None,
        description="that role's own policy for access checks, as JSON or as the path of a file; if empty, the "
        "policy of `deploy/aws`",
    )
    vending_mode: VendingMode = Field(
        "assume_role",
        description="`web_identity`: this service is the OIDC issuer; `saml`: it is the SAML identity provider; "
        "`federation_token`: an IAM user calls STS",
    )
    saml_provider_arn: str | None = Field(
        None, description="with `saml`: the SAML provider of IAM that has this service's metadata"
    )
    external_id: str | None = Field(None, description="the ExternalId that the service sends to AssumeRole")
    source_identity: Switch = Field(
        "on", description="sets SourceIdentity to the user id; `off` for a role without sts:SetSourceIdentity"
    )
    session_tags: CommaSeparated = Field(
        (), description="`off`, or the tags of each session: `user_id`, `session_id`, `access`, or your own `key=value`"
    )
    transitive_tag_keys: CommaSeparated = Field(
        (), description="keys of the session tags that stay when the role assumes another one (role chaining)"
    )
    policy_arns: CommaSeparated = Field(
        (), description="managed policies to add for services other than S3; S3 stays limited to the user's own prefix"
    )
    kms_key_arn: str | None = Field(None, description="the key of a bucket that is encrypted with SSE-KMS")
    kms_bucket_keys: Switch = Field(
        "off",
        description="`on` if the bucket has Bucket Keys; then only the prefix isolates users, and the key does not",
    )
    mfa_serial: str | None = Field(
        None, description="MFA device of the base identity; give its code with `--mfa-code` or at the prompt at start"
    )
    region: str = Field(
        "us-east-1",
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"),
        description="Region of the bucket and of STS; a variable of the AWS SDK, as is `AWS_DEFAULT_REGION`",
    )
    credential_ttl: int = Field(3600, ge=900, le=129_600, description="lifetime of a credential, in seconds")
    credential_max_ttl: int = Field(
        3600, ge=900, le=129_600, description="the longest lifetime that a caller may request, in seconds"
    )
    upload_max_ttl: int | None = Field(
        None,
        ge=900,
        le=LONGEST_OF_A_ROLE,
        description="the longest lifetime of an upload lease, in seconds; if empty, `CREDENTIAL_MAX_TTL`; longer "
        "only in the modes `web_identity` and `saml`",
    )
    sts_endpoint_url: str | None = Field(
        None,
        description="the STS of an engine other than AWS, or a VPC endpoint; `{region}` in it is replaced; if empty, "
        "where the AWS SDK's own settings say",
    )
    sts_regions: CommaSeparated = Field(
        (), description="Regions whose STS the service calls, in this order; if empty, only `AWS_REGION`"
    )
    sts_quota: int = Field(
        STS_QUOTA,
        ge=2,
        description="calls a second that STS allows this account; newcomers together get half of them",
    )
    sts_client: Literal["signed", "boto3"] = Field(
        "signed", description="`boto3` uses the SDK's own client, with every option of the SDK and three times the CPU"
    )
    cache_url: str = Field(
        "memory://",
        repr=False,
        description="`redis://…` or `rediss://…` (TLS): replicas share vended credentials, encrypted; "
        "`rediss+cluster://…` for a server in cluster mode",
    )
    revocation: Literal["off", "role_policy"] = Field(
        "off",
        description="`role_policy`: the service writes an inline policy into the role that denies revoked credentials",
    )
    revocation_delay: int = Field(
        60,
        ge=1,
        le=3600,
        description="seconds until such a policy holds everywhere; `effective_by` is computed from it",
    )
    revocation_policy_size: int = Field(
        8192,
        ge=1024,
        le=10_240,
        description="the most characters of that policy; IAM takes 10,240 in all inline policies of a role",
    )
    revocation_policy_arns: CommaSeparated = Field(
        (),
        description="ARNs of the role's managed policies for revocations that do not fit into the inline policy; "
        "none if empty",
    )
    canary: Switch = Field(
        "off",
        description="`on`: every hour two users that nobody can sign in as try each other's prefix; an alarm tells "
        "if one reaches it",
    )
    iam_endpoint_url: str | None = Field(None, description="the IAM of an engine other than AWS, with `role_policy`")
    s3_endpoint_url: str | None = Field(
        None, description="the S3 of an engine other than AWS; if empty, where the AWS SDK's own settings say"
    )
    s3_public_endpoint_url: str | None = Field(None, description="the S3 address for clients, if it is another one")
    s3_force_path_style: bool = Field(False, description="`true` for engines without a host name for each bucket")
    object_tags: Literal["read", "write"] = Field(
        "read",
        description="what credentials may do with tags of the user's own objects; leave it at `read` if anything, "
        "such as a virus scanner, is trusted by its tags",
    )
    bucket_location: Switch = Field(
        "off",
        description="`on`: credentials may ask for the bucket's Region, as MinIO's clients do before anything else",
    )
    s3_exposed_headers: CommaSeparated = Field(
        (),
        description="more headers of S3's answers that pages may read, such as `x-amz-meta-caption`; the embedded "
        "engine exposes them, and `tokenvend doctor` looks for them in the bucket's CORS rules",
    )
    upload_tickets: Switch | None = Field(
        None,
        description="`on` or `off` for `POST /v1/uploads`; if empty, `on` with AWS's own S3, else `off`; `tokenvend "
        "doctor` tries it",
    )
    cdn_url: str | None = Field(
        None,
        description="where CloudFront serves the bucket's objects, such as `https://cdn.example.org`; without it and "
        "`CDN_KEY_PAIR_ID` there is no `POST /v1/downloads`",
    )
    cdn_key_pair_id: str | None = Field(
        None,
        description="the id that CloudFront gave to the public key of `tokenvend keys show --purpose cdn`; a new id "
        "switches to the newest key",
    )
    cdn_grid: int = Field(
        450,
        ge=60,
        le=3600,
        description="seconds between the moments at which signatures for the CDN end; a signature lives one to two of "
        "them",
    )
    quota_bytes: int | None = Field(
        None,
        ge=0,
        le=MOST_BYTES,
        description="bytes that the current objects of each user may take up, unless an administrator sets another "
        "quota; old versions and unfinished uploads do not count",
    )
    quota_count_seconds: int = Field(
        900, ge=60, le=86_400, description="seconds between two counts of the storage of a user who may be uploading"
    )
    quota_versions_factor: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="for a versioned bucket: the most that a user's current and old versions may take up together, "
        "as a multiple of the user's quota; if empty, old versions are not counted",
    )
    storage_events_topic_arn: str | None = Field(
        None, description="SNS topic that gets the bucket's events, so that usage is known sooner; off if empty"
    )
    email_verification: Literal["off", "required"] | None = Field(
        None, description="whether an address is verified before the first sign-in: off in development, else required"
    )
    smtp_url: SecretStr = Field(
        SecretStr(""),
        description="`smtp://user:password@host:587` (STARTTLS) or `smtps://…`; if unset, mails are printed",
    )
    mail_from: str = Field(
        "tokenvend@localhost", description="sender of mails: an address, or `Photos <photos@example.org>`"
    )
    app_link_base: str | None = Field(
        None, description="the address of your app for links in mails; if empty, they lead to the pages of `PUBLIC_URL`"
    )
    passkey_rp_id: str | None = Field(
        None, description="the domain that passkeys belong to; the public URL's host if empty"
    )
    passkey_origins: CommaSeparated = Field(
        (), description="origins that may use passkeys, or `android:apk-key-hash:…`; if empty, the public URL's origin"
    )
    oidc_providers: Annotated[dict[str, OidcProvider], NoDecode] = Field(
        {},
        description="providers to sign in with, as JSON: "
        '`{"google": {"issuer": "https://accounts.google.com", "client_ids": ["…"]}}`',
    )
    guests: Switch = Field("on", description="`off`: no new guests; existing guests keep working and can be upgraded")
    password_min_length: int = Field(
        8, ge=8, le=128, description="the fewest code points of a password; 15 for NIST SP 800-63B-4"
    )
    refresh_grace: int = Field(
        30,
        ge=0,
        le=3600,
        description="seconds in which a used refresh token gives its unused successor again, for apps that lose "
        "answers; a thief who refreshes within them is not noticed",
    )
    import_max_bytes: int = Field(
        2**30,
        ge=65_536,
        description="the largest file that `POST /v1/admin/user-imports` takes, and what a packed one may unpack to",
    )
    firebase_hash_config: Annotated[FirebaseHashConfig | None, NoDecode] = Field(
        None,
        repr=False,
        description="the `hash_config` that Firebase's console shows, as its text or as JSON, for imported passwords; "
        "a secret",
    )
    cognito_client_id: str | None = Field(
        None, description="app client of the Cognito user pool from which users bring their passwords; off if empty"
    )
    cognito_client_secret: SecretStr = Field(SecretStr(""), description="secret of that app client, if it has one")
    cognito_region: str | None = Field(None, description="Region of that user pool; `AWS_REGION` if empty")
    cognito_endpoint_url: str | None = Field(None, description="address of that user pool, if it is not AWS's own")
    migration_url: str | None = Field(
        None,
        description="address that is asked about passwords of the old system, once for each user without one here; off "
        "if empty",
    )
    migration_secret: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="signs these questions: `whsec_` and the base64 of 24 to 64 random bytes; two, comma-separated, "
        "while it is changed",
    )
    webhook_url: str | None = Field(
        None,
        description="address of your own server that is told of events, such as a new user or a revocation; none if "
        "empty",
    )
    webhook_secret: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (),
        description="signs these events: `whsec_` and the base64 of 24 to 64 random bytes; several, comma-separated, "
        "while it is changed",
    )
    webhook_private: Switch | None = Field(
        None,
        description="`on`: that address may be a private one, and then may be `http://`; if empty, `on` in "
        "development, else `off`",
    )
    rate_limits: Switch = Field("on", description="`off` for load tests; refused in production")
    rate_limit_url: str = Field(
        "memory://",
        repr=False,
        description="`redis://…` or `rediss://…` (TLS): replicas share limits and lock-outs; `rediss+cluster://…` for "
        "a server in cluster mode",
    )
    trusted_proxies: CommaSeparated = Field(
        (),
        description="addresses or networks of all proxies in front, whose X-Forwarded-For is believed, comma-separated",
    )
    allowed_hosts: CommaSeparated = Field(
        (), description="Host headers that the service answers; the public URL's host if empty"
    )
    cors_origins: CommaSeparated = Field(
        (),
        description="origins of web apps that may call the service, comma-separated; also of shells: "
        "`capacitor://localhost`",
    )
    keep_alive: int = Field(
        KEEP_ALIVE,
        ge=5,
        le=7200,
        description="seconds for which an idle connection is kept; more than the load balancer keeps it",
    )
    metrics_token: SecretStr = Field(
        SecretStr(""),
        description="bearer token of `/metrics`; without one production has no metrics, and development shows them "
        "only to its own machine",
    )
    otlp_endpoint: str | None = Field(
        None, description="an OpenTelemetry collector, such as `http://127.0.0.1:4318`, that gets traces; none if empty"
    )
    docs: Switch | None = Field(None, description="`/docs` and `/openapi.json`: on in development, off in production")
    drain_seconds: int | None = Field(
        None,
        ge=0,
        le=20,
        description="seconds from SIGTERM, when `/readyz` turns 503, to the stop; if empty, 5 in production, else 0",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="level of the service's own logs"
    )

    @field_validator(
        "trusted_proxies",
        "allowed_hosts",
        "cors_origins",
        "session_tags",
        "transitive_tag_keys",
        "policy_arns",
        "revocation_policy_arns",
        "sts_regions",
        "s3_exposed_headers",
        "passkey_origins",
        "migration_secret",
        "webhook_secret",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("oidc_providers", mode="before")
    @classmethod
    def _json(cls, value: object) -> object:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            raise ValueError(f"must be one object in JSON: {error}") from None

    @field_validator("firebase_hash_config", mode="before")
    @classmethod
    def _hash_config(cls, value: object) -> object:
        """JSON, or the console's text, such as `hash_config { algorithm: SCRYPT, base64_signer_key: …, … }`."""
        if not isinstance(value, str):
            return value
        with contextlib.suppress(ValueError):
            return json.loads(value)
        if pairs := re.findall(r"(\w+):\s*([^\s,{}]+)", value):
            return dict(pairs)
        raise ValueError(
            "must be JSON, or the text that Firebase's console shows: `hash_config { algorithm: SCRYPT, … }`"
        )

    @model_validator(mode="before")
    @classmethod
    def _trim(cls, values: dict[str, object]) -> dict[str, object]:
        """Takes off white space, such as the line feed of a file."""
        return {
            name: (value.strip() or value) if isinstance(value, str) and name not in UNTRIMMED else value
            for name, value in values.items()
        }

    @field_validator("*", mode="before")
    @classmethod
    def _plain(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, str) and value.isspace():
            raise ValueError("must not be blank: give it a value, or leave it out")
        quoted = isinstance(value, str) and re.fullmatch(r"(['\"]).*\1", value, re.DOTALL)
        if quoted and info.field_name not in UNTRIMMED:
            raise ValueError("must have no quotes around it: Docker's `--env-file` takes them for part of the value")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network, strict=False)
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(map(host_name, value))
        except ValueError:
            raise ValueError("must be host names such as tokens.example.org, without scheme or port") from None

    @field_validator("region", "sts_regions", "cognito_region")
    @classmethod
    def _region(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for region in (value,) if isinstance(value, str) else value or ():
            if not re.fullmatch(r"[a-z0-9-]+", region):
                raise ValueError("must be a Region such as eu-central-1")
        return value

    @field_validator("session_tags")
    @classmethod
    def _tags(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value == ("off",):
            return ()
        for tag in value:
            key, fixed, text = tag.partition("=")
            known = (
                key in get_args(TagName) if not fixed else re.fullmatch(TAG_KEY, key) and re.fullmatch(TAG_VALUE, text)
            )
            if not known:
                raise ValueError("must be of user_id, session_id, access and key=value, comma-separated, or off")
        keys = {tag.partition("=")[0].lower() for tag in value}
        if len(keys) < len(value) or len(value) > MOST_TAGS:
            raise ValueError(f"must have each key once, in any case of letters, and {MOST_TAGS} at most")
        return value

    @field_validator("revocation_policy_arns")
    @classmethod
    def _own_policy_arns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value) or len(value) > MOST_REVOCATION_POLICY_ARNS:
            raise ValueError(f"must be {MOST_REVOCATION_POLICY_ARNS} at most, and each once")
        for arn in value:
            if not re.fullmatch(r"arn:aws[a-z-]*:iam::\d{12}:policy/[\w+=,.@/-]{1,200}", arn):
                raise ValueError("must be ARNs of your own managed policies: arn:aws:iam::123456789012:policy/name")
        return value

    @field_validator("policy_arns")
    @classmethod
    def _policy_arns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) > MOST_POLICY_ARNS:
            raise ValueError(f"must be {MOST_POLICY_ARNS} at most")
        for arn in value:
            if not re.fullmatch(r"arn:aws[a-z-]*:iam::(\d{12}|aws):policy/[\w+=,.@/-]+", arn):
                raise ValueError("must be ARNs of managed policies: arn:aws:iam::123456789012:policy/name")
        return value

    @field_validator("role_policy")
    @classmethod
    def _policy(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            text = value if value.lstrip().startswith("{") else Path(value).read_text(encoding="utf-8")
            document = json.loads(text)
        except (OSError, ValueError):
            raise ValueError("must be a policy document in JSON, or the path of a file with one") from None
        statements = document.get("Statement") if isinstance(document, dict) else None
        if not isinstance(statements, list) or not all(isinstance(statement, dict) for statement in statements):
            raise ValueError("must be a policy document, with a list of statements")
        return text

    @field_validator("kms_key_arn")
    @classmethod
    def _key(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[\w-]+", value):
            raise ValueError("must be the ARN of a key, not of an alias: arn:aws:kms:eu-central-1:123456789012:key/…")
        return value

    @field_validator("storage_events_topic_arn")
    @classmethod
    def _topic(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(
            r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w-]{1,256}", value, re.ASCII
        ):
            raise ValueError("must be the ARN of a topic: arn:aws:sns:eu-central-1:123456789012:name")
        return value

    @field_validator("cdn_url")
    @classmethod
    def _cdn(cls, value: str | None) -> str | None:
        if value is None:
            return None
        url = origin(value)
        if not url.startswith("https://") and not (url.startswith("http://") and urlsplit(url).hostname in LOOPBACK):
            raise ValueError("must start with https://, for whoever reads a signature on the way may use it")
        return url

    @field_validator("cdn_key_pair_id")
    @classmethod
    def _key_pair(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Z0-9]{4,64}", value, re.ASCII):
            raise ValueError("must be the id of a public key at CloudFront, such as K2JCJMDEHXQW5F, and not the key")
        return value

    @field_validator("external_id")
    @classmethod
    def _external_id(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w+=,.@:/-]{2,1224}", value, re.ASCII):
            raise ValueError("must be 2 to 1,224 of A-Z, a-z, 0-9 and _+=,.@:/-")
        return value

    @field_validator("mfa_serial")
    @classmethod
    def _mfa(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w+=/:,.@-]{9,256}", value):
            raise ValueError("must be a serial number or an ARN: arn:aws:iam::123456789012:mfa/name")
        return value

    @field_validator("cache_url", "rate_limit_url")
    @classmethod
    def _cache(cls, value: str) -> str:
        if value != "memory://" and not re.fullmatch(r"(rediss?(\+cluster)?|unix)://\S+", value):
            raise ValueError(
                "must be memory://, or start with redis://, rediss:// (TLS), unix://, redis+cluster:// or "
                "rediss+cluster://; Sentinel is not asked: give the address of the primary, such as a proxy's"
            )
        if "+cluster" in value and urlsplit(value).path.strip("/0"):
            raise ValueError("must have no number of a database: a cluster has one only")
        return value

    @field_validator("metrics_token")
    @classmethod
    def _metrics_token(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < 16:
            raise ValueError("must be 16 random characters or more: `openssl rand -base64 24` makes some")
        return value

    @field_validator("s3_exposed_headers")
    @classmethod
    def _header_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
                raise ValueError("must be whole names such as x-amz-meta-caption: S3 takes no `*` there")
        return value

    @field_validator("metrics_token", "cognito_client_secret")
    @classmethod
    def _bare(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text != text.strip():
            raise ValueError(
                "must have no white space or line feed around it: nobody sends it so. Write it with `printf %s`, for "
                "`echo` adds a line feed"
            )
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(map(origin, value))
        except ValueError as error:
            raise ValueError(
                "must be origins such as https://app.example.org or capacitor://localhost, without a path or `*`: "
                f"one {error}"
            ) from None

    @field_validator("cognito_client_id")
    @classmethod
    def _client_id(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[\w+]{1,128}", value, re.ASCII):
            raise ValueError("must be the id of an app client, such as 1example23456789")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _smtp(cls, value: SecretStr) -> SecretStr:
        if not (text := value.get_secret_value()):
            return value
        try:
            parts = urlsplit(text)
            usable = parts.scheme in ("smtp", "smtps") and parts.hostname and (parts.port or 1)
        except ValueError:
            usable = False
        if not usable or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("must be smtp://user:password@host:587 or smtps://user:password@host")
        return SecretStr(with_plain_host(text))

    @field_validator("mail_from")
    @classmethod
    def _sender(cls, value: str) -> str:
        _name, address = parseaddr(value)
        if not re.fullmatch(r"[^@\s<>]+@[^@\s<>]+", address) or any(character in value for character in "\r\n"):
            raise ValueError("must be an address such as photos@example.org, or `Photos <photos@example.org>`")
        domain = address.rpartition("@")[2]
        return value if domain.isascii() else value.replace(f"@{domain}", f"@{host_name(domain)}")

    @field_validator("app_link_base")
    @classmethod
    def _link_base(cls, value: str | None) -> str | None:
        if value is not None and re.match(r"https?:", value, re.IGNORECASE):
            return http_url(value)
        if value is not None and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s?#]*", value):
            raise ValueError("must be an address without ? and #, such as https://app.example.org or photos://account")
        return value.rstrip("/") if value else None

    @field_validator("passkey_rp_id")
    @classmethod
    def _rp_id(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            domain = host_name(value)
        except ValueError:
            raise ValueError("must be a domain such as example.org, without scheme or port") from None
        if is_address(domain):
            raise ValueError("must be a domain such as example.org: passkeys belong to no IP address")
        return domain

    @field_validator("passkey_origins")
    @classmethod
    def _passkey_origin(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(passkey_origin, value))

    @field_validator("oidc_providers")
    @classmethod
    def _providers(cls, value: dict[str, OidcProvider]) -> dict[str, OidcProvider]:
        if not all(re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", name) for name in value):
            raise ValueError("must have names of a-z, 0-9, `_` and `-`, such as google")
        issuers = [issuer for provider in value.values() for issuer in provider.issuers]
        if len(set(issuers)) < len(issuers):
            raise ValueError("must name each issuer once, with all of its client ids")
        return value

    @field_validator(
        "public_url",
        "sts_endpoint_url",
        "iam_endpoint_url",
        "s3_endpoint_url",
        "s3_public_endpoint_url",
        "cognito_endpoint_url",
        "migration_url",
        "webhook_url",
        "otlp_endpoint",
    )
    @classmethod
    def _http_url(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        placeholder = "{region}" if info.field_name == "sts_endpoint_url" else ""
        return http_url(value, placeholder=placeholder, with_user=info.field_name == "otlp_endpoint")

    @field_validator("cognito_endpoint_url", "migration_url")
    @classmethod
    def _private(cls, value: str | None) -> str | None:
        if value is not None and value.startswith("http:") and urlsplit(value).hostname not in LOOPBACK:
            raise ValueError("must start with https://, for passwords go there")
        return value

    @field_validator("migration_secret", "webhook_secret")
    @classmethod
    def _webhook_secrets(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        try:
            for secret in value:
                webhooks.key_of(secret.get_secret_value())
        except ValueError:
            raise ValueError(
                f"must be {webhooks.SECRET_PREFIX} and the base64 of {webhooks.LEAST} to {webhooks.MOST} random bytes: "
                f'`echo "{webhooks.SECRET_PREFIX}$(openssl rand -base64 32)"` makes one'
            ) from None
        return value

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str) -> str:
        try:
            url = make_url(value.strip())
            backend = url.drivername
        except ArgumentError as error:
            raise ValueError("must be a URL such as postgresql+psycopg://user@host/name") from error
        if backend not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
            raise ValueError("must start with postgresql+psycopg:// or sqlite:///")
        if url.host and not url.host.isascii():
            raise ValueError(f"must have its host in ASCII: {host_name(url.host)}")
        if backend == "postgresql+psycopg":
            _check_options(url)
            return value.strip()
        if value != value.strip():
            raise ValueError(
                "must have no white space or line feed around it: SQLite would make it part of the file's name. If a "
                "database has such a name, rename the file"
            )
        return value

    @field_validator("role_arn")
    @classmethod
    def _role(cls, value: str) -> str:
        if value and not re.fullmatch(r"arn:aws[a-z-]*:iam::(\d{12})?:role/[\w+=,.@/-]+", value):
            raise ValueError("must be the ARN of a role: arn:aws:iam::123456789012:role/name")
        return value

    @field_validator("saml_provider_arn")
    @classmethod
    def _saml_provider(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(
            r"arn:aws[a-z-]*:iam::\d{12}:saml-provider/[\w.-]{1,128}", value, re.ASCII
        ):
            raise ValueError("must be the ARN of a SAML provider: arn:aws:iam::123456789012:saml-provider/name")
        return value

    @field_validator("bucket")
    @classmethod
    def _bucket(cls, value: str) -> str:
        if value and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value):
            raise ValueError("must be the name of a bucket (3 to 63 of a-z, 0-9, `.` and `-`), not an ARN or URL")
        if value.endswith("--x-s3"):
            raise ValueError(
                "must be no directory bucket: there S3 makes keys for the whole bucket out of every credential, so "
                "nothing keeps users apart"
            )
        return value

    @field_validator("secret_key_previous", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        """A list in JSON, or else one key as it was, which may hold any character."""
        if not isinstance(value, str):
            return value
        with contextlib.suppress(ValueError):
            if isinstance(several := json.loads(value), list):
                return several
        return (value,) if value.strip() else ()

    @field_validator("secret_key_previous")
    @classmethod
    def _previous(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        return tuple(map(cls._secret, value))

    @field_validator("secret_key")
    @classmethod
    def _secret(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and (len(text) < 32 or len(set(text)) < 10):
            raise ValueError("must be 32 or more random characters: `openssl rand -base64 48` makes some")
        if text != text.lstrip():
            raise ValueError("must not begin with white space or a line feed: take it off")
        return value

    @model_validator(mode="after")
    def _lifetimes(self) -> Self:
        if self.credential_ttl > self.credential_max_ttl:
            raise ValueError(
                f"{PREFIX}CREDENTIAL_TTL: must not exceed {PREFIX}CREDENTIAL_MAX_TTL ({self.credential_max_ttl})"
            )
        if self.credential_max_ttl > LONGEST_OF_A_ROLE and self.vending_mode != "federation_token":
            raise ValueError(f"{PREFIX}CREDENTIAL_MAX_TTL: must not exceed {LONGEST_OF_A_ROLE} for a role")
        if self.longest_ttl > max(self.credential_max_ttl, LONGEST_CHAINED) and self.vending_mode not in KEYLESS:
            raise ValueError(
                f"{PREFIX}UPLOAD_MAX_TTL: must not exceed {LONGEST_CHAINED} and {PREFIX}CREDENTIAL_MAX_TTL but in "
                "web_identity or saml mode: AWS gives a role that assumes another one an hour at most"
            )
        return self

    @model_validator(mode="after")
    def _has_each_key_once(self) -> Self:
        if len({self.secret_key, *self.secret_key_previous}) <= len(self.secret_key_previous):
            raise ValueError(
                f"{PREFIX}SECRET_KEY_PREVIOUS: must be another key than {PREFIX}SECRET_KEY, and hold each key once"
            )
        return self

    @model_validator(mode="after")
    def _has_one_old_system(self) -> Self:
        if self.migration_url and not self.migration_secret:
            raise ValueError(f"{PREFIX}MIGRATION_SECRET: must be set, for it signs what is sent to MIGRATION_URL")
        if self.migration_url and self.cognito_client_id:
            raise ValueError(f"{PREFIX}MIGRATION_URL: must not be set beside COGNITO_CLIENT_ID: one of them is asked")
        return self

    @model_validator(mode="after")
    def _has_a_sound_webhook(self) -> Self:
        if self.webhook_url is None:
            return self
        if not self.webhook_secret:
            raise ValueError(f"{PREFIX}WEBHOOK_SECRET: must be set, for it signs what is sent to WEBHOOK_URL")
        parts = urlsplit(self.webhook_url)
        host, tls, production = parts.hostname or "", parts.scheme == "https", self.environment == "production"
        if production and not tls and not self.webhook_reaches_private:
            raise ValueError(
                f"{PREFIX}WEBHOOK_URL: must start with https:// in production; with WEBHOOK_PRIVATE=on a private "
                "address may start with http://"
            )
        if is_address(host) and not Reach(self.webhook_reaches_private, not production).permits(host, tls=tls):
            raise ValueError(
                f"{PREFIX}WEBHOOK_URL: must be another address. Private ones need WEBHOOK_PRIVATE=on, http:// is for "
                "these alone in production, and link-local ones and those of a cloud's metadata are never allowed"
            )
        return self

    @model_validator(mode="after")
    def _has_a_provider_beside_its_role(self) -> Self:
        if self.vending_mode != "saml" or not self.saml_provider_arn or not self.role_arn:
            return self
        provider, role = (arn.split(":") for arn in (self.saml_provider_arn, self.role_arn))
        if provider[1] != role[1] or (role[4] and provider[4] != role[4]):
            raise ValueError(
                f"{PREFIX}SAML_PROVIDER_ARN: must be of the account of {PREFIX}ROLE_ARN: no role trusts another "
                "account's SAML provider"
            )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if unknown := set(self.transitive_tag_keys) - set(tag_keys(self.session_tags)):
            raise ValueError(f"{PREFIX}TRANSITIVE_TAG_KEYS: {', '.join(sorted(unknown))}: not in SESSION_TAGS")
        if self.mfa_serial and self.vending_mode in KEYLESS:
            raise ValueError(f"{PREFIX}MFA_SERIAL: there is no base identity in {self.vending_mode} mode")
        if self.mfa_serial and self.vending_mode == "federation_token":
            raise ValueError(
                f"{PREFIX}MFA_SERIAL: STS takes no GetFederationToken from credentials that were got with a code"
            )
        if len(self.sts_regions) > 1 and self.sts_endpoint_url and "{region}" not in self.sts_endpoint_url:
            raise ValueError(
                f"{PREFIX}STS_ENDPOINT_URL: must have {{region}} in it, or be unset, with several STS_REGIONS"
            )
        if self.database_iam_auth and not _takes_iam_passwords(make_url(self.database_url)):
            raise ValueError(
                f"{PREFIX}DATABASE_IAM_AUTH: {PREFIX}DATABASE_URL must name one host and no password: "
                "postgresql+psycopg://user@host/name?sslmode=verify-full&sslrootcert=…"
            )
        if self.path == "/sts" and self.vending_mode == "web_identity":
            raise ValueError(f"{PREFIX}PUBLIC_URL: must have another path: /sts is where STS asks for keys")
        if self.database_pooler != "none" and make_url(self.database_url).get_backend_name() != "postgresql":
            raise ValueError(f"{PREFIX}DATABASE_POOLER: must be none with SQLite, which no pooler stands in front of")
        if self.revocation == "role_policy" and self.vending_mode == "federation_token":
            raise ValueError(f"{PREFIX}REVOCATION: there is no role in federation_token mode: off is all there is")
        if self.environment == "production":
            self._refuse_weak()
        return self

    def _refuse_weak(self) -> None:
        wrong = [
            f"{PREFIX}{name.upper()}: must be set in production"
            for name in ("database_url", "public_url", "smtp_url", "mail_from", *self._needed)
            if name not in self.model_fields_set
        ]
        if "region" not in self.model_fields_set:
            wrong.append("AWS_REGION: must be set in production")
        if not self.secret_key.get_secret_value():
            wrong.append(f"{PREFIX}SECRET_KEY: must be set in production: `openssl rand -base64 48` makes one")
        if self.rate_limits == "off":
            wrong.append(f"{PREFIX}RATE_LIMITS: must not be off in production")
        loopback = urlsplit(self.public_url).hostname in LOOPBACK
        if "public_url" in self.model_fields_set and not self.public_url.startswith("https://") and not loopback:
            wrong.append(f"{PREFIX}PUBLIC_URL: must start with https:// in production")
        if self.migration_url and not self.migration_url.startswith("https://"):
            wrong.append(f"{PREFIX}MIGRATION_URL: must start with https:// in production, for passwords go there")
        if wrong:
            raise ValueError("\n".join(wrong))

    @property
    def secret_key_is_untidy(self) -> bool:
        """Whether white space, such as the line feed of a file, is part of the key. It is kept: data depend on it."""
        return self.secret_key.get_secret_value() != self.secret_key.get_secret_value().strip()

    @property
    def hosts(self) -> frozenset[str]:
        """The Host headers that the service answers to, in lower case and without a port."""
        return frozenset(self.allowed_hosts or [urlsplit(self.public_url).hostname or ""])

    @property
    def path(self) -> str:
        """The path of the public URL: "" on a host of the service's own, else such as `/tokens`."""
        return urlsplit(self.public_url).path

    @property
    def exposed_headers(self) -> tuple[str, ...]:
        """The headers of S3's answers that pages may read."""
        return (*EXPOSED_HEADERS, *self.s3_exposed_headers)

    @property
    def answers_this_machine_alone(self) -> bool:
        return self.environment == "development" and self.development_remote == "off"

    @property
    def service_name(self) -> str:
        """The name that people know the service by: the sender's name in its mails, or else its host name."""
        return parseaddr(self.mail_from)[0] or urlsplit(self.public_url).hostname or ""

    @property
    def sends_mail(self) -> bool:
        """Whether mails leave this machine. In development they are printed without a mail server."""
        return bool(self.smtp_url.get_secret_value())

    @property
    def verifies_email(self) -> bool:
        """Whether signing in by password needs a verified e-mail address."""
        default = "off" if self.environment == "development" else "required"
        return (self.email_verification or default) == "required"

    @property
    def link_base(self) -> str:
        """How links in mails begin: with the app's own address, or with that of this service's pages."""
        return self.app_link_base or f"{self.public_url}/account"

    @property
    def relying_party(self) -> str:
        """The domain that passkeys belong to (WebAuthn's RP ID). It cannot be an IP address; loopback is localhost."""
        host = urlsplit(self.public_url).hostname or ""
        return self.passkey_rp_id or ("localhost" if host in LOOPBACK else host)

    def require_engine(self) -> None:
        """Raises `SettingsError` unless the bucket is set, and the role where the vending mode needs one."""
        wrong = [name for name in self._needed if not getattr(self, name)]
        if wrong:
            mend = "must be set; `tokenvend dev` brings its own"
            raise SettingsError("\n".join(f"{PREFIX}{name.upper()}: {mend}" for name in wrong))

    @property
    def upload_ttl(self) -> int:
        """The longest life of an upload lease, in seconds."""
        return self.credential_max_ttl if self.upload_max_ttl is None else self.upload_max_ttl

    @property
    def longest_ttl(self) -> int:
        """The longest life of any credential, in seconds."""
        return max(self.credential_max_ttl, self.upload_ttl)

    @property
    def partition(self) -> str:
        """The AWS partition (`aws`, `aws-cn` or another) of the role, or of the Region if there is no role."""
        if self.role_arn:
            return self.role_arn.split(":")[1]
        return next((f"aws-{name}" for name in ("cn", "us-gov", "eusc") if self.region.startswith(f"{name}-")), "aws")

    @property
    def _needed(self) -> tuple[str, ...]:
        match self.vending_mode:
            case "federation_token":
                return ("bucket",)
            case "saml":
                return ("bucket", "role_arn", "saml_provider_arn")
            case "assume_role" | "web_identity":
                return ("bucket", "role_arn")

    @property
    def gives_upload_tickets(self) -> bool:
        default = "off" if self.s3_endpoint_url else "on"
        return (self.upload_tickets or default) == "on"

    @property
    def signs_downloads(self) -> bool:
        return self.cdn_url is not None and self.cdn_key_pair_id is not None

    @property
    def webhook_reaches_private(self) -> bool:
        return (self.webhook_private or ("on" if self.environment == "development" else "off")) == "on"

    @property
    def drains_for(self) -> int:
        return (5 if self.environment == "production" else 0) if self.drain_seconds is None else self.drain_seconds

    @property
    def docs_on(self) -> bool:
        return (self.docs or ("on" if self.environment == "development" else "off")) == "on"


def _check_options(url: URL) -> None:
    """Refuses what libpq does not know: it then connects to nothing. Raises ValueError."""
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    if unknown := sorted(set(url.query) - known):
        advice = f"set {PREFIX}DATABASE_POOLER for a pooler" if "pgbouncer" in unknown else "take it out"
        raise ValueError(f"has an option that PostgreSQL's own library does not know ({', '.join(unknown)}): {advice}")
    if (mode := url.query.get("sslmode")) is not None and mode not in SSL_MODES:
        raise ValueError(f"must have one of these as `sslmode`: {', '.join(SSL_MODES)}")


def _takes_iam_passwords(url: URL) -> bool:
    """Whether the URL suits IAM passwords. A password is made for one host, and TLS has to verify that host."""
    return (
        url.get_backend_name() == "postgresql"
        and bool(url.username and url.host)
        and url.password is None
        and "host" not in url.query
        and url.query.get("sslmode") in ("verify-ca", "verify-full")
    )


def tag_keys(session_tags: tuple[str, ...]) -> tuple[str, ...]:
    """The keys of `SESSION_TAGS`."""
    return tuple(tag.partition("=")[0] for tag in session_tags)
