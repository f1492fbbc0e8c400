"""Mail: a session with the server as for a mail, with EHLO, TLS and login. No mail is sent."""

from app.mail.transport import SmtpTransport, Transport, Undelivered
from app.platform.network_faults import network_fault
from app.upkeep.checks.findings import Finding

NAME = "mail"
SETTING = "TOKENVEND_SMTP_URL"
_LOGIN = f"check user and password in {SETTING}; write `@`, `/`, `:`, `#` and `%` in them by their percent codes"
_REPAIRS = {
    "no_starttls": (
        "the server offers no STARTTLS, so passwords and mails would travel openly",
        f"use smtps:// in {SETTING}, or a port with STARTTLS, such as 587",
    ),
    "not_supported": ("the server takes no login of a kind that is known here", f"check host and port in {SETTING}"),
    "login_not_ascii": ("user or password have letters outside ASCII, which Python's SMTP cannot send", _LOGIN),
    "certificate_not_trusted": (
        "the server's certificate is not trusted",
        f"check the host name in {SETTING} against the certificate; SSL_CERT_FILE can name a private authority",
    ),
    "timeout": ("the session took too long", f"check host and port in {SETTING}, and the server's log"),
}


async def check(transport: Transport, *, within: float) -> Finding:
    """`within`: seconds for the connection, and for each answer of the server."""
    if not isinstance(transport, SmtpTransport):
        return Finding(NAME, "ok", f"mails are printed, for {SETTING} is not set")
    try:
        if await transport.takes_international(within=within):
            return Finding(NAME, "ok", "the server takes the session, and addresses of any alphabet")
    except Undelivered as error:
        return _refused(error)
    without = "the server has no SMTPUTF8: no mail reaches an address like jörg@example.org, and the log says so once"
    return Finding(NAME, "warning", without, "another server may have it; Amazon SES has not")


def _refused(error: Undelivered) -> Finding:
    known = _REPAIRS.get(error.reason)
    if known is not None:
        return Finding(NAME, "failed", *known)
    if error.reason.startswith("login_refused"):
        said = f"the server refused user and password ({error.reason})"
        return Finding(NAME, "failed", said, _LOGIN)
    if (fault := network_fault(error)) is not None:
        said = f"the server cannot be reached: {fault.text} ({error.reason})"
        return Finding(NAME, "failed", said, f"{fault.repair}; {SETTING} names them")
    general = f"check {SETTING} and the way to the server"
    return Finding(NAME, "failed", f"the server takes no mail ({error.reason})", general)
