"""Mail to real SMTP servers: what they get, and what happens when they refuse, hang or are no good."""

import asyncio
import functools
import ssl
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from urllib.parse import quote

import pytest
from aiosmtpd.smtp import SMTP

from app.mail import transport
from app.mail.transport import SmtpTransport, Undelivered
from tests.mail.servers import (
    ELSEWHERE,
    HERE,
    PASSWORD,
    USER,
    Inbox,
    authenticate,
    certificate,
    silent_server,
    smtp_server,
)
from tests.mail.test_letters import TOKEN, compose, part

LOGIN = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@"


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context that this process trusts, as if by the machine's store of authorities."""
    context, trusted = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    return context


@pytest.fixture
def untrusted(tmp_path: Path) -> ssl.SSLContext:
    return certificate(tmp_path)[0]


def send(url: str, *, production: bool = True, recipient: str = "ada@example.org") -> None:
    async def deliver() -> None:
        smtp = SmtpTransport(url, host_name="tokens.example.org", plaintext_allowed=not production)
        try:
            await smtp.send(compose(recipient=recipient))
        finally:
            smtp.close()

    asyncio.run(deliver())


def refusal(url: str, **options: object) -> Undelivered:
    with pytest.raises(Undelivered) as raised:
        send(url, **options)  # type: ignore[arg-type]
    return raised.value


class TestDelivery:
    def test_brings_the_whole_letter(self) -> None:
        inbox = Inbox()
        with smtp_server(inbox) as port:
            send(f"smtp://{HERE}:{port}")
        (envelope,) = inbox.envelopes
        assert (envelope.mail_from, envelope.rcpt_tos) == ("photos@example.org", ["ada@example.org"])
        assert inbox.sessions[0].host_name == "tokens.example.org"
        read = message_from_bytes(envelope.content or b"", policy=default)
        assert read["Subject"] == "Verify your e-mail address"
        assert TOKEN in part(read, "plain")  # type: ignore[arg-type]
        assert TOKEN in part(read, "html")  # type: ignore[arg-type]

    def test_uses_starttls_and_the_login_where_they_are_offered(self, tls: ssl.SSLContext) -> None:
        inbox = Inbox()
        options = {"tls_context": tls, "require_starttls": True, "authenticator": authenticate, "auth_required": True}
        with smtp_server(inbox, host=ELSEWHERE, **options) as port:
            send(f"smtp://{LOGIN}{ELSEWHERE}:{port}")
        assert inbox.sessions[0].ssl is not None
        assert inbox.sessions[0].authenticated

    def test_uses_tls_from_the_start_for_smtps(self, tls: ssl.SSLContext) -> None:
        inbox = Inbox()
        with smtp_server(inbox, implicit=tls) as port:
            send(f"smtps://{HERE}:{port}")
        assert len(inbox.envelopes) == 1

    def test_takes_any_certificate_of_a_relay_on_this_machine(self, untrusted: ssl.SSLContext) -> None:
        inbox = Inbox()
        with smtp_server(inbox, tls_context=untrusted) as port:
            send(f"smtp://{HERE}:{port}")
        assert inbox.sessions[0].ssl is not None

    def test_of_an_international_address_needs_smtputf8(self) -> None:
        inbox = Inbox()
        with smtp_server(inbox, enable_SMTPUTF8=True) as port:
            send(f"smtp://{HERE}:{port}", recipient="jörg@bücher.example.org")
        assert inbox.envelopes[0].rcpt_tos == ["jörg@xn--bcher-kva.example.org"]

    def test_of_an_international_address_is_given_up_at_once_without_smtputf8(self) -> None:
        """It would fail for a day, and nobody would know why."""
        inbox = Inbox()
        with smtp_server(inbox, enable_SMTPUTF8=False) as port:
            failure = refusal(f"smtp://{HERE}:{port}", recipient="jörg@example.org")
            send(f"smtp://{HERE}:{port}", recipient="jorg@bücher.example.org")
        assert (failure.reason, failure.for_good) == ("server_lacks_smtputf8_for_this_address", True)
        assert [envelope.rcpt_tos for envelope in inbox.envelopes] == [["jorg@xn--bcher-kva.example.org"]]

    @pytest.mark.parametrize("recipient", ["*@example.org", "'or'1'='1@example.org", "a/b@example.org"])
    def test_goes_to_odd_addresses_as_they_are(self, recipient: str) -> None:
        inbox = Inbox()
        with smtp_server(inbox) as port:
            send(f"smtp://{HERE}:{port}", recipient=recipient)
        assert inbox.envelopes[0].rcpt_tos == [recipient]

    @pytest.mark.parametrize("local", ["a..b", "abc.", "a...b."])
    def test_goes_to_carriers_addresses_in_quotation_marks(self, local: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """RFC 5321 §4.1.2: without them a server has no such address."""
        commands, take = [], SMTP.smtp_RCPT

        @functools.wraps(take)
        async def watch(server: SMTP, argument: str) -> None:
            commands.append(argument)  # the server itself takes the quotation marks away
            await take(server, argument)

        monkeypatch.setattr(SMTP, "smtp_RCPT", watch)
        inbox = Inbox()
        with smtp_server(inbox) as port:
            send(f"smtp://{HERE}:{port}", recipient=f"{local}@docomo.ne.jp")
        (envelope,) = inbox.envelopes
        assert [command.split(">")[0] for command in commands] == [f'TO:<"{local}"@docomo.ne.jp']
        assert f'\r\nTo: "{local}"@docomo.ne.jp\r\n'.encode() in (envelope.content or b"")


class TestPlaintext:
    def test_to_another_machine_is_for_development_alone(self) -> None:
        """In production nothing is said but EHLO, so neither mail nor password is seen on the way."""
        inbox = Inbox()
        with smtp_server(inbox, host=ELSEWHERE) as port:
            url = f"smtp://{ELSEWHERE}:{port}"
            refused = refusal(url)
            assert (refused.reason, refused.for_good) == ("no_starttls", False)
            assert inbox.envelopes == []
            send(url, production=False)
        assert len(inbox.envelopes) == 1


class TestRefusals:
    def test_of_a_certificate_that_nobody_signed_comes_from_us(self, untrusted: ssl.SSLContext) -> None:
        with smtp_server(Inbox(), host=ELSEWHERE, tls_context=untrusted) as port:
            assert refusal(f"smtp://{ELSEWHERE}:{port}").reason == "certificate_not_trusted"
        with smtp_server(Inbox(), implicit=untrusted) as port:
            assert refusal(f"smtps://{HERE}:{port}").reason == "certificate_not_trusted"

    def test_of_a_certificate_for_another_name_too(self, tls: ssl.SSLContext) -> None:
        with smtp_server(Inbox(), implicit=tls) as port:
            assert refusal(f"smtps://localhost:{port}").reason == "certificate_not_trusted"

    @pytest.mark.parametrize(
        ("rcpt", "data", "reason", "for_good"),
        [
            ("450 later", "", "recipient_refused_450", False),
            ("550 no such user", "", "recipient_refused_550", True),
            ("530 log in first", "", "recipient_refused_530", False),
            ("", "451 later", "message_refused_451", False),
            ("", "554 spam", "message_refused_554", True),
        ],
    )
    def test_are_for_good_where_the_server_says_so(self, rcpt: str, data: str, reason: str, for_good: bool) -> None:
        with smtp_server(Inbox(rcpt=rcpt, data=data)) as port:
            refused = refusal(f"smtp://{HERE}:{port}")
        assert (refused.reason, refused.for_good) == (reason, for_good)

    def test_of_the_login_are_the_operators_to_mend(self) -> None:
        options = {"authenticator": authenticate, "auth_require_tls": False}
        with smtp_server(Inbox(), **options) as port:
            assert refusal(f"smtp://somebody:w%C3%B6rd@{HERE}:{port}").reason == "login_not_ascii"
            refused = refusal(f"smtp://somebody:wrong@{HERE}:{port}")
        assert (refused.reason, refused.for_good) == ("login_refused_535", False)

    def test_of_a_server_that_hangs_come_by_the_clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transport, "TIMEOUT", 0.2)
        with silent_server() as port:
            assert refusal(f"smtp://{HERE}:{port}").reason == "no_answer"

    def test_of_one_that_is_too_slow_in_all_end_its_thread(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(transport, "SEND_WITHIN", 0.2)
        with silent_server() as port:
            assert refusal(f"smtp://{HERE}:{port}").reason == "timeout"

    def test_of_nobody_there_is_told_by_kind(self) -> None:
        with silent_server() as port:
            pass
        assert refusal(f"smtp://{HERE}:{port}").reason == "unreachable_ConnectionRefusedError"

    def test_say_neither_address_nor_token(self) -> None:
        with smtp_server(Inbox(rcpt=f"550 ada@example.org {TOKEN}")) as port:
            assert str(refusal(f"smtp://{HERE}:{port}")) == "recipient_refused_550"
