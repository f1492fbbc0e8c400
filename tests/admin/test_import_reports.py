"""Whom an import invites because their hash is not supported, what its sign-ins will cost, and how its rows look."""

import json
from collections.abc import Callable
from contextlib import closing
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest

from app.accounts.passwords import Hasher
from app.admin import imports
from app.crypto.password_hashes import FIREBASE, HIGHEST_PRICE, PASSWORD_CONTEXT
from tests.admin.test_imports import FIREBASE as FIREBASE_CONFIG
from tests.admin.test_imports import OF_FIREBASE_BY_SUPABASE, PATH, SAMPLES, counts, ndjson, send, stored
from tests.mail.servers import HERE, Inbox, smtp_server
from tests.security.observed import assert_problem
from tests.support.commands import tokenvend
from tests.support.old_system import SECRET
from tests.support.service import PASSWORD, SECRET_KEY, Device, Mail, Service

BCRYPT_10 = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8jLYJ7U0QYzzQcFkzqVZ0m3bC5e1pG"
BCRYPT_12 = BCRYPT_10.replace("$10$", "$12$")
ARGON2 = "$argon2id$v=19$m=65536,t=4,p=1$CME45/z/f48x5hyj1DoHAA$72o0yp6DFMNCRX5cKmSQIpYzVjpTVS0VqGXKA5X1cBQ"
YESCRYPT = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7"
"""Which nothing here verifies."""
SENDS = {"smtp_url": "smtp://127.0.0.1:9", "mail_from": "photos@example.org"}
ROWS = ndjson(
    {"email": "ada@example.org", "password_hash": YESCRYPT},
    {"email": "grace@example.org", "password_hash": BCRYPT_10},
    {"email": "alan@example.org", "password_hash": YESCRYPT, "status": "disabled"},
    {"email": "nobody", "password_hash": YESCRYPT},
    {"email": "zoe@example.org", "password_hash": YESCRYPT},
)


@pytest.fixture
def mailing(make_service: Callable[..., Service]) -> Service:
    return make_service(**SENDS)


@pytest.fixture
def admin(mailing: Service) -> Device:
    return mailing.staff(email="zoe@example.org")


def waiting(service: Service) -> list[tuple[str, str]]:
    """The mails that are not sent yet."""
    rows = service.sql("SELECT kind, recipient FROM outbox WHERE sent_at IS NULL AND failed_at IS NULL ORDER BY 2")
    return [tuple(row) for row in rows]


def codes(body: dict[str, Any]) -> list[tuple[int, str]]:
    return [(item["row"], item["code"]) for item in body["items"]]


@pytest.mark.both_databases
class TestInvitations:
    """IM10"""

    def test_a_user_whose_hash_is_all_that_is_wrong_gets_account_and_mail(
        self, mailing: Service, admin: Device
    ) -> None:
        refused = send(admin, ROWS, dry_run="true").json()
        assert (refused["refused"], refused["invited"]) == (4, 0)
        answer = send(admin, ROWS, invite_unsupported="true")
        assert counts(answer) == (5, 3, 1, 1)
        body = answer.json()
        assert body["invited"] == 1
        assert codes(body) == [(1, "invited"), (3, "no_password"), (4, "invalid_email")]
        assert stored(mailing, "password_hash")[:2] == [None, None]
        assert waiting(mailing) == [("invitation", "ada@example.org")]
        (ended,) = admin.get("/v1/admin/audit-events", params={"event": "users.imported", "limit": 1}).json()["items"]
        assert {"name": "invited", "value": "1"} in ended["detail"]

    def test_a_dry_run_counts_them_and_sends_nothing(self, mailing: Service, admin: Device) -> None:
        dry = send(admin, ROWS, dry_run="true", invite_unsupported="true")
        assert waiting(mailing) == []
        assert stored(mailing) == ["zoe@example.org"]
        wet = send(admin, ROWS, invite_unsupported="true")
        for member in ("rows", "created", "existing", "refused", "invited", "items"):
            assert dry.json()[member] == wet.json()[member]

    def test_the_mails_link_sets_the_password(self, make_service: Callable[..., Service]) -> None:
        """Over a real mail server, and by the outbox, which bounds what one recipient gets."""
        inbox = Inbox()
        with smtp_server(inbox) as port:
            service = make_service(rate_limits="on", **SENDS | {"smtp_url": f"smtp://{HERE}:{port}"})
            admin = service.staff(email="zoe@example.org")
            one_mailbox = [{"email": f"ada+{n}@example.org", "password_hash": YESCRYPT} for n in range(25)]
            body = send(admin, ndjson(*one_mailbox), invite_unsupported="true").json()
            assert (body["created"], body["invited"]) == (25, 25)
            assert service.client.portal is not None
            while service.client.portal.call(service.runtime.postman.send_waiting):
                pass
        assert len(inbox.envelopes) == 20
        message = message_from_bytes(bytes(inbox.envelopes[0].content or b""), policy=policy.default)
        mail, recipient = Mail(message), inbox.envelopes[0].rcpt_tos[0]
        assert mail.subject == "You have an account"
        token = mail.token
        confirmed = service.client.post("/v1/password-resets/confirm", json={"token": token, "new_password": PASSWORD})
        assert confirmed.status_code == 204, confirmed.text
        assert service.log_in(recipient).status_code == 200

    def test_of_a_batch_that_is_rolled_back_nobody_is_invited(
        self, mailing: Service, admin: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_: Any, **__: Any) -> None:
            raise RuntimeError("after the invitations")

        with monkeypatch.context() as patched:
            patched.setattr(imports, "_duplicates", fails)
            assert send(admin, ROWS, invite_unsupported="true").status_code == 500
        assert waiting(mailing) == []
        assert stored(mailing) == ["zoe@example.org"]

    def test_an_import_goes_on_as_it_began(self, mailing: Service, admin: Device) -> None:
        """With or without invitations: by the same id it does each row once."""
        import_id = "0b6b4f4e-8a3a-4d8e-9a56-6b1a0f7f2f11"
        assert send(admin, ROWS, import_id=import_id, invite_unsupported="true").status_code == 201
        assert_problem(send(admin, ROWS, import_id=import_id), 409, "import_conflict")
        again = send(admin, ROWS, import_id=import_id, invite_unsupported="true").json()
        assert (again["created"], again["invited"]) == (3, 1)
        assert len(waiting(mailing)) == 1

    @pytest.mark.parametrize(
        ("source", "media_type", "content"),
        [
            ("firebase", "application/json", b'{"users": [{"email": "a@example.org", "passwordHash": "x"}]}'),
            ("auth0", "application/x-ndjson", ndjson({"email": "a@example.org", "custom_password_hash": {}})),
            ("supabase", "text/csv", b"email,encrypted_password\na@example.org,x\n"),
        ],
    )
    def test_are_of_any_source(
        self, make_service: Callable[..., Service], source: str, media_type: str, content: bytes
    ) -> None:
        service = make_service(firebase_hash_config=FIREBASE_CONFIG, **SENDS)
        admin = service.staff(email="zoe@example.org")
        assert send(admin, content, media_type, source=source, dry_run="true").json()["refused"] == 1
        body = send(admin, content, media_type, source=source, invite_unsupported="true").json()
        assert (body["created"], body["invited"], body["refused"]) == (1, 1, 0)

    def test_need_a_mail_server(self, service: Service) -> None:
        answer = send(service.staff(), ROWS, invite_unsupported="true")
        assert_problem(answer, 422, "invalid_request")
        (error,) = answer.json()["errors"]
        assert error["code"] == "not_configured"
        assert "TOKENVEND_SMTP_URL" in error["message"]


HASHED = ndjson(
    *({"email": f"ten{n}@example.org", "password_hash": BCRYPT_10} for n in range(3)),
    {"email": "twelve@example.org", "password_hash": BCRYPT_12},
    {"email": "fire@example.org", "password_hash": OF_FIREBASE_BY_SUPABASE},
    {
        "email": "php@example.org",
        "password_hash": ARGON2,
    },
    {"email": "none@example.org"},
    {"email": "odd@example.org", "password_hash": YESCRYPT},
)


class TestCosts:
    def test_a_dry_run_says_what_each_kind_of_hash_costs(self, service: Service) -> None:
        """In sign-ins with a hash of our own: by the same price that decides on the lane of a sign-in."""
        admin = service.staff()
        body = send(admin, HASHED, dry_run="true").json()
        ten, twelve = (Hasher(threads=1).measure(one) for one in (BCRYPT_10, BCRYPT_12))
        assert ten is not None
        assert twelve is not None
        kinds = {one.pop("kind"): one for one in body["hashes"]}
        mean = (3 * ten[1] + twelve[1]) / 4
        assert kinds["bcrypt"] == {"rows": 4, "price": round(mean, 2), "dearest": round(twelve[1], 2)}
        assert kinds["firebase scrypt"]["rows"] == 1
        assert kinds["argon2id"]["price"] > 1
        for secret in (BCRYPT_10[7:], "42xEC"):
            assert secret not in json.dumps(body)

    def test_the_report_keeps_it(self, service: Service) -> None:
        admin = service.staff()
        body = send(admin, HASHED, dry_run="true").json()
        assert body["hashes"]
        assert admin.get(f"{PATH}/{body['import_id']}").json()["hashes"] == body["hashes"]
        assert send(admin, HASHED).json()["hashes"] == []

    def test_it_adds_up_over_batches(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        admin = service.staff()
        whole = send(admin, HASHED, dry_run="true").json()["hashes"]
        monkeypatch.setattr(imports, "BATCH", 2)
        assert send(admin, HASHED, dry_run="true").json()["hashes"] == whole

    def test_every_hash_that_can_be_imported_has_a_kind_and_a_price(self) -> None:
        with closing(Hasher(threads=1)) as hasher:
            for stored_hash in (
                PASSWORD_CONTEXT.hash("a password"),
                f"$imported{PASSWORD_CONTEXT.hash('a password')}",
                *(BCRYPT_12, f"$wp{BCRYPT_10.replace('$2b$', '$2y$')}", OF_FIREBASE_BY_SUPABASE),
            ):
                measured = hasher.measure(stored_hash)
                assert measured is not None
                kind, price = measured
                assert kind in {"argon2id", "bcrypt", "wordpress bcrypt", "firebase scrypt"}
                assert 0 < price <= HIGHEST_PRICE
            assert hasher.measure(f"{FIREBASE}42xEC==${'A' * 86}==") is None  # of a project that nobody named


class TestPreview:
    def test_has_the_first_rows_as_they_will_be(self, mailing: Service, admin: Device) -> None:
        rows = ndjson(
            {"email": " Ada@example.org ", "email_verified": True, "display_name": "Ada\n Lovelace", "role": "admin"},
            {"email": "grace@example.org", "password_hash": BCRYPT_10, "created_at": "2024-01-31 12:00:00"},
            {"email": "alan@example.org", "password_hash": YESCRYPT},
            "nobody",
            *(f"u{number}@example.org" for number in range(10)),
        )
        body = send(admin, rows, dry_run="true", invite_unsupported="true").json()
        assert [one["row"] for one in body["preview"]] == [1, 2, 3, 4, 5]
        ada, grace, alan, nobody, _ = body["preview"]
        assert ada["user"] == {
            "email": "Ada@example.org",
            "email_verified": True,
            "display_name": "Ada Lovelace",
            "created_at": None,
            "disabled": False,
            "password": "none",
        }
        assert (grace["user"]["password"], grace["user"]["created_at"]) == ("kept", "2024-01-31T12:00:00Z")
        assert alan["user"]["password"] == "invited"
        assert (nobody["user"], nobody["problem"]) == (None, "This is not an e-mail address.")
        assert BCRYPT_10[7:] not in json.dumps(body)

    def test_is_in_the_answer_alone(self, mailing: Service, admin: Device) -> None:
        body = send(admin, ROWS, dry_run="true").json()
        assert body["preview"]
        assert admin.get(f"{PATH}/{body['import_id']}").json()["preview"] == []
        assert send(admin, ROWS).json()["preview"] == []

    def test_says_who_awaits_the_old_system(self, make_service: Callable[..., Service]) -> None:
        admin = make_service(migration_url="https://old.example.org", migration_secret=(SECRET,)).staff()
        body = send(admin, ndjson("ada@example.org"), dry_run="true").json()
        assert body["preview"][0]["user"]["password"] == "old_system"
        assert body["items"] == []


@pytest.fixture
def run(database_url: str, tmp_path: Path) -> Callable[..., Any]:
    environment = {"TOKENVEND_DATABASE_URL": database_url, "TOKENVEND_SECRET_KEY": SECRET_KEY}

    def command(*arguments: str, **more: str) -> Any:
        return tokenvend("users", "import", *arguments, environment=environment | more, cwd=tmp_path)

    return command


class TestCommand:
    def test_says_what_to_set_where_no_mail_is_sent(self, service: Service, run: Any, tmp_path: Path) -> None:
        file = tmp_path / "users.ndjson"
        file.write_bytes(ROWS)
        done = run(str(file), "--invite-unsupported")
        assert done.returncode == 1
        assert "Set TOKENVEND_SMTP_URL and TOKENVEND_MAIL_FROM first" in done.stderr
        assert stored(service) == []

    def test_invites_and_tells_what_sign_ins_cost(self, service: Service, run: Any, tmp_path: Path) -> None:
        mail = {"TOKENVEND_SMTP_URL": SENDS["smtp_url"], "TOKENVEND_MAIL_FROM": SENDS["mail_from"]}
        file = tmp_path / "users.ndjson"
        file.write_bytes(ROWS)
        dry = run(str(file), "--dry-run", "--invite-unsupported", **mail)
        lines = dry.stdout.splitlines()
        assert lines[-1] == "5 rows: 4 would be imported (2 invited), 0 existing, 1 refused"
        assert lines[-4].split() == ["hash", "rows", "a", "sign-in", "÷", "ours", "dearest"]
        kind, rows, price, dearest = lines[-3].split()
        assert (kind, rows, price) == ("bcrypt", "1", dearest)
        assert lines[-2].startswith("All first sign-ins together: 2 of ours.")
        assert waiting(service) == []
        done = run(str(file), "--invite-unsupported", "--json", **mail)
        report = json.loads(done.stdout)
        assert (report["created"], report["invited"], report["hashes"]) == (4, 2, [])
        assert [one["code"] for one in report["problems"]] == ["invited", "no_password", "invalid_email", "invited"]
        assert waiting(service) == [("invitation", "ada@example.org"), ("invitation", "zoe@example.org")]

    def test_strict_takes_the_invited(self, service: Service, run: Any, tmp_path: Path) -> None:
        mail = {"TOKENVEND_SMTP_URL": SENDS["smtp_url"], "TOKENVEND_MAIL_FROM": SENDS["mail_from"]}
        file = tmp_path / "users.ndjson"
        file.write_bytes(ndjson({"email": "ada@example.org", "password_hash": YESCRYPT}))
        assert run(str(file), "--strict").returncode == 3
        assert stored(service) == []
        assert run(str(file), "--strict", "--invite-unsupported", **mail).returncode == 0
        assert stored(service) == ["ada@example.org"]


def test_the_samples_have_a_price_each(make_service: Callable[..., Service]) -> None:
    service = make_service(firebase_hash_config=FIREBASE_CONFIG)
    admin = service.staff()
    answer = send(
        admin, (SAMPLES / "firebase.json").read_bytes(), "application/json", source="firebase", dry_run="true"
    )
    (kind,) = answer.json()["hashes"]
    assert (kind["kind"], kind["rows"]) == ("firebase scrypt", 1)
    assert kind["price"] > 1
