"""Sends a mail by SMTP (RFC 5321), or prints it in development."""

import asyncio
import contextlib
import smtplib
import socket
import ssl
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from app.platform.settings import LOOPBACK, Settings
from app.records.addresses import quoted

CONNECTIONS = 8
TIMEOUT = 10.0
"""Seconds for the connection, and for each answer of the server."""
SEND_WITHIN = 60.0
"""Seconds for a whole mail. A server that answers byte by byte could take for ever."""
PORTS = {"smtp": 587, "smtps": 465}
"""The ports of submission (RFC 6409), and of submission with TLS from the start (RFC 8314)."""
KEPT = 50
T = TypeVar("T")


class Undelivered(Exception):
    """A mail was not delivered. `reason` is for the log: a word and an SMTP code, without address or text."""

    def __init__(self, reason: str, *, for_good: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.for_good = for_good
        """Whether another try would get the same answer."""


class Transport(Protocol):
    most_at_once: int

    async def send(self, message: EmailMessage) -> None:
        """Returns when the next server has accepted the mail. Raises `Undelivered`."""

    def close(self) -> None: ...


class ConsoleTransport:
    """For development: prints each mail with its links, and keeps the last ones for the sample page."""

    most_at_once = 1

    def __init__(self) -> None:
        self.kept: deque[EmailMessage] = deque(maxlen=KEPT)

    async def send(self, message: EmailMessage) -> None:
        self.kept.append(message)
        text = message.get_body(("plain",))
        content = text.get_content() if text else ""
        sys.stdout.write(f"\nmail to {message['To']}: {message['Subject']}\n\n{content}\n")
        sys.stdout.flush()

    def close(self) -> None:
        """There is nothing to close."""


class SmtpTransport:
    """Sends each mail over its own connection, in a worker thread."""

    most_at_once = CONNECTIONS

    def __init__(self, url: str, *, host_name: str, plaintext_allowed: bool) -> None:
        """`host_name` is for EHLO. `plaintext_allowed`: whether another machine may get mails without TLS."""
        parts = urlsplit(url)
        self._implicit_tls = parts.scheme == "smtps"
        self._host = parts.hostname or ""
        self._port = parts.port or PORTS[parts.scheme]
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self._host_name = host_name
        self._local = self._host in LOOPBACK
        self._plaintext_allowed = plaintext_allowed or self._local
        # Nobody is between this service and a relay on its machine, whose certificate is self-signed.
        self._tls = ssl.create_default_context() if self._implicit_tls or not self._local else _unverified()
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="mail")

    async def send(self, message: EmailMessage) -> None:
        await self._run(lambda client: self._deliver(client, message))

    async def takes_international(self, *, within: float | None = None) -> bool:
        """Whether the server takes addresses with letters outside ASCII before the `@` (SMTPUTF8, RFC 6531).

        Connects, with TLS and login as for a mail. `within`: seconds for each answer, ten unless told. Raises
        `Undelivered`.
        """
        return await self._run(self._has_smtputf8, within)

    async def _run(self, work: Callable[[smtplib.SMTP], T], within: float | None = None) -> T:
        client = self._client(TIMEOUT if within is None else within)
        running = asyncio.get_running_loop().run_in_executor(self._threads, work, client)
        try:
            async with asyncio.timeout(SEND_WITHIN):
                return await asyncio.shield(running)
        except TimeoutError:
            raise Undelivered("timeout") from None
        finally:
            if not running.done():  # too slow, or cancelled: the thread must not outlive its caller
                running.add_done_callback(_forget)
                _abort(client)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _client(self, timeout: float) -> smtplib.SMTP:
        """A client that is not connected yet, so that `_abort` can end it at any time."""
        client = (
            smtplib.SMTP_SSL(local_hostname=self._host_name, timeout=timeout, context=self._tls)
            if self._implicit_tls
            else smtplib.SMTP(local_hostname=self._host_name, timeout=timeout)
        )
        client.__dict__["_host"] = self._host  # the name that TLS checks: only a constructor that connects sets it
        return client

    def _deliver(self, client: smtplib.SMTP, message: EmailMessage) -> None:
        with _session(client):
            self._prepare(client)
            recipient = _address(message, "To")
            if not recipient.isascii() and not client.has_extn("smtputf8"):  # it will be the same tomorrow
                raise Undelivered("server_lacks_smtputf8_for_this_address", for_good=True)
            client.send_message(message, _address(message, "From"), [recipient])

    def _has_smtputf8(self, client: smtplib.SMTP) -> bool:
        with _session(client):
            self._prepare(client)
            return client.has_extn("smtputf8")

    def _prepare(self, client: smtplib.SMTP) -> None:
        """Connects, starts TLS if the server offers it, and logs in if there is a user.

        Raises `Undelivered` if the server does not offer the required TLS.
        """
        code, text = client.connect(self._host, self._port)
        if code != 220:
            raise smtplib.SMTPConnectError(code, text)
        client.ehlo_or_helo_if_needed()
        if not self._implicit_tls:
            if client.has_extn("starttls"):
                client.starttls(context=self._tls)
                client.ehlo_or_helo_if_needed()
            elif not self._plaintext_allowed:
                raise Undelivered("no_starttls")
        if self._user:
            client.login(self._user, self._password)


def _unverified() -> ssl.SSLContext:
    """TLS with whoever answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def transport(settings: Settings) -> Transport:
    """The transport that the settings ask for. It does not connect yet."""
    if url := settings.smtp_url.get_secret_value():
        host_name = urlsplit(settings.public_url).hostname or "localhost"
        return SmtpTransport(url, host_name=host_name, plaintext_allowed=settings.environment == "development")
    return ConsoleTransport()


def _address(message: EmailMessage, header: str) -> str:
    return quoted(message[header].addresses[0].addr_spec)  # the library drops the quotation marks


@contextlib.contextmanager
def _session(client: smtplib.SMTP) -> Iterator[None]:
    """Ends the session, and turns what went wrong in it into `Undelivered`."""
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        code = next((code for code, _text in error.recipients.values()), 0)
        raise Undelivered(f"recipient_refused_{code}", for_good=_is_final(code)) from None
    except smtplib.SMTPDataError as error:
        raise Undelivered(f"message_refused_{error.smtp_code}", for_good=_is_final(error.smtp_code)) from None
    except smtplib.SMTPAuthenticationError as error:
        raise Undelivered(f"login_refused_{error.smtp_code}") from None
    except smtplib.SMTPResponseException as error:
        raise Undelivered(f"refused_{error.smtp_code}") from None
    except smtplib.SMTPNotSupportedError:
        raise Undelivered("not_supported") from None
    except ssl.SSLCertVerificationError:
        raise Undelivered("certificate_not_trusted") from None
    except (smtplib.SMTPServerDisconnected, TimeoutError):  # the former is smtplib's error for a missing answer
        raise Undelivered("no_answer") from None
    except UnicodeEncodeError:  # smtplib's own limit
        raise Undelivered("login_not_ascii") from None
    except (smtplib.SMTPException, OSError) as error:
        raise Undelivered(f"unreachable_{type(error).__name__}") from None
    finally:
        with contextlib.suppress(smtplib.SMTPException, OSError):  # too late to change whether the mail was sent
            client.quit()
        client.close()


def _is_final(code: int) -> bool:
    """Whether the server would refuse the same mail again (RFC 5321 §4.2.1).

    530 asks for a login, which the operator can set up.
    """
    return code >= 500 and code != 530


def _abort(client: smtplib.SMTP) -> None:
    """Shuts the socket down, so that a thread that waits for it fails."""
    if client.sock is not None:
        with contextlib.suppress(OSError):
            client.sock.shutdown(socket.SHUT_RDWR)


def _forget(work: "asyncio.Future[Any]") -> None:
    """Marks a failure as seen, because nobody waits for the result any more."""
    if not work.cancelled():
        work.exception()
