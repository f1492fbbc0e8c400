"""A signed-in session: every call of the generated client carries its access token, which renews itself."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TypeVar, cast

import httpx
from tokenvend_client import AuthenticatedClient, Client, models
from tokenvend_client.api.auth import answer_mfa_challenge, log_in, log_out, refresh_session

T = TypeVar("T")

EARLY = 60.0
"""Seconds before its end that an access token is renewed."""
LOST_FOR = 25.0
"""Seconds in which a refresh whose answer was lost is sent again; the service repeats its answer for 30."""


class Refused(Exception):
    """The service said no, and why: `problem.code`."""

    def __init__(self, problem: models.Problem) -> None:
        super().__init__(f"{problem.code}: {problem.detail} (request {problem.request_id})")
        self.problem = problem


class SignedOut(Exception):
    """There is no session, or none any more: sign in."""


def expect(answer: T | models.Problem | None) -> T:
    """What a generated function answers with, which is None where the answer is empty. Raises `Refused`."""
    if isinstance(answer, models.Problem):
        raise Refused(answer)
    return cast(T, answer)


def _is_spent(response: httpx.Response) -> bool:
    return response.status_code == 401 and "invalid_token" in response.headers.get("WWW-Authenticate", "")


class TokenStore(httpx.Auth):
    """One signed-in device.

    `save` gets each refresh token before anything else is done with it, and None when there is none any more; keep it
    in the keychain, and give it back as `refresh_token` at the next start. The access token stays in memory.
    """

    def __init__(
        self, base_url: str, refresh_token: str | None = None, *, save: Callable[[str | None], None] = lambda _: None
    ) -> None:
        timeout = httpx.Timeout(10)
        self._public = Client(base_url=base_url, timeout=timeout, raise_on_unexpected_status=True)
        self._refresh_token, self._save = refresh_token, save
        self._access_token: str | None = None
        self._renew_at = 0.0
        self._lock = threading.Lock()
        self.client = AuthenticatedClient(
            base_url=base_url, token="", timeout=timeout, raise_on_unexpected_status=True, httpx_args={"auth": self}
        )

    def log_in(self, email: str, password: str, device_name: str) -> models.MfaChallenge | None:
        """The challenge of the second factor, where the user has one. Raises `Refused`."""
        body = models.LoginRequest(email=email, password=password, device_name=device_name)
        result = expect(log_in.sync(client=self._public, body=body))
        if result.tokens is not None:
            self.adopt(result.tokens)
        return result.mfa

    def answer(self, request: models.MfaRequest) -> None:
        result = expect(answer_mfa_challenge.sync(client=self._public, body=request))
        if result.tokens is not None:
            self.adopt(result.tokens)

    def log_out(self) -> None:
        """Forgets the session, also where the service cannot be told, which is then raised."""
        with self._lock:
            try:
                if self._refresh_token is not None:
                    expect(
                        log_out.sync(client=self._public, body=models.LogoutRequest(refresh_token=self._refresh_token))
                    )
            finally:
                self._forget()

    def adopt(self, tokens: models.TokenSet) -> None:
        """Goes on with these: of a sign-in, a refresh or a step-up."""
        with self._lock:
            self._keep(tokens)

    def access_token(self, *, spent: str | None = None) -> str:
        """One that is not `spent`. Whoever asks while it is renewed waits for the one renewal. Raises `SignedOut`."""
        with self._lock:
            if self._access_token in (None, spent) or time.monotonic() >= self._renew_at:
                self._keep(self._refresh())
            assert self._access_token is not None
            return self._access_token

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self.access_token()
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if _is_spent(response):
            request.headers["Authorization"] = f"Bearer {self.access_token(spent=token)}"
            yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        token = await asyncio.to_thread(self.access_token)
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if _is_spent(response):
            token = await asyncio.to_thread(self.access_token, spent=token)
            request.headers["Authorization"] = f"Bearer {token}"
            yield request

    def _refresh(self) -> models.TokenSet:
        if self._refresh_token is None:
            raise SignedOut
        body = models.RefreshRequest(refresh_token=self._refresh_token)
        give_up_at, pause = time.monotonic() + LOST_FOR, 0.5
        while True:
            last = time.monotonic() + pause > give_up_at
            try:
                return expect(refresh_session.sync(client=self._public, body=body))
            except Refused as refusal:
                if refusal.problem.status == 401:
                    self._forget()
                    raise SignedOut from refusal
                if last or refusal.problem.status < 500:
                    raise
            except (httpx.TransportError, ValueError, TypeError, KeyError):  # no answer, or one that a gateway wrote
                if last:
                    raise
            time.sleep(pause)
            pause *= 2

    def _keep(self, tokens: models.TokenSet) -> None:
        try:
            self._save(tokens.refresh_token)
        finally:
            self._refresh_token = tokens.refresh_token
            self._access_token = tokens.access_token
            self._renew_at = time.monotonic() + tokens.expires_in - EARLY

    def _forget(self) -> None:
        self._refresh_token = self._access_token = None
        self._save(None)
