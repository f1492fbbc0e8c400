"""An authenticator app (RFC 6238) of the tests' own: what phones compute, by none of the service's code."""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from httpx2 import Response

from app.platform.clock import Clock
from tests.support.clock import ManualClock
from tests.support.service import Device, Service


def totp(key: bytes, at: datetime, *, digits: int = 6) -> str:
    counter = (int(at.timestamp()) // 30).to_bytes(8, "big")
    mac = hmac.new(key, counter, hashlib.sha1).digest()
    offset = mac[-1] & 15
    value = int.from_bytes(mac[offset : offset + 4], "big") & 0x7FFF_FFFF
    return str(value % 10**digits).zfill(digits)


@dataclass
class Authenticator:
    clock: Clock
    secret: str
    recovery_codes: list[str]

    def code(self, *, steps: int = 0) -> str:
        """The code of now, or of so many times 30 seconds later."""
        at = datetime.fromtimestamp(self.clock.now().timestamp() + 30 * steps, self.clock.now().tzinfo)
        return totp(base64.b32decode(self.secret), at)

    def fresh_code(self) -> str:
        """One that was not used yet: the clock moves on."""
        assert isinstance(self.clock, ManualClock)
        self.clock.advance(seconds=30)
        return self.code()

    def wrong_code(self) -> str:
        """Six digits that belong to none of the steps around now."""
        near = {self.code(steps=steps) for steps in range(-3, 4)}
        return next(code for code in (f"{number:06}" for number in range(10)) if code not in near)


def enrol(device: Device) -> Authenticator:
    """An app that knows the secret, and has not been confirmed."""
    answer = device.post("/v1/me/totp")
    assert answer.status_code == 200, answer.text
    return Authenticator(device.service.clock, answer.json()["secret"], [])


def enable(device: Device) -> Authenticator:
    """An app that counts, on an account whose only session is `device`."""
    app = enrol(device)
    answer = device.post("/v1/me/totp/confirm", json={"code": app.code()})
    assert answer.status_code == 200, answer.text
    app.recovery_codes = answer.json()["recovery_codes"]
    return app


def challenge(device: Device) -> str:
    """The mfa_token of a new sign-in."""
    answer = device.service.log_in(device.email)
    assert answer.json()["status"] == "mfa_required", answer.text
    return str(answer.json()["mfa"]["mfa_token"])


def answer(service: Service, mfa_token: str, code: str, method: str = "totp") -> Response:
    body: dict[str, Any] = {"mfa_token": mfa_token, "method": method, "code": code}
    return service.client.post("/v1/auth/mfa", json=body)


def mails(service: Service) -> list[tuple[str, str]]:
    """Kind and recipient of each in the outbox, the oldest first."""
    return [tuple(row) for row in service.sql("SELECT kind, recipient FROM outbox ORDER BY created_at, kind")]
