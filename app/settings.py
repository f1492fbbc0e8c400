"""Settings: environment variables `TOKENVEND_…` or the same keys in `.env`. Wrong or weak ones are refused by name."""

import os
import re
import secrets
from collections.abc import Mapping
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

PREFIX = "TOKENVEND_"
Switch = Literal["on", "off"]
CommaSeparated = Annotated[tuple[str, ...], NoDecode]


class SettingsError(Exception):
    """Names each wrong setting and what it should be, one a line. Holds no secret value."""


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
    database_url: str = Field(
        "sqlite:///var/tokenvend.db",
        repr=False,
        description="SQLAlchemy URL; `postgresql+psycopg://…` for many replicas",
    )
    database_pool_size: int = Field(
        10, ge=1, le=200, description="database connections, and as many threads, for each process"
    )
    secret_key: SecretStr = Field(
        SecretStr(""), description="32 random characters or more; encrypts signing keys, keys the hashes of tokens"
    )
    public_url: str = Field(
        "http://127.0.0.1:8000", description="where clients reach the service; the issuer of its tokens"
    )
    bucket: str = Field("", description="the bucket that holds the pictures")
    role_arn: str = Field("", description="the role that is assumed for each credential")
    external_id: str | None = Field(None, description="passed to AssumeRole as ExternalId")
    source_identity: Switch = Field(
        "on", description="sets SourceIdentity to the user id; `off` for a role without sts:SetSourceIdentity"
    )
    region: str = Field(
        "us-east-1",
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"),
        description="Region of bucket and STS; the AWS SDK's own variable, as is `AWS_DEFAULT_REGION`",
    )
    credential_ttl: int = Field(3600, ge=900, le=43200, description="seconds that a credential lives")
    credential_max_ttl: int = Field(3600, ge=900, le=43200, description="the most a caller may ask for, in seconds")
    sts_endpoint_url: str | None = Field(None, description="for engines other than AWS")
    s3_endpoint_url: str | None = Field(None, description="for engines other than AWS")
    s3_public_endpoint_url: str | None = Field(None, description="S3 as the clients reach it, where that differs")
    s3_force_path_style: bool = Field(False, description="`true` for engines without a host name for each bucket")
    password_min_length: int = Field(8, ge=8, le=128, description="in code points; 15 for NIST SP 800-63B-4")
    rate_limits: Switch = Field("on", description="`off` for load tests; refused in production")
    trusted_proxies: CommaSeparated = Field(
        (), description="addresses or networks whose X-Forwarded-For is believed, comma-separated"
    )
    allowed_hosts: CommaSeparated = Field((), description="Host headers answered to; the public URL's host if empty")
    cors_origins: CommaSeparated = Field((), description="origins of web apps that may call, comma-separated")
    docs: Switch | None = Field(None, description="`/docs` and `/openapi.json`: on in development, off in production")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="of the service's own logs")

    @field_validator("trusted_proxies", "allowed_hosts", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
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
        for host in value:
            if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9a-fA-F:]+", host):
                raise ValueError("must be host names such as tokens.example.org, without scheme or port")
        return value

    @field_validator("region")
    @classmethod
    def _region(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9-]+", value):
            raise ValueError("must be a Region such as eu-central-1")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not re.fullmatch(r"https?://[^/\s*]+", origin):
                raise ValueError("must be origins such as https://app.example.org, without a path or `*`")
        return value

    @field_validator("public_url", "sts_endpoint_url", "s3_endpoint_url", "s3_public_endpoint_url")
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        try:
            parts.port  # noqa: B018 - raises for what is none
        except ValueError as error:
            raise ValueError("must have a port of 1 to 65535, or none") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be an address such as https://tokens.example.org")
        return value.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str) -> str:
        try:
            backend = make_url(value).drivername
        except ArgumentError as error:
            raise ValueError("must be a URL such as postgresql+psycopg://user@host/name") from error
        if backend not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
            raise ValueError("must start with postgresql+psycopg:// or sqlite:///")
        return value

    @field_validator("role_arn")
    @classmethod
    def _role(cls, value: str) -> str:
        if value and not re.fullmatch(r"arn:aws[a-z-]*:iam::(\d{12})?:role/[\w+=,.@/-]+", value):
            raise ValueError("must be the ARN of a role: arn:aws:iam::123456789012:role/name")
        return value

    @field_validator("bucket")
    @classmethod
    def _bucket(cls, value: str) -> str:
        if value and not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value):
            raise ValueError("must be the name of a bucket (3 to 63 of a-z, 0-9, `.` and `-`), not an ARN or URL")
        return value

    @field_validator("secret_key")
    @classmethod
    def _secret(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if text and (len(text) < 32 or len(set(text)) < 10):
            raise ValueError("must be 32 or more random characters: `openssl rand -base64 48` makes some")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.credential_ttl > self.credential_max_ttl:
            raise ValueError(
                f"{PREFIX}CREDENTIAL_TTL: must not exceed {PREFIX}CREDENTIAL_MAX_TTL ({self.credential_max_ttl})"
            )
        if self.environment == "production":
            self._refuse_weak()
        return self

    def _refuse_weak(self) -> None:
        wrong = [
            f"{PREFIX}{name.upper()}: must be set in production"
            for name in ("database_url", "public_url", "bucket", "role_arn")
            if name not in self.model_fields_set
        ]
        if "region" not in self.model_fields_set:
            wrong.append("AWS_REGION: must be set in production")
        if not self.secret_key.get_secret_value():
            wrong.append(f"{PREFIX}SECRET_KEY: must be set in production: `openssl rand -base64 48` makes one")
        if self.rate_limits == "off":
            wrong.append(f"{PREFIX}RATE_LIMITS: must not be off in production")
        loopback = urlsplit(self.public_url).hostname in ("127.0.0.1", "localhost", "::1")
        if "public_url" in self.model_fields_set and not self.public_url.startswith("https://") and not loopback:
            wrong.append(f"{PREFIX}PUBLIC_URL: must start with https:// in production")
        if wrong:
            raise ValueError("\n".join(wrong))

    @property
    def hosts(self) -> frozenset[str]:
        """The Host headers answered to, lower case, without port."""
        return frozenset(host.lower() for host in self.allowed_hosts) or frozenset(
            {(urlsplit(self.public_url).hostname or "").lower()}
        )

    def require_engine(self) -> None:
        """Raises `SettingsError` where nothing is named to vend: bucket and role."""
        wrong = [name for name in ("bucket", "role_arn") if not getattr(self, name)]
        if wrong:
            mend = "must be set; `tokenvend dev` brings its own"
            raise SettingsError("\n".join(f"{PREFIX}{name.upper()}: {mend}" for name in wrong))

    @property
    def partition(self) -> str:
        """`aws`, `aws-cn` or `aws-us-gov`: the one that the role is in."""
        return self.role_arn.split(":")[1]

    @property
    def docs_on(self) -> bool:
        return (self.docs or ("on" if self.environment == "development" else "off")) == "on"


def load_settings(**overrides: object) -> Settings:
    """Settings from the environment and `.env`, `overrides` (field names) first. Raises `SettingsError`."""
    try:
        unknown = _unknown_names({**dotenv_values(".env"), **os.environ})
    except UnicodeDecodeError:
        raise SettingsError(".env: must be text in UTF-8") from None
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        raise SettingsError("\n".join([*unknown, *_explain(error)])) from None
    if unknown:
        raise SettingsError("\n".join(unknown))
    if settings.secret_key.get_secret_value():
        return settings
    return settings.model_copy(update={"secret_key": SecretStr(kept_secret(Path("var/secret_key")))})


def kept_secret(file: Path) -> str:
    """The development secret in `file`, made on first use and readable by its owner alone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secrets.token_urlsafe(48))
    try:
        os.link(draft, file)  # a link appears whole or not at all: two processes agree on one secret
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return file.read_text()


def _unknown_names(environment: Mapping[str, str | None]) -> list[str]:
    """A misspelt setting would be a default nobody asked for, so it is refused."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields if name != "region"}
    unknown = []
    for name in sorted(name for name in environment if name.startswith(PREFIX) and name.upper() not in known):
        close = get_close_matches(name, known, n=1, cutoff=0.85)
        unknown.append(f"{name}: there is no such setting" + (f"; did you mean {close[0]}?" if close else ""))
    return unknown


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for entry in error.errors(include_input=False, include_url=False):
        message = entry["msg"].removeprefix("Value error, ")
        name = str(entry["loc"][0]) if entry["loc"] else ""
        shown = "AWS_REGION" if name in ("region", "AWS_REGION", "AWS_DEFAULT_REGION") else PREFIX + name.upper()
        lines.append(f"{shown}: {message}" if name else message)
    return lines
