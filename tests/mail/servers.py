"""Real SMTP servers on loopback, each in a thread of its own, with a throw-away certificate."""

import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.ports import free_port

HERE = "127.0.0.1"
ELSEWHERE = "127.0.0.2"
"""Not among the names of this machine, so to the service it is another one."""
USER, PASSWORD = "mailer@example.org", "p:ss/word @1"

# The server logs each envelope. Tests look for addresses in what the service logs.
logging.getLogger("mail.log").propagate = False


class Inbox:
    """What a server got: the envelope, the bytes, and how it came."""

    def __init__(self, *, rcpt: str = "", data: str = "") -> None:
        self.envelopes: list[Envelope] = []
        self.sessions: list[Session] = []
        self.rcpt = rcpt
        self.data = data

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.rcpt:
            return self.rcpt
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.data:
            return self.data
        self.envelopes.append(envelope)
        self.sessions.append(session)
        return "250 OK"


def authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
    right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=right)


class _Implicit(Controller):
    """TLS from the first byte."""

    def __init__(self, *args: Any, implicit: ssl.SSLContext, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ssl_context = implicit


@contextmanager
def smtp_server(
    inbox: Inbox, *, host: str = HERE, implicit: ssl.SSLContext | None = None, **options: Any
) -> Iterator[int]:
    """The port of a server. Options are aiosmtpd's: `tls_context`, `auth_required`, `enable_SMTPUTF8`."""
    port = free_port(host)
    kind: Any = Controller if implicit is None else _Implicit
    extra = {} if implicit is None else {"implicit": implicit}
    controller = kind(inbox, hostname=host, port=port, **extra, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


@contextmanager
def silent_server() -> Iterator[int]:
    """Takes connections and never says a word."""
    with socket.create_server((HERE, 0)) as listening:
        yield listening.getsockname()[1]


def certificate(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context, and the file that a client has to trust for it: for both addresses here."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail server of a test")])
    now = datetime.now(UTC)
    addresses = [x509.IPAddress(ip_address(address)) for address in (HERE, ELSEWHERE)]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(addresses), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, secret = directory / "certificate.pem", directory / "key.pem"
    trusted.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, secret)
    return context, trusted
