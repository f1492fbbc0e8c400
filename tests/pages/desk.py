"""The console as those who run the app use it: a service on a port of its own, and a browser for each of them."""

import asyncio
import base64
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import uvicorn
from httpx2 import Client
from playwright.sync_api import Browser, Locator, expect
from sqlalchemy import delete, insert, text
from sqlalchemy.orm import Session

from app.accounts import guesses
from app.admin import tally
from app.compose import Runtime, build_runtime
from app.main import create_app
from app.platform.clock import SystemClock
from app.platform.problems import RateLimited
from app.records import audit
from app.records.migrate import upgrade
from app.records.models import Activity, IssuedCredential, User
from tests.pages.visit import PASSWORD, SCREENSHOTS, Visit
from tests.support.authenticator import totp
from tests.support.canned_sts import CannedSts
from tests.support.service import test_settings

PRODUCTION = {
    "environment": "production",
    "rate_limits": "on",
    "smtp_url": "smtp://127.0.0.1:9",
    "mail_from": "photos@example.org",
    "email_verification": "off",
    "AWS_REGION": "us-east-1",
}


@dataclass
class Company:
    """A service that is served, and those who are in its database."""

    url: str
    runtime: Runtime
    sts: CannedSts

    def sql(self, statement: str, **parameters: Any) -> list[Any]:
        with self.runtime.platform.database.engine.begin() as connection:
            result = connection.execute(text(statement), parameters)
            return list(result) if result.returns_rows else []

    def now(self) -> datetime:
        return self.runtime.platform.clock.now()

    def person(self, role: str = "user", *, name: str | None = None, email: str | None = None) -> "Account":
        """Somebody who has registered as everybody does, and got the role from another administrator."""
        email = email or f"{role}-{uuid.uuid4().hex[:8]}@example.com"
        body = {"email": email, "password": PASSWORD, "display_name": name or f"{role.title()} of the tests"}
        with Client(base_url=self.url) as client:
            assert client.post("/v1/users", json=body).status_code == 201
        self.sql("UPDATE users SET role = :role WHERE email = :email", role=role, email=email)
        user_id = self.sql("SELECT id FROM users WHERE email = :email", email=email)[0][0]
        return Account(self, email, str(uuid.UUID(user_id)))

    def add_users(self, people: list[Mapping[str, Any]]) -> None:
        rows = [
            {
                "id": uuid.uuid4(),
                "email_key": person["email"].lower(),
                "status": "active",
                "role": "user",
                "created_at": self.now() - timedelta(days=1, seconds=number),
                **person,
            }
            for number, person in enumerate(people)
        ]
        self.runtime.platform.database.run("write", lambda session: session.execute(insert(User), rows) and None)

    def add_history(self, hours: int = 24) -> None:
        """What a day looks like in audit and ledger, the same each time."""

        def story(session: Session) -> None:
            rows, now = [], self.now()
            session.execute(delete(Activity))
            for minute in range(0, hours * 60, 3):
                at = now - timedelta(minutes=minute)
                busy = 1 + (minute // 60) % 8
                for event, outcome, each in (
                    *(("session.started", "done", busy), ("session.started", "refused", busy // 4)),
                    *(("user.registered", "done", busy // 3), ("credential.issued", "done", busy * 2)),
                ):
                    detail = {"reason": "invalid_mfa_code" if minute % 2 else "invalid_login"}
                    event_row = audit.row(
                        *(audit.COMMAND_LINE, event, at),  # type: ignore[arg-type]
                        outcome=outcome,  # type: ignore[arg-type]
                        actor_id=uuid.UUID(int=7),
                        **(detail if outcome == "refused" else {}),
                    )
                    rows += [event_row] * each
            audit.record_all(session, rows)

        database, longest = self.runtime.platform.database, timedelta(hours=1)
        database.run("write", story)
        while database.run("write", tally.tally_next, self.now(), longest=longest):
            pass

    def add_credentials(self, user_id: str, number: int) -> list[str]:
        """Of each state one, as far as there are: live, expired, revoked, live …; their access key ids."""
        now, keys = self.now(), []
        for place in range(number):
            issued_at = now - timedelta(minutes=1 + place, hours=2 if place % 3 == 1 else 0)
            keys.append(f"ASIA{uuid.uuid4().hex[:16].upper()}")
            row = {
                "id": uuid.uuid4(),
                "user_id": uuid.UUID(user_id),
                "session_id": uuid.uuid4(),
                "access_key_id": keys[-1],
                "access": ("read_write", "read", "write")[place % 3],
                "prefix": f"users/{user_id}/" + ("albums/2026/" if place % 2 else ""),
                "role_session_name": "x",
                "issued_at": issued_at,
                "expires_at": issued_at + timedelta(hours=1),
                "revoked_at": now if place % 3 == 2 else None,
            }
            self.runtime.platform.database.run(
                "write", lambda s, row=row: s.execute(insert(IssuedCredential), [row]) and None
            )
        return keys

    def lock_out(self, account: "Account") -> None:
        """As after so many wrong passwords that no more are taken."""
        counter = guesses.passwords_of(self.runtime.platform.vault, User(email_key=account.email.lower()))

        async def guess() -> None:
            with suppress(RateLimited):
                while True:
                    await self.runtime.platform.limiter.hit(*counter)

        # Playwright's event loop is in this thread.
        thread = threading.Thread(target=asyncio.run, args=(guess(),))
        thread.start()
        thread.join()

    def audit_rows(self, event: str, subject_id: str) -> list[tuple[str, str]]:
        """Outcome and detail of each."""
        rows = self.sql(
            "SELECT outcome, detail FROM audit_events WHERE event = :event AND subject_id = :id ORDER BY id",
            event=event,
            id=uuid.UUID(subject_id).hex,
        )
        return [tuple(row) for row in rows]


@dataclass
class Account:
    company: Company
    email: str
    id: str
    secret: bytes = b""
    recovery_codes: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)

    def _log_in(self, client: Client) -> None:
        answer = client.post("/v1/auth/login", json={"email": self.email, "password": PASSWORD}).json()
        client.headers["Authorization"] = f"Bearer {answer['tokens']['access_token']}"

    def sign_in_elsewhere(self, device: str) -> None:
        with Client(base_url=self.company.url) as client:
            body = {"email": self.email, "password": PASSWORD, "device_name": device}
            assert client.post("/v1/auth/login", json=body).status_code == 200

    def enable_mfa(self) -> "Account":
        """By the API, with the code of half a minute ago: the one of now works once more."""
        with Client(base_url=self.company.url) as client:
            self._log_in(client)
            self.secret = base64.b32decode(client.post("/v1/me/totp").json()["secret"])
            answer = client.post("/v1/me/totp/confirm", json={"code": self.code(-1)})
            assert answer.status_code == 200, answer.text
            self.recovery_codes = answer.json()["recovery_codes"]
        return self

    @property
    def hex(self) -> str:
        """The id as SQLite has it."""
        return uuid.UUID(self.id).hex

    def code_of(self, secret: str) -> str:
        self.secret = base64.b32decode(secret)
        return self.code()

    def code(self, steps: int = 0) -> str:
        return totp(self.secret, self.company.now() + timedelta(seconds=30 * steps))


@contextmanager
def open_company(
    directory: Path, *, behind: Callable[[int], AbstractContextManager[str]] | None = None, **changes: Any
) -> Iterator[Company]:
    """`behind`: a proxy in front of a port, with the public URL that it makes."""
    database_url = f"sqlite:///{directory / 'console.db'}"
    upgrade(database_url)
    sts = CannedSts(SystemClock())
    with socket.socket() as listener, ExitStack() as proxies:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # who comes before the server has started waits for it
        port = listener.getsockname()[1]
        url = proxies.enter_context(behind(port)) if behind else f"http://localhost:{port}"
        settings = test_settings(public_url=url, database_url=database_url, sts_endpoint_url=sts.url, **changes)
        aws = boto3.Session("AKIATESTTESTTEST", "test", region_name="us-east-1")
        runtime = build_runtime(settings, aws=aws)
        config = uvicorn.Config(create_app(settings, runtime), log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Company(url, runtime, sts)
        finally:
            server.should_exit = True
            thread.join()
            sts.close()


class Desk(Visit):
    """Somebody at the console."""

    def __init__(self, browser: Browser, company: Company, **options: Any) -> None:
        super().__init__(browser, company.url, **options)
        self.company = company

    def open(self, place: str = "") -> "Desk":
        self.answers.clear()
        self.page.goto(f"{self.url}/console{place}")
        return self

    def give_password(self, account: Account, password: str = PASSWORD) -> None:
        self.page.get_by_label("E-mail").fill(account.email)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in", exact=True).click()

    def enter(self, account: Account, place: str = "") -> "Desk":
        self.open(place)
        self.give_password(account)
        expect(self.page.locator("#account")).to_be_visible()
        return self

    @property
    def access_token(self) -> str:
        signed_in = self.answered("/console/session/login") + self.answered("/console/session/mfa")
        token: str = next(answer["tokens"] for answer in signed_in[::-1] if answer["tokens"])["access_token"]
        return token

    @property
    def dialog(self) -> Locator:
        return self.page.locator("#question")

    def answer(self, submit: str, **fields: str) -> None:
        """Fills the dialog in and sends it."""
        expect(self.dialog).to_be_visible()
        for name, value in fields.items():
            box = self.dialog.locator(f"[name={name}]")
            if box.evaluate("(box) => box.tagName") == "SELECT":
                box.select_option(value)
            else:
                box.fill(value)
        self.dialog.get_by_role("button", name=submit, exact=True).click()

    def act(self, name: str, submit: str, **fields: str) -> None:
        self.page.locator("#actions").get_by_role("button", name=name, exact=True).click()
        self.answer(submit, **fields)
        expect(self.dialog).to_be_hidden()

    def go(self, section: str) -> None:
        self.page.locator("#nav").get_by_role("link", name=section, exact=True).click()

    def open_user(self, account: Account) -> None:
        self.page.evaluate("(id) => { location.hash = `#/users/${id}`; }", account.id)
        expect(self.page.locator("#actions button, #actions p").first).to_be_visible()
        expect(self.page.locator("#user-events table")).to_have_attribute("aria-busy", "false")

    def screenshot(self, name: str) -> None:
        """What a long page begins with."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        width, height = self.page.evaluate("() => [innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0.0, "y": 0.0, "width": width, "height": min(height, 1400)}
        path = SCREENSHOTS / f"console-{name}.png"
        self.page.evaluate("() => scrollTo(0, 0)")
        self.page.screenshot(path=path, animations="disabled", full_page=True, clip=clip)  # type: ignore[arg-type]
