"""The texts of the mails. They hold no words of users, so nobody can make this service carry a message to strangers.

A mail with a token has one link, `<base>/<page>#token=<token>`. A fragment reaches no server and no Referer.
"""

from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from html import escape
from uuid import UUID

from email_validator import validate_email

from app.mail.bounds import Kind
from app.records.addresses import quoted

POLICY = SMTP.clone(max_line_length=900)
"""Longer than any address, because folding would break one. RFC 5322 allows 998."""


@dataclass(frozen=True)
class Letter:
    """The sentences of a mail. `page` and `button` are for the link, if the mail carries a token."""

    subject: str
    says: tuple[str, ...]
    otherwise: str
    """What a recipient who did not ask for the mail should do."""
    page: str | None = None
    button: str = ""


_NOT_YOU = "If that was not you, reset your password in the app at once: it signs all other devices out."
_CHECK_FACTORS = f"{_NOT_YOU} Then look at how you sign in, and remove what is not yours."

LETTERS: dict[Kind, Letter] = {
    "verify_email": Letter(
        "Verify your e-mail address",
        (
            "An account was registered with this e-mail address. Follow the link to verify that the address is yours.",
            "The link works once, for 24 hours.",
        ),
        "If you did not register, do nothing: without the link your address stays unverified.",
        page="verify-email",
        button="Verify this address",
    ),
    "guest_upgrade": Letter(
        "A device asks for your e-mail address",
        (
            "Somebody who is signed in as a guest on a device asks to make this e-mail address that of their account.",
            "Whoever confirms it gives that device an account under this address, with all that waits for it.",
            "If that is your device, follow the link and type the password that you chose there.",
            "The link works once, for 24 hours.",
        ),
        "If that was not you, do nothing, and type no password that somebody tells you: then nobody gets your address.",
        page="verify-email",
        button="That is my device",
    ),
    "address_taken": Letter(
        "You have an account already",
        (
            "Somebody, probably you, wanted to use this e-mail address for an account, but it has one.",
            "Sign in with it. If you no longer know the password, reset it in the app.",
        ),
        "If that was not you, there is nothing to do: your account is as it was.",
    ),
    "reset_password": Letter(
        "Reset your password",
        (
            "A new password was asked for, for the account with this e-mail address.",
            "The link works once, for 10 minutes.",
        ),
        "If you did not ask for it, do nothing: your password stays as it is.",
        page="reset-password",
        button="Choose a new password",
    ),
    "invitation": Letter(
        "You have an account",
        (
            "An account was made for this e-mail address. Choose a password, and sign in with it.",
            "The link works once, for 24 hours. After that, ask for a new password in the app.",
        ),
        "If you did not expect it, do nothing: without a password nobody can sign in with your address.",
        page="reset-password",
        button="Choose a password",
    ),
    "password_changed": Letter(
        "Your password was changed",
        ("The password of your account was changed, and your other devices were signed out.",),
        "If that was not you, reset your password in the app at once.",
    ),
    "change_email": Letter(
        "An account asks for your e-mail address",
        (
            "Somebody who is signed in to an account asks to make this e-mail address that of their account.",
            "Whoever confirms it gives that account this address, with all that waits for it.",
            "If that is your account, follow the link and type its password.",
            "The link works once, for 24 hours.",
        ),
        "If that was not you, do nothing, and type no password that somebody tells you: then nobody gets your address.",
        page="change-email",
        button="That is my account",
    ),
    "email_change_requested": Letter(
        "A new e-mail address was asked for",
        ("Your account is to get another e-mail address, once the mail that was sent there is confirmed.",),
        "If that was not you, change your password in the app at once: that also calls the change off.",
    ),
    "email_changed": Letter(
        "Your e-mail address was changed",
        ("Your account has another e-mail address now. No more mails will come to this one.",),
        "If that was not you, sign in with a passkey or another sign-in of yours and change it back, "
        "or write to whoever runs the app.",
    ),
    "email_changed_by_staff": Letter(
        "Your e-mail address was changed by the people who run the app",
        (
            "The people who run the app gave your account another e-mail address. No more mails will come to this one.",
            "Links that were sent to this address no longer work. Your password and your devices are as they were.",
        ),
        "If you did not ask for that, write to the people who run the app at once.",
    ),
    "verify_new_email": Letter(
        "Verify your new e-mail address",
        (
            "The people who run the app gave your account this e-mail address. Verify that it is yours.",
            "The link works once, for 24 hours.",
        ),
        "If you did not ask for that, do nothing: without the link the address stays unverified.",
        page="verify-email",
        button="Verify this address",
    ),
    "mfa_enabled": Letter(
        "Two-step sign-in is on",
        ("An authenticator app was set up for your account: signing in asks for its code now.",),
        _CHECK_FACTORS,
    ),
    "mfa_disabled": Letter(
        "Two-step sign-in is off",
        ("The authenticator app was removed from your account: signing in asks for no code any more.",),
        _CHECK_FACTORS,
    ),
    "recovery_codes_made": Letter(
        "You have new recovery codes",
        ("New recovery codes were made for your account. The old ones no longer work.",),
        _CHECK_FACTORS,
    ),
    "recovery_code_used": Letter(
        "A recovery code was used",
        ("Somebody signed in to your account with one of its recovery codes. It does not work again.",),
        _CHECK_FACTORS,
    ),
    "passkey_added": Letter(
        "A passkey was added",
        ("A passkey was added to your account: whoever has it can sign in.",),
        _CHECK_FACTORS,
    ),
    "passkey_removed": Letter(
        "A passkey was removed",
        ("A passkey was removed from your account and no longer signs in.",),
        _CHECK_FACTORS,
    ),
    "identity_linked": Letter(
        "Another way to sign in was added",
        ("An account with another provider was linked to yours: whoever has it can sign in.",),
        _CHECK_FACTORS,
    ),
    "identity_unlinked": Letter(
        "A way to sign in was removed",
        ("An account with another provider is no longer linked to yours and does not sign in any more.",),
        _CHECK_FACTORS,
    ),
    "account_erased": Letter(
        "Your account was erased",
        ("Your account was erased, and the pictures in it are being deleted.",),
        "If that was not you, write to whoever runs the app: it cannot be brought back, but they should know.",
    ),
    "folder_shared": Letter(
        "A folder was shared with you",
        ("Somebody who uses the app shared a folder of pictures with you. You find it in the app, with their name.",),
        "If you did not expect it, remove it in the app: it is gone then, and whoever shared it is not told.",
    ),
    "folder_waiting": Letter(
        "A folder is waiting for you",
        (
            "Somebody who uses the app shared a folder of pictures with this e-mail address.",
            "Make an account with this address in the app, or verify it if you have one: the folder is there then.",
        ),
        "If you did not expect it, do nothing: no account is made for you.",
    ),
}


def has_link(kind: Kind) -> bool:
    """Whether a mail of this kind carries a token."""
    return LETTERS[kind].page is not None


def compose(
    kind: Kind, *, mail_id: UUID, sender: str, recipient: str, token: str | None, link_base: str, at: datetime
) -> EmailMessage:
    """The whole mail, as text and HTML. `sender` is `MAIL_FROM`. `mail_id` gives each try the same Message-ID."""
    letter = LETTERS[kind]
    name, address = parseaddr(sender)
    message = EmailMessage(policy=POLICY)
    message["From"] = _mailbox(address, name)
    mailbox = _mailbox(recipient)
    odd = quoted(mailbox.addr_spec)
    message["To"] = mailbox if odd == mailbox.addr_spec else odd
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{mail_id}@{message['From'].addresses[0].domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic reply answers it
    link = f"{link_base}/{letter.page}#token={token}" if letter.page and token else None
    message.set_content(_text(letter, link, name), cte="quoted-printable")
    message.add_alternative(_html(letter, link, name), subtype="html", cte="quoted-printable")
    return message


def _mailbox(address: str, name: str = "") -> Address:
    """Writes the domain in IDNA, so that only a local part that is not ASCII needs SMTPUTF8 (RFC 6531)."""
    local, _, domain = address.rpartition("@")
    if not domain.isascii():
        domain = validate_email(address, check_deliverability=False).ascii_domain or domain
    return Address(name, local, domain)


def _text(letter: Letter, link: str | None, name: str) -> str:
    paragraphs = [*letter.says, *([link] if link else []), letter.otherwise, *([f"– {name}"] if name else [])]
    return "\n\n".join(paragraphs) + "\n"


def _html(letter: Letter, link: str | None, name: str) -> str:
    """Has inline styles and one column without tables, which all mail programs show, in light and dark mode."""
    says = "".join(f'<p style="margin:0 0 16px">{escape(sentence)}</p>' for sentence in letter.says)
    button = (
        f'<p style="margin:24px 0"><a href="{escape(link)}" style="display:inline-block;padding:12px 22px;'
        "border-radius:999px;background:#b4440f;color:#ffffff;font-weight:600;text-decoration:none"
        f'">{escape(letter.button)}</a></p>'
        if link
        else ""
    )
    signature = f'<p style="margin:24px 0 0">{escape(name)}</p>' if name else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">'
        f"<title>{escape(letter.subject)}</title></head>"
        "<body style=\"margin:0;padding:32px 20px;font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif\">"
        '<div style="max-width:520px;margin:0 auto">'
        "<h1 style=\"margin:0 0 20px;font:600 26px/1.2 Georgia,'Times New Roman',serif\">"
        f"{escape(letter.subject)}</h1>{says}{button}"
        f'<p style="margin:24px 0 0;padding-top:16px;border-top:1px solid #8886;font-size:14px;opacity:.8">'
        f"{escape(letter.otherwise)}</p>{signature}</div></body></html>\n"
    )
