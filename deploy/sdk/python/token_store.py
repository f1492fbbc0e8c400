"""A signed-in session: every call of the generated client carries its access token, which renews itself."""

import threading
import time
from collections.abc import Callable, Generator
from typing import TypeVar

import httpx
from tokenvend_client import AuthenticatedClient, Client
from tokenvend_client.api.auth import answer_mfa_challenge, log_in, log_out, refresh_session
from tokenvend_client.models import (
    LoginRequest,
    LoginResult,
    LogoutRequest,
    MfaChallenge,
    MfaRequest,
    Problem,
    RefreshRequest,
    TokenSet,
)

T = TypeVar("T")

EARLY = 60.0
"""Seconds before its end that an access token is renewed."""
LOST_FOR = 25.0
"""Seconds in which a refresh whose answer was lost is sent again; the service repeats its answer for 30."""


class Refused(Exception):
    """The service said no, and why: `problem.code`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.code}: {problem.detail} (request {problem.request_id})")
        self.problem = problem


class SignedOut(Exception):
    """There is no session, or none any more: sign in."""


def expect(answer: T | Problem | None) -> T:
    """What a generated function answers with. Raises `Refused`."""
    if isinstance(answer, Problem):
        raise Refused(answer)
    assert answer is not None
    return answer


class TokenStore(httpx.Auth):
    """One signed-in device.

    `save` gets each refresh token before anything else is done with it, and None when there is none any more; keep it
    in the keychain, and give it back as `refresh_token` at the next start. The access token stays in memory.
    """

    def __init__(
        self, base_url: str, refresh_token: str | None = None, *, save: Callable[[str | None], None] = lambda _: None
    ) -> None:
        self._public = Client(base_url=base_url, timeout=httpx.Timeout(10))
        self._refresh_token, self._save = refresh_token, save
        self._access_token: str | None = None
        self._renew_at = 0.0
        self._lock = threading.Lock()
        self.client = AuthenticatedClient(
            base_url=base_url, token="", timeout=httpx.Timeout(10), httpx_args={"auth": self}
        )

    def log_in(self, email: str, password: str, device_name: str) -> MfaChallenge | None:
        """The challenge of the second factor, where the user has one. Raises `Refused`."""
        body = LoginRequest(email=email, password=password, device_name=device_name)
        return self._begin(expect(log_in.sync(client=self._public, body=body)))

    def answer(self, request: MfaRequest) -> None:
        self._begin(expect(answer_mfa_challenge.sync(client=self._public, body=request)))

    def log_out(self) -> None:
        with self._lock:
            if self._refresh_token is not None:
                log_out.sync_detailed(client=self._public, body=LogoutRequest(refresh_token=self._refresh_token))
            self._forget()

    def adopt(self, tokens: TokenSet) -> None:
        """Goes on with these: of a sign-in, a refresh or a step-up."""
        self._save(tokens.refresh_token)
        self._refresh_token = tokens.refresh_token
        self._access_token = tokens.access_token
        self._renew_at = time.monotonic() + tokens.expires_in - EARLY

    def access_token(self, *, spent: str | None = None) -> str:
        """One that is not `spent`. Whoever asks while it is renewed waits for the one renewal. Raises `SignedOut`."""
        with self._lock:
            if self._access_token in (None, spent) or time.monotonic() >= self._renew_at:
                self._renew()
            assert self._access_token is not None
            return self._access_token

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        token = self.access_token()
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401 and "invalid_token" in response.headers.get("WWW-Authenticate", ""):
            request.headers["Authorization"] = f"Bearer {self.access_token(spent=token)}"
            yield request

    def _begin(self, result: LoginResult) -> MfaChallenge | None:
        if result.tokens is not None:
            with self._lock:
                self.adopt(result.tokens)
        return result.mfa

    def _renew(self) -> None:
        if self._refresh_token is None:
            raise SignedOut
        body = RefreshRequest(refresh_token=self._refresh_token)
        give_up_at, pause = time.monotonic() + LOST_FOR, 0.5
        while True:
            last = time.monotonic() + pause > give_up_at
            try:
                answer = refresh_session.sync(client=self._public, body=body)
            except httpx.TransportError:
                if last:
                    raise
            else:
                if isinstance(answer, TokenSet):
                    return self.adopt(answer)
                if isinstance(answer, Problem) and answer.status == 401:
                    self._forget()
                    raise SignedOut from Refused(answer)
                if last or (isinstance(answer, Problem) and answer.status < 500):
                    expect(answer)
            time.sleep(pause)
            pause *= 2

    def _forget(self) -> None:
        self._refresh_token = self._access_token = None
        self._save(None)
