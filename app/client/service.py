"""Calls the service: with time-outs, a few tries, and one sentence for every failure.

An SDK waits for `creds`, so what is imported here is little, and much of that is imported late.
"""

import itertools
import json
import os
import ssl
import sys
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlencode, urlsplit

CONNECT_TIMEOUT = 3.0
"""Seconds, also for the handshake of TLS."""
READ_TIMEOUT = 10.0
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


class Tokens(NamedTuple):
    access_token: str
    refresh_token: str
    expires_at: float
    """Of the access token, in seconds since 1970 by this machine's clock."""

    def __repr__(self) -> str:
        return f"Tokens(expires_at={self.expires_at!r})"


class Challenge(NamedTuple):
    """A sign-in that waits for a second factor."""

    mfa_token: str

    def __repr__(self) -> str:
        return "Challenge()"


class Answer(NamedTuple):
    status: int
    retry_after: str
    content: bytes


class Service:
    """Raises `ClientError` for a URL that would carry secrets in the clear."""

    def __init__(self, url: str) -> None:
        self._place = _parse(url)
        self.url = self._place._replace(netloc=self._place.netloc.lower()).geturl().rstrip("/")

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
                answer = self._ask("POST", path, headers, body)
            except Unavailable as error:
                failure = error
            else:
                if answer.status not in BUSY:
                    return self._read(answer)
                wait = max(wait, _retry_after(answer.retry_after))
                failure = Unavailable(f"{self.url} is busy (HTTP {answer.status}): try again in {wait:.0f} seconds")
            if once or tried == len(PAUSES) or time.monotonic() + wait > deadline:
                raise failure
            time.sleep(wait)
        raise AssertionError

    def container(self, access_token: str, wish: Mapping[str, str]) -> Answer:
        """What the container endpoint answers, asked once."""
        headers = {"Authorization": f"Bearer {access_token}"}
        return self._ask("GET", f"credentials/container?{urlencode(wish)}", headers)

    def _ask(self, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, Any] | None = None) -> Answer:
        try:
            return self._send(method, path, headers, body)
        except ssl.SSLError as error:
            raise ClientError(f"The certificate of {self.url} is not trusted here: {error}") from error
        except (OSError, HTTPException) as error:
            sentence = f"{self.url} cannot be reached ({type(error).__name__}): check it and try again"
            raise Unavailable(sentence) from error

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> Answer:
        """No redirect is followed: it could lead secrets to another host. Raises `OSError`, `HTTPException`."""
        host, is_secure = self._place.hostname or "", self._place.scheme == "https"
        proxy = _proxy_for(host) if is_secure and not _is_loopback(host) else None
        if proxy is not None:
            return _send_through(proxy, method, f"{self.url}/v1/{path}", headers, body)
        text = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        port = self._place.port or (443 if is_secure else 80)
        connection = (HTTPSConnection if is_secure else HTTPConnection)(host, port, timeout=CONNECT_TIMEOUT)
        try:
            connection.connect()
            connection.sock.settimeout(READ_TIMEOUT)
            head = headers if body is None else {"Content-Type": "application/json", **headers}
            connection.request(method, f"{self._place.path.rstrip('/')}/v1/{path}", text, head)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers.get("Retry-After", ""), answer.read())
        finally:
            connection.close()

    def _read(self, answer: Answer) -> dict[str, Any]:
        try:
            content = json.loads(answer.content or b"{}")
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


def _parse(url: str) -> SplitResult:
    try:
        parsed = urlsplit(url)
        host, _port = parsed.hostname, parsed.port
    except ValueError:
        host = None
    if not host or set(url) & set("@\\?#") or not url.isprintable() or " " in url:
        raise ClientError("The URL must look like https://tokens.example.org")
    if parsed.scheme != "https" and not (parsed.scheme == "http" and _is_loopback(host)):
        raise ClientError("The URL must begin with https://: only on this machine itself may it be http://")
    return parsed


def _proxy_for(host: str) -> str | None:
    """The one that this machine's settings name for the host."""
    if sys.platform not in ("darwin", "win32") and not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 - it takes as long as all the rest

    return None if proxy_bypass(host) else getproxies().get("https")


def _send_through(
    proxy: str, method: str, url: str, headers: Mapping[str, str], body: Mapping[str, Any] | None
) -> Answer:
    """The proxy sees the service's name alone. Raises `OSError`."""
    import urllib3  # noqa: PLC0415 - it takes longer than all the rest
    from urllib3.exceptions import HTTPError, SSLError  # noqa: PLC0415

    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT, read=READ_TIMEOUT)
    try:
        answer = urllib3.ProxyManager(proxy).request(
            method, url, json=body, headers=headers, timeout=timeout, retries=False
        )
    except SSLError as error:
        raise ssl.SSLError(str(error)) from error
    except HTTPError as error:
        raise ConnectionError(str(error)) from error
    return Answer(answer.status, answer.headers.get("Retry-After", ""), answer.data)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    if not (":" in host or host.replace(".", "").isdigit()):
        return False
    import ipaddress  # noqa: PLC0415

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _retry_after(value: str) -> float:
    return float(value) if value.isascii() and value.isdigit() else 0.0


def _sentence(problem: Mapping[str, Any]) -> str:
    """The text of a problem document, as one line without control characters: anybody may have answered."""
    errors = problem.get("errors")
    told = [error.get("message") for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    text = " ".join(str(message) for message in told or [problem.get("detail") or problem["code"]])
    return "".join(character for character in text if character.isprintable())[:500]
