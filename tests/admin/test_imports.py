"""Importing users: each row once whatever happens, nobody changed, no id, role or hash that should not get in."""

import base64
import csv
import functools
import gzip
import hmac
import io
import json
import os
import random
import shutil
import sqlite3
import subprocess
import threading
import unicodedata
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from passlib.exc import PasslibHashWarning
from passlib.hash import argon2, bcrypt
from sqlalchemy.orm import Session

from app.accounts import passwords
from app.admin import audit_events, exports, imports
from app.admin.formats import NDJSON, opening
from app.admin.imports import CONCURRENT, Order
from app.admin.repeats import FirstRows
from app.compose import Runtime
from app.crypto import password_hashes
from app.platform.problems import Forbidden, ImportConflict, InvalidToken, Problem
from app.records import audit
from app.records.actor import Actor
from app.records.models import UserImport
from tests.admin.test_opening import TITLES
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
            ("auth0.csv", None, 0),
            ("cognito.json", None, 0),
            ("firebase.csv", "user1password", 0),
            ("clerk.csv", PASSWORD, 0),
            ("django.json", PASSWORD, 1),
            ("keycloak.json", PASSWORD, 1),
            ("parse.ndjson", PASSWORD, 1),
            ("appwrite.json", PASSWORD, 1),
            ("kratos.json", PASSWORD, 0),
            ("directory.ldif", PASSWORD, 1),
        ],
    )
    def test_each_sample_is_imported_and_signed_in_to(
        self, make_service: Any, monkeypatch: pytest.MonkeyPatch, name: str, password: str | None, refused: int
    ) -> None:
        monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", password_hashes.PASSWORD_CONTEXT)
        service = make_service(firebase_hash_config=FIREBASE)
        admin = service.staff(email="zoe@example.org")
        media_type = opening.media_type_of(name)
        assert media_type is not None
        answer = send(admin, (SAMPLES / name).read_bytes(), media_type, source=TITLES[name])
        assert answer.status_code == 201, answer.text
        body = answer.json()
        assert (body["status"], body["refused"], body["existing"]) == ("completed", refused, 0)
        assert body["created"] == body["rows"] - refused
        ada = service.log_in("ADA@example.org", password or PASSWORD)
        if password is None:
            assert_problem(ada, 401, "invalid_login")
            awaited = ["cognito", "cognito", None] if name.startswith("cognito") else [None] * 3
            assert stored(service, "password_from")[:3] == awaited
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

    def test_a_prehash_is_for_the_command_line(self, service: Service, admin: Device) -> None:
        """Unread, it would import users of whom nobody could sign in."""
        for value in ("meteor", "devise", ""):
            answer = send(admin, ndjson("ada@example.org"), prehash=value)
            assert_problem(answer, 422, "invalid_request")
            assert [error["location"] for error in answer.json()["errors"]] == ["query.prehash"]
        assert stored(service) == ["zoe@example.org"]

    def test_firebase_needs_its_parameters_first(self, service: Service, admin: Device) -> None:
        answer = send(admin, (SAMPLES / "firebase.json").read_bytes(), "application/json", source="firebase")
        assert_problem(answer, 422, "invalid_request")
        assert stored(service) == ["zoe@example.org"]

    @pytest.mark.parametrize("media_type", ["application/octet-stream", "application/gzip"])
    @pytest.mark.parametrize("sample", ["tokenvend.csv", "cognito.json", "supabase.sql", "auth0.ndjson"])
    def test_a_file_without_a_kind_is_what_it_looks_like(self, admin: Device, sample: str, media_type: str) -> None:
        """As a generated client sends it, packed or not."""
        data = (SAMPLES / sample).read_bytes()
        body = gzip.compress(data) if media_type == "application/gzip" else data
        answer = send(admin, body, media_type, source=TITLES[sample])
        assert answer.status_code == 201
        assert answer.json()["created"]

    def test_a_file_of_another_source_names_it(self, service: Service, admin: Device) -> None:
        answer = send(admin, (SAMPLES / "auth0.ndjson").read_bytes())
        assert_problem(answer, 422, "invalid_request")
        (error,) = answer.json()["errors"]
        assert "This looks like an export of Auth0: use --source auth0, or source=auth0" in error["message"]
        assert (error["location"], error["code"]) == ("query.source", "looks_like_auth0")
        assert stored(service) == ["zoe@example.org"]

    @pytest.mark.parametrize(
        ("source", "name", "media_type"),
        [("clerk", "keycloak.json", "application/json"), ("clerk", "supabase.sql", "application/sql")],
    )
    def test_it_is_named_too_where_the_source_has_no_such_kind(
        self, service: Service, admin: Device, source: str, name: str, media_type: str
    ) -> None:
        answer = send(admin, (SAMPLES / name).read_bytes() * 20, media_type, source=source)
        assert_problem(answer, 422, "invalid_request")
        assert [error["code"] for error in answer.json()["errors"]] == [f"looks_like_{name.partition('.')[0]}"]
        assert stored(service) == ["zoe@example.org"]

    def test_a_packed_file_may_unpack_to_so_much(self, make_service: Any) -> None:
        service = make_service(import_max_bytes=65_536)
        admin = service.staff(email="zoe@example.org")
        rows = ndjson(*(f"user{number}@example.org" for number in range(4_000)))
        packed = gzip.compress(rows)
        assert len(packed) < 65_536 < len(rows)
        import_id = str(uuid.uuid4())
        answer = send(admin, packed, import_id=import_id)
        assert_problem(answer, 413, "content_too_large")
        assert admin.get(f"{PATH}/{import_id}").json()["status"] == "failed"

    @pytest.mark.parametrize(
        ("source", "media_type"),
        [
            ("clerk", "application/json"),
            ("keycloak", NDJSON),
            ("auth0", "application/sql"),
            ("tokenvend", "text/plain"),
        ],
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
            "invited": "0",
        }
        (started,) = admin.get("/v1/admin/audit-events", params={"event": "users.import_started"}).json()["items"]
        assert {ended["actor_id"], started["actor_id"]} == {admin.user_id}
        assert not service.sql("SELECT 1 FROM audit_events WHERE event = 'user.imported'")
        users = admin.get("/v1/admin/users", params={"import_id": body["import_id"]}).json()["items"]
        assert {user["email"] for user in users} == {"a@example.org", "b@example.org"}
        assert {user["import_id"] for user in users} == {body["import_id"]}

    def test_problems_are_told_by_row_and_repeat_nothing(self, service: Service, admin: Device) -> None:
        """IM6"""
        hashed = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8jLYJ7U0QYzzQcFkzqVZ0m3bC5e1pG"
        emails = [f"u{number}@example.org" if number % 2 else f"secret-{number}" for number in range(1, 301)]
        rows = [{"email": email, "password_hash": hashed} for email in emails]
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

    @pytest.mark.parametrize("typed", ["NFC", "NFD"])
    def test_a_hash_with_our_own_parameters_may_be_of_another_spelling(
        self, service: Service, admin: Device, cheap: Any, typed: str
    ) -> None:
        """Other systems have them by default too, and Firefox on macOS sends NFD."""
        hashed = cheap.hash(unicodedata.normalize("NFD", "violet tractör"))
        assert not passwords.PASSWORD_CONTEXT.needs_update(hashed)
        assert counts(send(admin, ndjson({"email": "a@example.org", "password_hash": hashed})))[1] == 1
        for form in (typed, "NFC", "NFD"):
            assert service.log_in("a@example.org", unicodedata.normalize(form, "violet tractör")).status_code == 200
        assert not stored(service, "password_hash")[0].startswith(password_hashes.IMPORTED)

    @pytest.mark.parametrize("dry_run", ["true", "false"])
    def test_a_row_whose_address_came_before_says_so(
        self, service: Service, admin: Device, monkeypatch: pytest.MonkeyPatch, dry_run: str
    ) -> None:
        """Django keeps `dup@` and `Dup@` apart, and Auth0 has an account for each connection."""
        monkeypatch.setattr(imports, "BATCH", 3)
        service.register("here@example.org")
        hashed = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8jLYJ7U0QYzzQcFkzqVZ0m3bC5e1pG"
        rows = [
            {"email": "here@example.org", "password_hash": hashed},
            {"email": "dup@example.org"},
            {"email": "a@example.org", "password_hash": hashed},
            {"email": "Dup@example.org", "password_hash": hashed},
        ]
        done = send(admin, ndjson(*rows), dry_run=dry_run)
        assert counts(done) == (4, 2, 2, 0)
        told = [(item["row"], item["code"]) for item in done.json()["items"]]
        assert told == [(2, "no_password"), (4, "duplicate_address")]
        assert done.json()["items"][1]["message"].startswith("Row 2 of the file has the same address")
        again = send(admin, ndjson(*rows), dry_run=dry_run)
        if dry_run == "false":
            assert (counts(again), again.json()["items"]) == ((4, 0, 4, 0), [])

    def test_the_first_row_is_known_when_there_is_no_room_for_it(
        self, service: Service, admin: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As where /tmp is small: what is told is less, and the same is imported."""

        def full(*_: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(FirstRows, "_before", full)
        monkeypatch.setattr(imports, "BATCH", 3)
        done = send(admin, ndjson("a@example.org", "A@example.org", "b@example.org", "a@EXAMPLE.org"))
        assert counts(done) == (4, 2, 2, 0)
        told = [item["message"].split(" of ")[0] for item in done.json()["items"] if item["code"] != "no_password"]
        assert told == ["Row 1", "An earlier row"]

    def test_a_ban_that_is_over_is_over(self, service: Service, admin: Device) -> None:
        now = service.clock.now()
        rows = [
            (f"{name}@example.org", (now + timedelta(days=days)).isoformat())
            for name, days in (("past", -1), ("still", 1))
        ]
        text = "email,banned_until\n" + "".join(
            f"{email},{until}\n" for email, until in [*rows, ("free@example.org", "")]
        )
        assert counts(send(admin, text.encode(), "text/csv", source="supabase")) == (3, 3, 0, 0)
        assert service.sql("SELECT email, status FROM users WHERE role = 'user' ORDER BY email") == [
            ("free@example.org", "active"),
            ("past@example.org", "active"),
            ("still@example.org", "disabled"),
        ]

    def test_a_second_factor_that_stays_behind_is_told(self, service: Service, admin: Device) -> None:
        """Whoever had one should know that the account has none here."""
        done = send(admin, (SAMPLES / "clerk.csv").read_bytes(), "text/csv", source="clerk")
        told = [(item["row"], item["code"]) for item in done.json()["items"]]
        assert told == [(2, "second_factor_not_taken"), (3, "no_password")]

    @pytest.mark.parametrize("seed", range(4))
    def test_every_row_is_counted_once_and_told_if_it_lost_anything(
        self, service: Service, admin: Device, monkeypatch: pytest.MonkeyPatch, seed: int
    ) -> None:
        """Whatever mixture of rows, in batches of whatever size."""
        chance = random.Random(seed)
        service.register("here@example.org")
        hashed = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8jLYJ7U0QYzzQcFkzqVZ0m3bC5e1pG"
        kinds: dict[str, tuple[Callable[[int], bytes], str | None, str]] = {
            "whole": (lambda n: ndjson({"email": f"u{n}@example.org", "password_hash": hashed}), None, "created"),
            "bare": (lambda n: ndjson(f"u{n}@example.org"), "no_password", "created"),
            "chief": (
                lambda n: ndjson({"email": f"u{n}@example.org", "password_hash": hashed, "role": "admin"}),
                *("role_not_taken", "created"),
            ),
            "here": (lambda _: ndjson("Here@example.org"), None, "existing"),
            "nobody": (lambda _: ndjson({"password_hash": hashed}), "missing_email", "refused"),
            "hash": (
                lambda n: ndjson({"email": f"u{n}@example.org", "password_hash": "x"}),
                "unsupported_hash",
                "refused",
            ),
            "long": (lambda _: b"x" * 70_000 + b"\n", "row_too_long", "refused"),
            "torn": (lambda _: b'{"email": \n', "malformed_row", "refused"),
            "latin": (lambda _: b'{"email": "\xe9"}\n', "not_utf8", "refused"),
            "twice": (lambda _: ndjson({"email": "Twice@example.org", "password_hash": hashed}), None, "created"),
        }
        monkeypatch.setattr(imports, "BATCH", chance.randint(1, 7))
        drawn = [chance.choice(list(kinds)) for _ in range(60)]
        expected: dict[str, int] = dict.fromkeys(("created", "existing", "refused"), 0)
        told = []
        for number, kind in enumerate(drawn, 1):
            _, code, counted = kinds[kind]
            if kind == "twice" and "twice" in drawn[: number - 1]:
                code, counted = "duplicate_address", "existing"
            expected[counted] += 1
            if code:
                told.append({"row": number, "code": code})
        file = b"".join(kinds[kind][0](number) for number, kind in enumerate(drawn))
        for dry_run in ("true", "false"):
            body = send(admin, file, dry_run=dry_run).json()
            assert {name: body[name] for name in expected} == expected
            assert body["rows"] == len(drawn) == sum(expected.values())
            items = admin.get(f"{PATH}/{body['import_id']}", params={"limit": 100}).json()["items"]
            assert [{"row": item["row"], "code": item["code"]} for item in items] == told

    def test_only_the_first_problems_are_kept(
        self, service: Service, admin: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(imports, "MOST_PROBLEMS", 5)
        monkeypatch.setattr(imports, "BATCH", 3)
        body = send(admin, b"x\n" * 20).json()
        assert (body["refused"], len(body["items"])) == (20, 5)
        chiefs = [{"email": f"chief{number}@example.org", "role": "admin"} for number in range(20)]
        body = send(admin, ndjson(*chiefs, *["nobody"] * 20)).json()
        assert (body["created"], body["refused"]) == (20, 20)
        told = ["role_not_taken"] * 2 + ["invalid_email"] * 3
        assert [item["code"] for item in body["items"]] == told


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
        assert done.returncode == 3, done.stderr
        assert done.stdout.splitlines() == [
            f"row 1: no_password: {imports.NO_PASSWORD.message}",
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

    def test_the_guides_lines_import_with_a_prehash(self, service: Service, run: Any, tmp_path: Path) -> None:
        (code,) = [one.code for one in blocks(SAMPLES / "README.md") if "--prehash" in one.code]
        *lines, command = code.splitlines()
        environment = {"PATH": os.environ["PATH"], "SECURITY_PASSWORD_SALT": "salt of the app"}
        subprocess.run(["sh", "-euc", "\n".join(lines)], cwd=tmp_path, env=environment, check=True)
        assert (tmp_path / "prehash.key").stat().st_mode & 0o777 == 0o600
        made = base64.b64encode(hmac.digest(b"salt of the app", PASSWORD.encode(), "sha512"))
        hashed = argon2.using(memory_cost=64, time_cost=1, parallelism=1).hash(made)
        (tmp_path / "users.csv").write_text(f'email,password_hash\nada@example.org,"{hashed}"\n', encoding="utf-8")
        done = run(*command.removeprefix("tokenvend users ").split())
        assert done.returncode == 0, done.stderr
        assert_problem(service.log_in("ada@example.org", PASSWORD + "x"), 401, "invalid_login")
        assert service.log_in("ada@example.org").status_code == 200

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

    def test_strict_imports_all_or_nobody(self, service: Service, run: Any, tmp_path: Path) -> None:
        file = tmp_path / "users.ndjson"
        file.write_bytes(ndjson("a@example.org", "nobody"))
        done = run("import", str(file), "--strict")
        assert (done.returncode, done.stderr) == (3, "Nobody was imported: --strict\n")
        assert done.stdout.splitlines()[-1] == "2 rows: 1 would be imported, 0 existing, 1 refused"
        assert stored(service) == []
        file.write_bytes(ndjson("a@example.org", "b@example.org"))
        done = run("import", str(file), "--strict")
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "2 rows: 2 imported, 0 existing, 0 refused")
        assert stored(service) == ["a@example.org", "b@example.org"]

    @pytest.mark.parametrize("by", ["a file", "the environment"])
    def test_a_prehash_and_its_key_are_given_once(
        self, service: Service, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
    ) -> None:
        """The key is nowhere in what the command says, and not stored before a row is; a dry run stores none."""
        monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", password_hashes.PASSWORD_CONTEXT)
        key = "a pepper of 32 characters, and é"
        environment = {"TOKENVEND_DATABASE_URL": database_url, "TOKENVEND_SECRET_KEY": SECRET_KEY}
        options = ["--prehash", "devise"]
        if by == "a file":
            (tmp_path / "key").write_text(f"{key}\n", encoding="utf-8")
            options += ["--prehash-key-file", str(tmp_path / "key")]
        else:
            environment["PREHASH_KEY"] = key
        file = tmp_path / "users.ndjson"
        hashes = {"ada": bcrypt.using(rounds=4).hash(PASSWORD + key), "grace": "{SSHA}wnGzj3HhhCmbE9M+/Pqvxz4zbatJKSWk"}
        file.write_bytes(
            ndjson(*({"email": f"{name}@example.org", "password_hash": one} for name, one in hashes.items()))
        )

        def run(*arguments: str) -> Any:
            done = tokenvend("users", *arguments, environment=environment, cwd=tmp_path)
            assert key not in done.stdout + done.stderr
            return done

        last = {"--dry-run": "1 would be imported", "--strict": "1 would be imported"}
        for option, said in last.items():
            assert said in run("import", str(file), *options, option).stdout
            assert service.sql("SELECT count(*) FROM prehash_keys") == [(0,)]
        done = run("import", str(file), *options)
        assert done.stdout.splitlines()[0].startswith("row 2: unsupported_hash: "), done.stderr
        (row,) = service.sql("SELECT id, key_encrypted FROM prehash_keys")
        assert key.encode() not in row[1]
        assert stored(service, "password_hash") == [f"$prehash=devise,{row[0]}{hashes['ada']}"]
        exported = tmp_path / "exported.ndjson"
        assert run("export", str(exported), "--with-hashes").returncode == 0
        assert_problem(service.log_in("ada@example.org", PASSWORD + "x"), 401, "invalid_login")
        assert service.log_in("ada@example.org").status_code == 200
        assert stored(service, "password_hash")[0].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert run("import", str(file), *options).stdout.endswith("0 imported, 1 existing, 1 refused\n")
        assert service.sql("SELECT count(*) FROM prehash_keys") == [(1,)]

        for table in ("refresh_tokens", "sessions", "users", "prehash_keys"):
            service.sql(f"DELETE FROM {table}")
        without = run("import", str(exported), "--keep-ids", "--prehash", "meteor")
        assert f"row 1: unsupported_hash: {password_hashes.KEY_ELSEWHERE}" in without.stdout
        assert run("import", str(exported), "--keep-ids", *options).returncode == 0
        assert service.log_in("ada@example.org").status_code == 200

    def test_a_prehash_without_its_key_is_one_sentence(self, service: Service, run: Any, tmp_path: Path) -> None:
        file, key = tmp_path / "users.ndjson", tmp_path / "key"
        file.write_bytes(ndjson("ada@example.org"))
        for content in (None, b"", b"\n", b"\xff\xfe", b"x" * 1025):
            options = ["--prehash", "flask-security"]
            if content is not None:
                key.write_bytes(content)
                options += ["--prehash-key-file", str(key)]
            done = run("import", str(file), *options)
            assert (done.returncode, done.stdout) == (2, "")
            assert "1 to 1024 bytes" in done.stderr
        key.write_bytes(b"x")
        for wrong in (("--prehash", "meteor", "--prehash-key-file", str(key)), ("--prehash-key-file", str(key))):
            assert run("import", str(file), *wrong).returncode == 2
        assert run("import", str(file), "--prehash", "drupal").returncode == 2
        assert stored(service) == []

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
        assert told == ["id_taken"] * 3 + ["invalid_id"] * 4 + ["no_password", "id_taken"]
        assert done.stdout.splitlines()[-1] == "9 rows: 1 imported, 0 existing, 8 refused"

    def test_a_wrong_file_is_one_sentence(self, service: Service, run: Any, tmp_path: Path) -> None:
        file = tmp_path / "users.csv"
        file.write_text("name\nada\n")
        done = run("import", str(file))
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.splitlines()[-1] == "The header has no column `email`. Commas separate the columns."
        assert run("import", str(file), "--source", "django").returncode == 2
        shutil.copy(SAMPLES / "supabase.sql", tmp_path / "users.sql")
        hinted = run("import", str(tmp_path / "users.sql"))
        assert hinted.returncode == 2
        assert "looks like an export of Supabase: use --source supabase." in " ".join(
            hinted.stderr.replace("│", " ").split()
        )
        (tmp_path / "tenant.gz").write_bytes(gzip.compress((SAMPLES / "auth0.ndjson").read_bytes()))
        mistaken = run("import", str(tmp_path / "tenant.gz"))
        assert (mistaken.returncode, mistaken.stdout) == (1, "")
        assert mistaken.stderr.splitlines()[-1].startswith("This looks like an export of Auth0: use --source auth0")
        assert run("import", str(tmp_path / "tenant.gz"), "--source", "auth0").returncode == 0
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
