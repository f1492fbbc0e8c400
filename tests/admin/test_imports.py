"""Importing users: each row once whatever happens, nobody changed, no id, role or hash that should not get in."""

import csv
import functools
import io
import json
import random
import shutil
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from passlib.exc import PasslibHashWarning
from sqlalchemy.orm import Session

from app.accounts import passwords
from app.admin import audit_events, exports, imports
from app.admin.formats import NDJSON
from app.admin.imports import CONCURRENT, Order
from app.compose import Runtime
from app.crypto import password_hashes
from app.platform.problems import Forbidden, ImportConflict, InvalidToken, Problem
from app.records import audit
from app.records.actor import Actor
from app.records.models import UserImport
from tests.security.observed import assert_problem
from tests.support.commands import tokenvend
from tests.support.documents import blocks
from tests.support.service import PASSWORD, SECRET_KEY, Device, Service

SAMPLES = Path(__file__).parent.parent.parent / "deploy" / "imports"
PATH = "/v1/admin/user-imports"
FIREBASE = {
    "algorithm": "SCRYPT",
    "base64_signer_key": "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==",
    "base64_salt_separator": "Bw==",
    "rounds": 8,
    "mem_cost": 14,
}
TYPES = {".csv": "text/csv", ".ndjson": NDJSON, ".json": "application/json", ".sql": "application/sql"}


def send(admin: Device, content: Any, media_type: str = NDJSON, **query: Any) -> Response:
    headers = {**admin.headers, "Content-Type": media_type}
    return admin.service.client.post(PATH, params=query, content=content, headers=headers)


OF_FIREBASE_BY_SUPABASE = (
    "$fbscrypt$v=1,n=14,r=8,p=1,ss=Bw==,sk=jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZ"
    "vpjeJ9WmXA==$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=="
)
"""Firebase's published test vector (github.com/firebase/scrypt)."""


def ndjson(*rows: dict[str, Any] | str) -> bytes:
    return "".join(json.dumps({"email": row} if isinstance(row, str) else row) + "\n" for row in rows).encode()


def counts(answer: Response) -> tuple[int, int, int, int]:
    body = answer.json()
    return body["rows"], body["created"], body["existing"], body["refused"]


def stored(service: Service, column: str = "email") -> list[Any]:
    return [row[0] for row in service.sql(f"SELECT {column} FROM users ORDER BY email")]


@pytest.fixture
def admin(service: Service) -> Device:
    return service.staff(email="zoe@example.org")


class TestSources:
    @pytest.mark.parametrize(
        ("name", "password", "refused"),
        [
            ("tokenvend.csv", PASSWORD, 0),
            ("cognito.csv", None, 0),
            ("firebase.json", "user1password", 0),
            ("supabase.csv", PASSWORD, 1),
            ("supabase.sql", PASSWORD, 1),
            ("auth0.ndjson", PASSWORD, 0),
        ],
    )
    def test_each_sample_is_imported_and_signed_in_to(
        self, make_service: Any, monkeypatch: pytest.MonkeyPatch, name: str, password: str | None, refused: int
    ) -> None:
        monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", password_hashes.PASSWORD_CONTEXT)
        service = make_service(firebase_hash_config=FIREBASE)
        admin = service.staff(email="zoe@example.org")
        source, _, suffix = name.partition(".")
        answer = send(admin, (SAMPLES / name).read_bytes(), TYPES[f".{suffix}"], source=source)
        assert answer.status_code == 201, answer.text
        body = answer.json()
        assert (body["status"], body["refused"], body["existing"]) == ("completed", refused, 0)
        assert body["created"] == body["rows"] - refused
        ada = service.log_in("ADA@example.org", password or PASSWORD)
        if password is None:
            assert_problem(ada, 401, "invalid_login")
            assert stored(service, "password_from")[:3] == ["cognito", "cognito", None]
            return
        assert ada.status_code == 200, ada.text
        assert_problem(service.log_in("ada@example.org", "wrong"), 401, "invalid_login")
        (hash_now,) = (row[0] for row in service.sql("SELECT password_hash FROM users WHERE email = 'ada@example.org'"))
        assert hash_now.startswith("$argon2id$")
        assert service.log_in("ada@example.org", password).status_code == 200

    def test_of_three_at_once_one_is_turned_away_unread(self, service: Service, admin: Device) -> None:
        """And whatever ends an import, its place is free again."""
        for _ in range(CONCURRENT + 1):
            assert_problem(send(admin, b"x", "text/csv"), 400, "unreadable_import")
        for _ in range(CONCURRENT):
            service.runtime.import_room.places.acquire(blocking=False)
        refused = send(admin, ndjson("ada@example.org"))
        assert_problem(refused, 503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 10
        service.runtime.import_room.places.release()
        assert counts(send(admin, ndjson("ada@example.org"))) == (1, 1, 0, 0)

    def test_firebases_users_keep_their_passwords_by_way_of_supabase(
        self, service: Service, admin: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each hash brings the parameters of its project, so the service needs no setting."""
        monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", password_hashes.PASSWORD_CONTEXT)
        rows = f'email,encrypted_password\nada@example.org,"{OF_FIREBASE_BY_SUPABASE}"\n'
        assert counts(send(admin, rows.encode(), "text/csv", source="supabase")) == (1, 1, 0, 0)
        assert_problem(service.log_in("ada@example.org", "user1Password"), 401, "invalid_login")
        assert service.log_in("ada@example.org", "user1password").status_code == 200
        assert stored(service, "password_hash")[0].startswith("$argon2id$")
        assert service.log_in("ada@example.org", "user1password").status_code == 200

    def test_firebase_needs_its_parameters_first(self, service: Service, admin: Device) -> None:
        answer = send(admin, (SAMPLES / "firebase.json").read_bytes(), "application/json", source="firebase")
        assert_problem(answer, 422, "invalid_request")
        assert stored(service) == ["zoe@example.org"]

    @pytest.mark.parametrize("sample", ["tokenvend.csv", "cognito.csv", "supabase.csv", "auth0.ndjson"])
    def test_a_file_without_a_kind_is_its_sources_first(self, admin: Device, sample: str) -> None:
        """As a generated client sends it."""
        source = sample.partition(".")[0]
        answer = send(admin, (SAMPLES / sample).read_bytes(), "application/octet-stream", source=source)
        assert answer.status_code == 201
        assert answer.json()["created"]

    @pytest.mark.parametrize(
        ("source", "media_type"),
        [("tokenvend", "application/json"), ("cognito", NDJSON), ("auth0", "text/csv"), ("tokenvend", "text/plain")],
    )
    def test_another_media_type_is_none(self, admin: Device, source: str, media_type: str) -> None:
        assert_problem(send(admin, b"x", media_type, source=source), 415, "unsupported_media_type")


@pytest.mark.both_databases
class TestRows:
    def test_an_account_that_exists_stays_as_it_is(self, service: Service, admin: Device) -> None:
        """HT5, IM1: in every spelling, in the database and within the file."""
        before = service.sql("SELECT * FROM users")
        hostile = {"display_name": "Mallory", "password_hash": None, "status": "disabled", "email_verified": True}
        spellings = ("zoe@example.org", "ZOE@EXAMPLE.ORG", "ｚoe@example.org")
        answer = send(admin, ndjson(*({"email": email, **hostile} for email in spellings)))
        assert counts(answer) == (3, 0, 3, 0)
        assert service.sql("SELECT * FROM users") == before
        assert counts(send(admin, ndjson("a@example.org", "A@example.org", "a@EXAMPLE.org"))) == (3, 1, 2, 0)

    def test_nobody_brings_a_role_or_an_id(self, service: Service, admin: Device) -> None:
        """AZ3, VC1, IM2: over HTTP a row's id is not looked at, and everybody is a user."""
        wanted = str(uuid.uuid4())
        row = {"email": "mallory@example.org", "role": "admin", "id": wanted}
        answer = send(admin, ndjson(row, {**row, "email": "m@example.org", "id": admin.user_id}))
        assert counts(answer) == (2, 2, 0, 0)
        assert [item["code"] for item in answer.json()["items"]] == ["role_not_taken", "role_not_taken"]
        assert stored(service, "role") == ["user", "user", "admin"]
        ids = {str(uuid.UUID(str(row))) for row in stored(service, "id")}
        assert wanted not in ids
        assert len(ids) == 3

    def test_hostile_addresses_reach_no_prefix(self, service: Service, admin: Device) -> None:
        """VC1: `*@x.com` is an address; its prefix is as random as any other."""
        assert counts(send(admin, ndjson("*@example.org", "a?b@example.org", "${aws}@example.org")))[1] == 3
        ids = stored(service, "id")
        assert all(uuid.UUID(str(one)).version == 4 for one in ids)

    def test_leaves_one_audit_row_to_which_each_user_leads(self, service: Service, admin: Device) -> None:
        """VC7: a credential leads to its user, the user to the import, and that to who ran it, from where."""
        body = send(admin, ndjson("a@example.org", "b@example.org", "zoe@example.org", "no address")).json()
        (ended,) = admin.get("/v1/admin/audit-events", params={"event": "users.imported"}).json()["items"]
        assert {one["name"]: one["value"] for one in ended["detail"]} == {
            "import_id": body["import_id"],
            "source": "tokenvend",
            "dry_run": "false",
            "status": "completed",
            "rows": "4",
            "created": "2",
            "existing": "1",
            "refused": "1",
        }
        (started,) = admin.get("/v1/admin/audit-events", params={"event": "users.import_started"}).json()["items"]
        assert {ended["actor_id"], started["actor_id"]} == {admin.user_id}
        assert not service.sql("SELECT 1 FROM audit_events WHERE event = 'user.imported'")
        users = admin.get("/v1/admin/users", params={"import_id": body["import_id"]}).json()["items"]
        assert {user["email"] for user in users} == {"a@example.org", "b@example.org"}
        assert {user["import_id"] for user in users} == {body["import_id"]}

    def test_problems_are_told_by_row_and_repeat_nothing(self, service: Service, admin: Device) -> None:
        """IM6"""
        rows = [f"u{number}@example.org" if number % 2 else f"secret-{number}" for number in range(1, 301)]
        body = send(admin, ndjson(*rows)).json()
        assert (body["created"], body["refused"], len(body["items"])) == (150, 150, 50)
        items, cursor = [], None
        while True:
            page = admin.get(
                f"{PATH}/{body['import_id']}", params={"limit": 40, **({"cursor": cursor} if cursor else {})}
            )
            items += page.json()["items"]
            cursor = page.json()["next_cursor"]
            if cursor is None:
                break
        assert [item["row"] for item in items] == list(range(2, 301, 2))
        assert {item["code"] for item in items} == {"invalid_email"}
        assert "secret" not in json.dumps(items)
        for wrong in ("x", "-1", "9" * 30, "1 "):
            assert_problem(admin.get(f"{PATH}/{body['import_id']}", params={"cursor": wrong}), 422, "invalid_request")
        assert_problem(admin.get(f"{PATH}/{uuid.uuid4()}"), 404, "not_found")

    def test_a_dry_run_says_the_same_and_does_nothing(self, service: Service, admin: Device) -> None:
        rows = ndjson("a@example.org", "A@example.org", "zoe@example.org", "no address")
        dry = send(admin, rows, dry_run="true")
        assert counts(dry) == (4, 1, 2, 1)
        assert stored(service) == ["zoe@example.org"]
        (ended,) = admin.get("/v1/admin/audit-events", params={"event": "users.imported"}).json()["items"]
        assert {"name": "dry_run", "value": "true"} in ended["detail"]
        assert counts(send(admin, rows)) == counts(dry)

    def test_no_row_breaks_those_beside_it(self, service: Service, admin: Device) -> None:
        """Whatever is in it: each is taken or refused, and the others of its batch are there."""
        chance = random.Random(7)  # the same rows each time
        odd = "\0\x1b\x7f\ud800\udfff\u202e\uffff\U0010ffff\u2028'\"\\%$;{}\u00e9\u00df\ufdfa\u0130\u0131\u200dA=+-@. "
        hashes = (
            "$argon2id$v=19$m=19456,t=2,p=1$jJFybs05J2QsJURIqfU+Zw$jWgt/t41Cjesrp5qQIvWjDbO/xTMOVhvAEQzm3savdE",
            "$pbkdf2-sha256$29000$N2YMIWQsBWBMae09x1jrPQ$1t8iyB2A.WF/Z5JZv.lfCIhXXN33N23OSgQYThBYRfk",
            "$scrypt$ln=14,r=8,p=1$c2FsdHNhbHQ$" + "A" * 43,
            "$2b$10$CwTycUXWue0Thq9StjUM0uJ8jLYJ7U0QYzzQcFkzqVZ0m3bC5e1pG",
        )

        def spoilt(text: str) -> str:
            at = chance.randrange(len(text) + 1)
            return text[:at] + chance.choice(odd) + text[at + chance.randrange(2) :]

        rows = [
            {
                "email": spoilt(f"odd{number}@example.org"),
                "display_name": spoilt("Ada"),
                "password_hash": spoilt(chance.choice(hashes)),
                "created_at": spoilt("2024-01-31T12:00:00Z") if number % 5 == 0 else None,
            }
            for number in range(3_000)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PasslibHashWarning)
            answer = send(admin, ndjson(*rows, "last@example.org"))
        assert answer.status_code == 201, answer.text
        done = answer.json()
        assert done["created"] + done["existing"] + done["refused"] == 3_001
        assert 1 < done["created"] < 3_000
        assert "last@example.org" in stored(service)

    def test_a_disabled_user_stays_out(self, service: Service, admin: Device, cheap: Any) -> None:
        row = {"email": "a@example.org", "status": "disabled", "password_hash": cheap.hash(PASSWORD)}
        assert counts(send(admin, ndjson(row)))[1] == 1
        assert_problem(service.log_in("a@example.org"), 403, "account_disabled")

    def test_only_the_first_problems_are_kept(
        self, service: Service, admin: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(imports, "MOST_PROBLEMS", 5)
        monkeypatch.setattr(imports, "BATCH", 3)
        body = send(admin, b"x\n" * 20).json()
        assert (body["refused"], len(body["items"])) == (20, 5)
        chiefs = ({"email": f"chief{number}@example.org", "role": "admin"} for number in range(20))
        body = send(admin, ndjson(*chiefs)).json()
        assert (body["created"], len(body["items"])) == (20, 5)


class TestBody:
    """IM4"""

    def test_it_may_be_larger_than_any_other(self, service: Service, admin: Device) -> None:
        """HT1 is for all other routes."""
        rows = ndjson(*(f"user{number}@example.org" for number in range(4_000)))
        assert len(rows) > 65_536
        for content in (rows, iter([rows[:70_000], rows[70_000:]])):
            answer = send(admin, content)
            assert answer.status_code == 201, answer.text
        assert len(stored(service)) == 4_001

    def test_it_has_a_maximum(self, make_service: Any) -> None:
        service = make_service(import_max_bytes=65_536)
        admin = service.staff(email="zoe@example.org")
        rows = ndjson(*(f"user{number}@example.org" for number in range(4_000)))
        for content in (rows, iter([rows[:60_000], rows[60_000:]])):
            assert_problem(send(admin, content), 413, "content_too_large")
        assert stored(service) == ["zoe@example.org"]

    def test_who_may_not_import_is_told_before_size_and_type(self, service: Service) -> None:
        """AZ1: nothing of the body is read for them."""
        rows = b"x" * 1_000_000
        for device, status, code in (
            (service.device(), 403, "forbidden"),
            (service.staff("support"), 403, "forbidden"),
        ):
            assert_problem(send(device, rows, "text/plain"), status, code)
        answer = service.client.post(PATH, content=rows, headers={"Content-Type": "text/plain"})
        assert_problem(answer, 401, "unauthenticated")

    def test_other_routes_keep_the_cap(self, admin: Device) -> None:
        for method, path in (("POST", f"{PATH}/x"), ("POST", "/v1/admin/users")):
            answer = admin.service.client.request(method, path, content=b"x" * 70_000, headers=admin.headers)
            assert_problem(answer, 413, "content_too_large")

    @pytest.mark.parametrize("text", [b"email;name\n", "email\na@b.org\n".encode("utf-16"), b""])
    def test_a_file_of_another_kind_is_refused(self, service: Service, admin: Device, text: bytes) -> None:
        import_id = str(uuid.uuid4())
        assert_problem(send(admin, text, "text/csv", import_id=import_id), 400, "unreadable_import")
        assert admin.get(f"{PATH}/{import_id}").json()["status"] == "failed"
        assert stored(service) == ["zoe@example.org"]


@pytest.mark.both_databases
class TestResuming:
    """IM5"""

    ROWS = ndjson(*(f"user{number:04}@example.org" for number in range(950)))

    @pytest.fixture(autouse=True)
    def small_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(imports, "BATCH", 100)

    def broken(self, service: Service, import_id: str, after: int) -> None:
        """An import that ended in the middle of a batch, as by a connection that broke."""

        def chunks() -> Iterator[bytes]:
            yield from self.ROWS[:after].splitlines(keepends=True)
            raise ConnectionResetError

        order = Order(uuid.UUID(import_id), "tokenvend", NDJSON, dry_run=False, origin=audit.COMMAND_LINE)
        with pytest.raises(ConnectionResetError):
            imports.carry_out(order, chunks(), service.clock, self.transact(service.runtime))

    @staticmethod
    def transact(runtime: Runtime) -> Any:
        return lambda story, *args, **kwargs: runtime.platform.database.run("write", story, *args, **kwargs)

    def test_each_row_is_done_once(self, service: Service, admin: Device) -> None:
        import_id = str(uuid.uuid4())
        for after in (0, 5_000, 20_000, 20_001):
            self.broken(service, import_id, after)
            body = admin.get(f"{PATH}/{import_id}").json()
            assert body["status"] == "interrupted"
            assert body["rows"] == body["created"] == len(stored(service)) - 1
            assert body["rows"] % 100 == 0
        assert 0 < body["rows"] < 950
        answer = send(admin, self.ROWS, import_id=import_id)
        assert counts(answer) == (950, 950, 0, 0)
        assert counts(send(admin, self.ROWS, import_id=import_id)) == (950, 950, 0, 0)
        assert counts(send(admin, self.ROWS)) == (950, 0, 950, 0)
        assert len(stored(service)) == 951
        assert admin.get("/v1/admin/user-count", params={"import_id": import_id}).json()["total"] == 950
        broken, ended, *_ = (
            {one["name"]: one["value"] for one in event["detail"]}
            for event in admin.get("/v1/admin/audit-events", params={"event": "users.imported"}).json()["items"][::-1]
            if event["detail"][0]["value"] == import_id
        )
        assert (broken["status"], ended["status"]) == ("interrupted", "interrupted")

    @pytest.mark.parametrize(
        "change",
        [
            {"content": ndjson("first@example.org") + ROWS},
            {"content": ROWS[:1_000]},
            {"source": "auth0"},
            {"dry_run": "true"},
        ],
    )
    def test_another_file_source_or_kind_does_not_go_on(
        self, service: Service, admin: Device, change: dict[str, Any]
    ) -> None:
        import_id = str(uuid.uuid4())
        self.broken(service, import_id, 20_000)
        before = stored(service)
        assert_problem(send(admin, **{"content": self.ROWS, "import_id": import_id, **change}), 409, "import_conflict")
        assert stored(service) == before
        assert counts(send(admin, self.ROWS, import_id=import_id))[1] == 950

    def test_of_two_at_once_one_is_refused(self, service: Service, admin: Device) -> None:
        import_id = uuid.uuid4()
        waits, goes_on = threading.Event(), threading.Event()

        def chunks() -> Iterator[bytes]:
            yield self.ROWS[:10_000]
            waits.set()
            assert goes_on.wait(20)
            yield self.ROWS[10_000:]

        order = Order(import_id, "tokenvend", NDJSON, dry_run=False, origin=audit.COMMAND_LINE)
        ended: list[UserImport] = []
        thread = threading.Thread(
            target=lambda: ended.append(
                imports.carry_out(order, chunks(), service.clock, self.transact(service.runtime))
            )
        )
        thread.start()
        try:
            assert waits.wait(20)
            assert admin.get(f"{PATH}/{import_id}").json()["status"] == "running"
            assert_problem(send(admin, self.ROWS, import_id=str(import_id)), 409, "import_conflict")
        finally:
            goes_on.set()
            thread.join(20)
        assert (ended[0].created, ended[0].status) == (950, "completed")

    def test_two_files_at_once_add_each_user_once(self, service: Service, admin: Device) -> None:
        """The same users in another order: whoever comes second finds them, and neither waits in a ring."""
        files = [self.ROWS, b"".join(reversed(self.ROWS.splitlines(keepends=True)))]

        def carry_out(file: bytes) -> UserImport:
            order = Order(uuid.uuid4(), "tokenvend", NDJSON, dry_run=False, origin=audit.COMMAND_LINE)
            return imports.carry_out(order, [file], service.clock, self.transact(service.runtime))

        with ThreadPoolExecutor(2) as threads:
            done = list(threads.map(carry_out, files))
        assert [one.rows for one in done] == [950, 950]
        assert sum(one.created for one in done) == sum(one.existing for one in done) == 950
        assert len(stored(service)) == 951

    def test_one_that_died_is_taken_over_and_can_do_no_more(self, service: Service, admin: Device) -> None:
        import_id = uuid.uuid4()
        taken: list[tuple[int, ...]] = []

        def chunks() -> Iterator[bytes]:
            yield self.ROWS[:10_000]
            service.clock.advance(minutes=2)
            taken.append(counts(send(service.staff(email="zoe@example.org"), self.ROWS, import_id=str(import_id))))
            yield self.ROWS[10_000:]

        order = Order(import_id, "tokenvend", NDJSON, dry_run=False, origin=audit.COMMAND_LINE)
        with pytest.raises(ImportConflict):
            imports.carry_out(order, chunks(), service.clock, self.transact(service.runtime))
        assert taken == [(950, 950, 0, 0)]
        assert len(stored(service)) == 951
        assert admin.get(f"{PATH}/{import_id}").json()["status"] == "completed"

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ("UPDATE users SET role = 'user' WHERE role = 'admin'", Forbidden),
            ("UPDATE users SET status = 'disabled' WHERE role = 'admin'", Forbidden),
            ("UPDATE sessions SET ended_at = created_at", InvalidToken),
        ],
    )
    def test_who_is_demoted_meanwhile_imports_no_further(
        self, service: Service, admin: Device, change: str, problem: type[Problem]
    ) -> None:
        """AZ5, TK15"""
        actor = Actor(
            uuid.UUID(admin.user_id), uuid.UUID(admin.session_id), "admin", service.clock.now(), mfa=True, guest=False
        )
        order = Order(uuid.uuid4(), "tokenvend", NDJSON, dry_run=False, origin=audit.COMMAND_LINE, actor=actor)

        def chunks() -> Iterator[bytes]:
            yield self.ROWS[:10_000]
            service.sql(change)
            yield self.ROWS[10_000:]

        with pytest.raises(problem):
            imports.carry_out(order, chunks(), service.clock, self.transact(service.runtime))
        assert 0 < len(stored(service)) - 1 < 950

    def test_a_file_that_ends_badly_keeps_what_it_began_with(self, service: Service, admin: Device) -> None:
        dump = b"COPY auth.users (email) FROM stdin;\n" + b"".join(b"u%d@example.org\n" % n for n in range(250))
        import_id = str(uuid.uuid4())
        refused = send(admin, dump, "application/sql", source="supabase", import_id=import_id)
        assert_problem(refused, 400, "unreadable_import")
        body = admin.get(f"{PATH}/{import_id}").json()
        assert (body["status"], body["rows"], body["created"]) == ("failed", 200, 200)
        again = send(admin, dump + b"\\.\n", "application/sql", source="supabase", import_id=import_id)
        assert counts(again) == (250, 250, 0, 0)


@pytest.mark.all
class TestCommands:
    """`tokenvend users import` and `export`, as an operator runs them."""

    @pytest.fixture
    def run(self, database_url: str, tmp_path: Path) -> Any:
        environment = {"TOKENVEND_DATABASE_URL": database_url, "TOKENVEND_SECRET_KEY": SECRET_KEY}
        return functools.partial(tokenvend, "users", environment=environment, cwd=tmp_path)

    def test_import_tells_each_row_and_a_second_time_changes_nothing(
        self, service: Service, run: Any, tmp_path: Path
    ) -> None:
        file = tmp_path / "users.ndjson"
        file.write_bytes(ndjson("a@example.org", "nobody", {"email": "b@example.org", "role": "admin"}))
        dry = run("import", str(file), "--dry-run")
        assert dry.stdout.splitlines()[-1] == "3 rows: 2 would be imported, 0 existing, 1 refused"
        assert stored(service) == []
        done = run("import", str(file))
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            "row 2: invalid_email: This is not an e-mail address.",
            "row 3: role_not_taken: The row was imported with the role `user`. Administrators give other roles.",
            "3 rows: 2 imported, 0 existing, 1 refused",
        ]
        assert run("import", str(file)).stdout.splitlines()[-1] == "3 rows: 0 imported, 2 existing, 1 refused"
        assert stored(service, "role") == ["user", "user"]

    def test_the_guides_lines_import(self, service: Service, run: Any, tmp_path: Path) -> None:
        (code,) = [one.code for one in blocks(SAMPLES / "README.md") if "--dry-run" in one.code]
        shutil.copy(SAMPLES / "cognito.csv", tmp_path / "users.csv")
        for line, added in zip(code.splitlines(), (False, True), strict=True):
            done = run(*line.removeprefix("tokenvend users ").split())
            assert done.returncode == 0, done.stderr
            assert bool(stored(service)) == added

    @pytest.mark.parametrize("suffix", [".csv", ".ndjson"])
    def test_what_is_exported_comes_back_the_same(
        self, service: Service, run: Any, tmp_path: Path, suffix: str
    ) -> None:
        """With ids and hashes, into an empty database."""
        service.staff(email="=zoe@example.org")
        ada = service.device("ada@example.org")
        ada.patch("/v1/me", {"display_name": '=Lovelace, "Ada"'})
        service.register("grace@example.org", display_name="'Grace")
        service.disable("grace@example.org")
        service.client.post("/v1/auth/guest", json={})
        file = tmp_path / f"users{suffix}"
        done = run("export", str(file), "--with-hashes")
        assert (done.returncode, done.stdout) == (0, f"3 users exported to {file}\n"), done.stderr
        assert file.stat().st_mode & 0o777 == 0o600
        columns = "id, email, email_key, display_name, password_hash, status, created_at"
        before = service.sql(f"SELECT {columns} FROM users WHERE email IS NOT NULL ORDER BY email")
        for table in ("refresh_tokens", "sessions", "users"):
            service.sql(f"DELETE FROM {table}")
        done = run("import", str(file), "--keep-ids")
        assert done.stdout.splitlines()[-1] == "3 rows: 3 imported, 0 existing, 0 refused", done.stdout
        assert service.sql(f"SELECT {columns} FROM users ORDER BY email") == before
        assert service.log_in("ada@example.org").status_code == 200
        assert stored(service, "role") == ["user", "user", "user"]
        assert run("import", str(file), "--keep-ids").stdout.endswith("0 imported, 3 existing, 0 refused\n")

    def test_an_id_never_reaches_anothers_prefix(self, service: Service, run: Any, tmp_path: Path) -> None:
        """VC1, VC4, IM2: of a user, an erased one, or of anybody to whom a credential was ever issued."""
        owner, erased, gone = service.device(), service.device(), service.device()
        gone.vend()
        assert erased.erase().status_code == 202
        spelled = uuid.UUID(gone.user_id).hex
        for table, column in (("refresh_tokens", None), ("sessions", "user_id"), ("users", "id")):
            value = {
                "id": spelled if service.runtime.platform.database.engine.dialect.name == "sqlite" else gone.user_id
            }
            where = f"{column} = :id" if column else "session_id IN (SELECT id FROM sessions WHERE user_id = :id)"
            service.sql(f"DELETE FROM {table} WHERE {where}", **value)
        fresh = str(uuid.uuid4())
        ids = [
            owner.user_id,
            erased.user_id,
            gone.user_id,
            str(uuid.uuid1()),
            fresh.upper(),
            "../x",
            None,
            fresh,
            fresh,
        ]
        file = tmp_path / "users.ndjson"
        file.write_bytes(ndjson(*({"email": f"u{n}@example.org", "id": one} for n, one in enumerate(ids))))
        done = run("import", str(file), "--keep-ids")
        told = [line.split(": ")[1] for line in done.stdout.splitlines()[:-1]]
        assert told == ["id_taken"] * 3 + ["invalid_id"] * 4 + ["id_taken"]
        assert done.stdout.splitlines()[-1] == "9 rows: 1 imported, 0 existing, 8 refused"

    def test_a_wrong_file_is_one_sentence(self, service: Service, run: Any, tmp_path: Path) -> None:
        file = tmp_path / "users.csv"
        file.write_text("name\nada\n")
        done = run("import", str(file))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1] == "The header has no column `email`. Commas separate the columns."
        assert run("import", str(file), "--source", "auth0").returncode == 2
        assert run("export", str(tmp_path / "users.xlsx")).returncode == 2


@pytest.mark.both_databases
class TestExport:
    def test_over_http_it_holds_no_hash(self, service: Service, admin: Device) -> None:
        """IM6"""
        service.register("ada@example.org", display_name="=cmd|' /C calc'!A0")
        text = admin.get("/v1/admin/user-exports").text
        header, *lines = csv.reader(text.splitlines())
        assert header == ["id", "email", "email_verified", "display_name", "status", "role", "created_at"]
        assert len(lines) == 2
        assert "'=cmd" in text
        rows = [json.loads(line) for line in admin.get("/v1/admin/user-exports?format=ndjson").text.splitlines()]
        assert {row["email"] for row in rows} == {"ada@example.org", "zoe@example.org"}
        assert rows[0].keys() == set(header)
        assert "argon2" not in text + json.dumps(rows)
        events = admin.get("/v1/admin/audit-events", params={"event": "users.exported"}).json()["items"]
        assert [event["detail"] for event in events] == [[{"name": "with_hashes", "value": "false"}]] * 2

    def test_pages_leave_nobody_out(self, service: Service, admin: Device, monkeypatch: pytest.MonkeyPatch) -> None:
        """Though many were made in the same moment."""
        monkeypatch.setattr("app.admin.exports.PAGE", 7)
        expected = [f"user{number:03}@example.org" for number in range(50)]
        send(admin, ndjson(*expected))
        rows = [json.loads(line) for line in admin.get("/v1/admin/user-exports?format=ndjson").text.splitlines()]
        assert sorted(row["email"] for row in rows) == [*expected, "zoe@example.org"]

    def test_a_list_is_taken_as_it_is(self, service: Service, admin: Device, monkeypatch: pytest.MonkeyPatch) -> None:
        """With its filters, oldest first, guests too. The audit notes the filters, and not whom was searched for."""
        monkeypatch.setattr("app.admin.exports.PAGE", 2)
        guests = [service.client.post("/v1/auth/guest", json={}).json()["tokens"] for _ in range(3)]
        service.device("=evil@example.org")
        path = "/v1/admin/user-exports?columns=list"
        rows = list(csv.DictReader(io.StringIO(admin.get(f"{path}&guest=true").text)))
        assert len(rows) == len(guests)
        assert {(row["guest"], row["email"], row["status"]) for row in rows} == {("true", "", "active")}
        lines = [json.loads(line) for line in admin.get(f"{path}&format=ndjson&query=evil").text.splitlines()]
        assert [(line["email"], line["mfa_enabled"], line["last_seen_at"] is None) for line in lines] == [
            ("=evil@example.org", False, False)
        ]
        assert "'=evil@example.org" in admin.get(f"{path}&query=evil").text
        assert "hash" not in admin.get(path).text
        noted = admin.get("/v1/admin/audit-events", params={"event": "users.exported"}).json()["items"]
        assert {"name": "of_guest", "value": "True"} in noted[-1]["detail"]
        assert "evil" not in json.dumps([row["detail"] for row in noted])
        for wrong in ("guest=true", "columns=list&guest=true&email_verified=true", "columns=all"):
            assert_problem(admin.get(f"/v1/admin/user-exports?{wrong}"), 422, "invalid_request")

    @pytest.mark.parametrize("path", ["/v1/admin/user-exports?format=ndjson", "/v1/admin/audit-events/export"])
    def test_who_is_signed_out_meanwhile_gets_no_more_of_it(
        self, service: Service, admin: Device, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """TK15: of either, however slowly they read it."""
        send(admin, ndjson(*(f"user{number}@example.org" for number in range(9))))
        for module, name in ((exports, "page"), (audit_events, "export_page")):
            monkeypatch.setattr(module, "PAGE", 2)
            monkeypatch.setattr(module, name, self.signing_out_after(service, getattr(module, name)))
        assert len(admin.get(path).text.splitlines()) == 2

    @staticmethod
    def signing_out_after(service: Service, page: Callable[..., Any]) -> Callable[..., Any]:
        """As if the first page had been read slowly."""

        def read(session: Session, *args: Any, **kwargs: Any) -> Any:
            found = page(session, *args, **kwargs)
            service.sql("UPDATE sessions SET ended_at = created_at WHERE ended_at IS NULL")
            return found

        return read
