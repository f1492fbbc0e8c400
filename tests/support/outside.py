"""The service with an OpenID provider that it trusts, and people who sign in there."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from httpx2 import Response
from sqlalchemy import insert

from app.records.models import Passkey, TotpFactor
from tests.support.issuer import CLIENT_ID, Issuer
from tests.support.service import Device, Service

PROVIDER = "local"


def trusting(issuer: Issuer, *others: Issuer) -> dict[str, Any]:
    """The setting that makes a service trust it, as `local`, and others as `other1` and so on."""
    named = {PROVIDER: issuer} | {f"other{number}": other for number, other in enumerate(others, start=1)}
    return {name: {"issuer": one.url, "client_ids": (CLIENT_ID, "org.example.web")} for name, one in named.items()}


@dataclass
class Outside:
    service: Service
    issuer: Issuer
    provider: str = field(default=PROVIDER)

    def nonce(self) -> str:
        answer = self.service.client.post(f"/v1/auth/oidc/{self.provider}/nonce")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["nonce"])

    def token(self, **changes: Any) -> str:
        """An ID token with a nonce of its own."""
        return self.issuer.token(self.nonce(), **changes)

    def present(self, id_token: str, **members: Any) -> Response:
        body = {"id_token": id_token, **members}
        return self.service.client.post(f"/v1/auth/oidc/{self.provider}", json=body)

    def sign_in(self, **changes: Any) -> Response:
        return self.present(self.token(**changes))

    def device(self, **changes: Any) -> Device:
        """A device on which somebody signed in, who is made where there is none."""
        answer = self.sign_in(**changes)
        assert answer.status_code == 200, answer.text
        return device_of(self.service, answer)

    def link(self, device: Device, id_token: str | None = None, **changes: Any) -> Response:
        return device.post(
            "/v1/me/identities", {"provider": self.provider, "id_token": id_token or self.token(**changes)}
        )


def device_of(service: Service, answer: Response) -> Device:
    """Of a LoginResult that is complete."""
    tokens = answer.json()["tokens"]
    device = Device(service, "", tokens["access_token"], tokens["refresh_token"], tokens["session_id"])
    device.user_id = device.get("/v1/me").json()["id"]
    return device


def guest(service: Service) -> Device:
    answer = service.client.post("/v1/auth/guest", json={})
    assert answer.status_code == 200, answer.text
    return device_of(service, answer)


def mails(service: Service) -> list[tuple[str, str]]:
    """Kind and recipient of each mail to send, oldest first."""
    return [(row[0], row[1]) for row in service.sql("SELECT kind, recipient FROM outbox ORDER BY created_at, kind")]


def events(service: Service, event: str) -> list[str]:
    """The outcome of each."""
    rows = service.sql("SELECT outcome FROM audit_events WHERE event = :event ORDER BY id", event=event)
    return [row[0] for row in rows]


def enable_totp(service: Service, user_id: str) -> None:
    """As if the user had confirmed an authenticator app."""
    now = service.clock.now()
    with service.runtime.platform.database.engine.begin() as connection:
        connection.execute(
            insert(TotpFactor).values(
                user_id=UUID(user_id), secret_encrypted=b"-", created_at=now, confirmed_at=now, last_step=None
            )
        )


def add_passkey(service: Service, user_id: str) -> None:
    """As if the user had registered one."""
    now = service.clock.now()
    with service.runtime.platform.database.engine.begin() as connection:
        connection.execute(
            insert(Passkey).values(
                id=uuid4(),
                user_id=UUID(user_id),
                credential_id=b"credential",
                public_key=b"key",
                sign_count=0,
                transports=[],
                name="key",
                backed_up=False,
                created_at=now,
            )
        )
