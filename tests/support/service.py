"""The service in this process, over the real web stack, with a canned STS and a clock that a test moves."""

import functools
import itertools
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

import boto3
from fastapi import FastAPI
from httpx2 import Response
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.accounts import passwords
from app.accounts.registration import add_user
from app.api.auth.wire import token_set
from app.auth import sessions
from app.auth.rotation import SessionTokens
from app.compose import Runtime, build_runtime
from app.mail.transport import ConsoleTransport
from app.main import create_app
from app.platform.clock import Clock
from app.platform.problems import EmailTaken
from app.platform.settings import Settings
from app.records import addresses
from app.records.audit import Origin
from app.records.models import User
from tests.support.canned_sts import CannedSts
from tests.support.clock import ManualClock

PASSWORD = "violet tractor moonlight"
SECRET_KEY = "k9f3-Zq8w-1mLp-77xT-bVn2-Rh5c-Yd4s"
ROLE_ARN = "arn:aws:iam::123456789012:role/tokenvend-vending"
PROVIDER_ARN = "arn:aws:iam::123456789012:saml-provider/tokenvend"
_serial = itertools.count(1)


class GivenSettings(Settings):
    """Settings of what is given alone: to look for a hundred names elsewhere takes a fifth of a service's start."""

    @classmethod
    def settings_customise_sources(
        cls, _settings: type[BaseSettings], init_settings: PydanticBaseSettingsSource, **_others: object
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def test_settings(**changes: Any) -> Settings:
    """Settings for tests: rate limits are off unless a test is about them."""
    values: dict[str, Any] = {
        "environment": "development",
        "secret_key": SECRET_KEY,
        "public_url": "http://testserver",
        "bucket": "photos",
        "role_arn": ROLE_ARN,
        "rate_limits": "off",
        "database_pool_size": 8,
    }
    if changes.get("vending_mode") == "saml":
        values["saml_provider_arn"] = PROVIDER_ARN
    if any(name.startswith(("TOKENVEND_", "AWS_REGION", "AWS_DEFAULT_REGION")) for name in os.environ):
        return Settings(_env_file=None, **(values | changes))
    return GivenSettings(**(values | changes))


test_settings.__test__ = False  # type: ignore[attr-defined]


@dataclass
class Device:
    """A signed-in device of a user."""

    service: "Service"
    email: str
    access_token: str
    refresh_token: str
    session_id: str
    user_id: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"}

    def get(self, path: str, **kwargs: Any) -> Response:
        return self.service.client.get(path, headers=self.headers, **kwargs)

    def post(self, path: str, json: Any = None, **kwargs: Any) -> Response:
        return self.service.client.post(path, json=json, headers=self.headers, **kwargs)

    def patch(self, path: str, json: Any, **kwargs: Any) -> Response:
        return self.service.client.patch(path, json=json, headers=self.headers, **kwargs)

    def put(self, path: str, json: Any = None, **kwargs: Any) -> Response:
        return self.service.client.put(path, json=json, headers=self.headers, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> Response:
        return self.service.client.delete(path, headers=self.headers, **kwargs)

    def erase(self, password: str | None = PASSWORD) -> Response:
        body = {} if password is None else {"password": password}
        return self.service.client.request("DELETE", "/v1/me", json=body, headers=self.headers)

    def vend(self, **wish: Any) -> Response:
        return self.post("/v1/credentials", json=wish)


@dataclass(frozen=True)
class Mail:
    """A mail as its reader gets it."""

    message: EmailMessage

    @property
    def recipient(self) -> str:
        """The address, its domain as it is sent: by IDNA."""
        address: str = self.message["To"].addresses[0].addr_spec
        return address

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def text(self) -> str:
        return self._part("plain")

    @property
    def html(self) -> str:
        return self._part("html")

    @property
    def token(self) -> str:
        """Of the one link in it."""
        (link,) = re.findall(r"\S+#token=\S+", self.text)
        return str(link).partition("#token=")[2]

    def _part(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        assert part is not None
        return str(part.get_content())


@dataclass
class Service:
    app: FastAPI
    runtime: Runtime
    client: TestClient
    clock: ManualClock
    sts: CannedSts
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.settings = self.runtime.platform.settings

    def register(self, email: str | None = None, password: str = PASSWORD, **members: Any) -> Response:
        email = email or f"user{next(_serial)}@example.org"
        return self.client.post("/v1/users", json={"email": email, "password": password, **members})

    def log_in(self, email: str, password: str = PASSWORD, **members: Any) -> Response:
        return self.client.post("/v1/auth/login", json={"email": email, "password": password, **members})

    def refresh(self, refresh_token: str) -> Response:
        return self.client.post("/v1/auth/refresh", json={"refresh_token": refresh_token})

    def device(self, email: str | None = None, password: str = PASSWORD) -> Device:
        """A signed-in device. The account is made first where there is none: without HTTP, in a fifth of the time."""
        email = email or f"user{next(_serial)}@example.org"
        if self.settings.rate_limits == "off" and not self.settings.verifies_email:
            with suppress(EmailTaken):
                return self._newcomer(email, password)
        self.register(email, password)
        answer = self.log_in(email, password)
        assert answer.status_code == 200, answer.text
        tokens = answer.json()["tokens"]
        device = Device(self, email, tokens["access_token"], tokens["refresh_token"], tokens["session_id"])
        device.user_id = device.get("/v1/me").json()["id"]
        return device

    def _newcomer(self, email: str, password: str) -> Device:
        """What `register` and `log_in` leave behind, in one transaction. Raises `EmailTaken`."""
        platform = self.runtime.platform
        now, origin = self.clock.now(), Origin(str(uuid.uuid4()), "127.0.0.1")
        password_hash = passwords.PASSWORD_CONTEXT.hash(passwords.normalize(password))

        def story(session: Session) -> SessionTokens:
            user_id = add_user(session, origin, now, address=addresses.parse(email), password_hash=password_hash)
            user = session.get_one(User, user_id)
            return sessions.start(
                session, platform.vault, origin, now, user=user, method="password", mfa=False, device_name=None
            )

        grant = platform.database.run("write", story)
        tokens = token_set(platform, self.runtime.tokens, grant)
        session_id = str(tokens.session_id)
        return Device(self, email, tokens.access_token, tokens.refresh_token, session_id, str(grant.user_id))

    def staff(self, role: str = "admin", email: str | None = None) -> Device:
        """A signed-in device of who runs the app; only outside development they need a second factor."""
        device = self.device(email)
        self.sql("UPDATE users SET role = :role WHERE email = :email", role=role, email=device.email)
        return device

    def sql(self, statement: str, **parameters: Any) -> list[Any]:
        """Rows of a statement run directly on the database, which is committed."""
        with self.runtime.platform.database.engine.connect() as connection:
            result = connection.execute(text(statement), parameters)
            rows = list(result) if result.returns_rows else []
            connection.commit()
        return rows

    def mails(self, recipient: str) -> list[Mail]:
        """What was sent to the address, oldest first, once all that waits has left."""
        assert self.client.portal is not None
        while self.client.portal.call(self.runtime.postman.send_waiting):
            pass
        transport = self.runtime.postman.transport
        assert isinstance(transport, ConsoleTransport)
        return [Mail(message) for message in transport.kept if Mail(message).recipient == recipient]

    def disable(self, email: str) -> None:
        self.sql("UPDATE users SET status = 'disabled' WHERE email = :email", email=email)


@functools.cache
def _of_a_user() -> boto3.Session:
    """The keys that services of tests have; one session, as it takes as long to make as the rest of a runtime."""
    return boto3.Session("AKIATESTTESTTEST", "test", region_name="us-east-1")


@contextmanager
def running_service(
    database_url: str,
    *,
    clock: ManualClock | None = None,
    aws: boto3.Session | None = None,
    background: bool = False,
    make_sts: Callable[[Clock], CannedSts] = CannedSts,
    **changes: Any,
) -> Iterator[Service]:
    """`aws` and the endpoints among `changes` are for an engine in the place of the canned STS.

    Jobs run when a test says so, unless it wants them in the `background`: there they mix with what it observes.
    """
    clock = clock or ManualClock()
    sts = make_sts(clock)
    try:
        settings = test_settings(**({"database_url": database_url, "sts_endpoint_url": sts.url} | changes))
        runtime = build_runtime(settings, clock=clock, aws=aws or _of_a_user())
        app = create_app(settings, runtime, jobs=runtime.jobs if background else ())
        with TestClient(app, raise_server_exceptions=False, client=("127.0.0.1", 50000)) as client:
            yield Service(app, runtime, client, clock, sts)
    finally:
        sts.close()
