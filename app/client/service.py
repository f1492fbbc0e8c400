"""Calls the service: with time-outs, a few tries, and one sentence for every failure."""

import ipaddress
import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, SSLError
from urllib3.util import Timeout, Url, parse_url

TIMEOUT = Timeout(connect=3, read=10)
PATIENCE = 18.0
"""Seconds in which a call may be tried again. With the longest time to connect it stays within the 30 in which the
service takes a refresh token for that of a lost answer."""
PAUSES = (0.5, 1.0, 2.0)
BUSY = (429, 502, 503, 504)
CREDENTIAL = ("access_key_id", "secret_access_key", "session_token", "expiration", "region")


class ClientError(Exception):
    """One sentence: what failed, and what to do next."""


class Unavailable(ClientError):
    """The service cannot be reached, or says that it is busy. It may work later."""


class Refused(ClientError):
    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Tokens:
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_at: float
    """Of the access token, in seconds since 1970 by this machine's clock."""


@dataclass(frozen=True)
class Challenge:
    """A sign-in that waits for a second factor."""

    mfa_token: str = field(repr=False)


class Service:
    """Raises `ClientError` for a URL that would carry secrets in the clear."""

    def __init__(self, url: str) -> None:
        parsed = _parse(url)
        self.url = parsed.url.rstrip("/")
        host = (parsed.host or "").strip("[]")
        direct = parsed.scheme == "http" or _is_loopback(host) or proxy_bypass(host)
        proxy = None if direct else getproxies().get("https")
        self._http = urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()

    def log_in(self, email: str, password: str, *, device_name: str) -> Tokens | Challenge:
        answer = self._call("auth/login", {"email": email, "password": password, "device_name": device_name})
        if answer.get("status") != "mfa_required":
            return self._tokens(answer.get("tokens"))
        challenge = answer.get("mfa")
        token = challenge.get("mfa_token") if isinstance(challenge, dict) else None
        if not isinstance(token, str):
            raise self._strange()
        return Challenge(token)

    def show_code(self, challenge: Challenge, code: str) -> Tokens:
        """Completes a sign-in: six digits are a code of the authenticator app, anything else is a recovery code.

        It is sent once: a code whose answer was lost may have been used, and a wrong one counts.
        """
        typed = [character for character in code if character.isalnum()]
        method = "totp" if len(typed) == 6 and "".join(typed).isdecimal() else "recovery_code"
        body = {"mfa_token": challenge.mfa_token, "method": method, "code": code}
        return self._tokens(self._call("auth/mfa", body, once=True).get("tokens"))

    def refresh(self, refresh_token: str) -> Tokens:
        return self._tokens(self._call("auth/refresh", {"refresh_token": refresh_token}))

    def log_out(self, refresh_token: str) -> None:
        self._call("auth/logout", {"refresh_token": refresh_token})

    def vend(self, access_token: str, *, access: str, path: str, duration: int | None) -> dict[str, Any]:
        """The API's answer; the members of `CREDENTIAL` are strings, `endpoint_url` one or None."""
        body = {"access": access, "path": path, "duration_seconds": duration}
        answer = self._call("credentials", body, authorization=f"Bearer {access_token}")
        texts = [answer.get(name) for name in CREDENTIAL] + [answer.get("endpoint_url") or ""]
        if not all(isinstance(text, str) and "\0" not in text for text in texts):
            raise self._strange()
        return answer

    def _call(
        self, path: str, body: Mapping[str, Any], *, authorization: str | None = None, once: bool = False
    ) -> dict[str, Any]:
        headers = {"Authorization": authorization} if authorization else {}
        deadline = time.monotonic() + PATIENCE
        for tried in itertools.count():
            wait = PAUSES[min(tried, len(PAUSES) - 1)]
            try:
                # No redirect is followed: it could lead secrets to another host.
                answer = self._http.request(
                    "POST", f"{self.url}/v1/{path}", json=body, headers=headers, timeout=TIMEOUT, retries=False
                )
            except SSLError as error:
                raise ClientError(f"The certificate of {self.url} is not trusted here: {error}") from error
            except HTTPError as error:
                failure = Unavailable(f"{self.url} cannot be reached ({type(error).__name__}): check it and try again")
            else:
                if answer.status not in BUSY:
                    return self._read(answer)
                wait = max(wait, _retry_after(answer))
                failure = Unavailable(f"{self.url} is busy (HTTP {answer.status}): try again in {wait:.0f} seconds")
            if once or tried == len(PAUSES) or time.monotonic() + wait > deadline:
                raise failure
            time.sleep(wait)
        raise AssertionError

    def _read(self, answer: urllib3.BaseHTTPResponse) -> dict[str, Any]:
        try:
            content = json.loads(answer.data or b"{}")
        except ValueError:
            content = None
        if isinstance(content, dict) and answer.status in (200, 204):
            return content
        if isinstance(content, dict) and isinstance(content.get("code"), str):
            raise Refused(answer.status, _sentence(content))
        raise self._strange()

    def _tokens(self, answer: Any) -> Tokens:
        try:
            access_token, refresh_token = answer["access_token"], answer["refresh_token"]
            expires_at = time.time() + float(answer["expires_in"])
        except (KeyError, TypeError, ValueError):
            raise self._strange() from None
        if not (isinstance(access_token, str) and isinstance(refresh_token, str)):
            raise self._strange()
        return Tokens(access_token, refresh_token, expires_at)

    def _strange(self) -> ClientError:
        return ClientError(f"{self.url} does not answer as tokenvend does: check the URL")


def _parse(url: str) -> Url:
    try:
        parsed = parse_url(url)
    except LocationParseError:
        parsed = Url()
    host = (parsed.host or "").strip("[]")
    if not host or set(url) & set("@\\?#"):
        raise ClientError("The URL must look like https://tokens.example.org")
    if parsed.scheme != "https" and not (parsed.scheme == "http" and _is_loopback(host)):
        raise ClientError("The URL must begin with https://: only on this machine itself may it be http://")
    return parsed


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _retry_after(answer: urllib3.BaseHTTPResponse) -> float:
    value = answer.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else 0.0


def _sentence(problem: Mapping[str, Any]) -> str:
    """The text of a problem document, as one line without control characters: anybody may have answered."""
    errors = problem.get("errors")
    told = [error.get("message") for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    text = " ".join(str(message) for message in told or [problem.get("detail") or problem["code"]])
    return "".join(character for character in text if character.isprintable())[:500]
