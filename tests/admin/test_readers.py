"""What single systems export: their hashes, their switches, and what a row of theirs may lack."""

import base64
import csv
import io
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from app.admin.formats import CSV, JSON, LDIF, NDJSON, SourceName
from app.admin.formats.rows import ImportedUser, RowProblem
from app.crypto.password_hashes import PASSWORD_CONTEXT, supabase_scrypt
from app.platform.problems import UnreadableImport
from tests.admin.test_formats import BCRYPT, SAMPLES, code_of, emails, rows
from tests.support.databases import PostgresDatabases
from tests.support.old_system import guides_block

PASSWORD = "violet tractor moonlight"
SIGNER = "jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA=="
CHECKSUM = "lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ=="


def only(source: SourceName, media_type: str, data: bytes | str) -> ImportedUser | RowProblem:
    (row,) = rows(source, media_type, data.encode() if isinstance(data, str) else data)
    return row


def user(source: SourceName, media_type: str, data: bytes | str) -> ImportedUser:
    row = only(source, media_type, data)
    assert isinstance(row, ImportedUser), row
    return row


def sample(source: SourceName, media_type: str, name: str) -> list[ImportedUser]:
    found = rows(source, media_type, (SAMPLES / name).read_bytes())
    return [row for row in found if isinstance(row, ImportedUser)]


@pytest.mark.parametrize(
    ("source", "media_type", "name"),
    [
        ("clerk", CSV, "clerk.csv"),
        ("keycloak", JSON, "keycloak.json"),
        ("appwrite", JSON, "appwrite.json"),
        ("kratos", JSON, "kratos.json"),
    ],
)
def test_a_second_factor_is_noticed(source: SourceName, media_type: str, name: str) -> None:
    assert [row.second_factor for row in sample(source, media_type, name)][:2] == [False, True]


@pytest.mark.parametrize(
    ("source", "media_type", "name"),
    [
        ("django", JSON, "django.json"),
        ("keycloak", JSON, "keycloak.json"),
        ("appwrite", JSON, "appwrite.json"),
        ("kratos", JSON, "kratos.json"),
        ("ldif", LDIF, "directory.ldif"),
    ],
)
def test_who_is_switched_off_there_is_disabled_here(source: SourceName, media_type: str, name: str) -> None:
    assert [row.disabled for row in sample(source, media_type, name)][:2] == [False, True]


class TestClerk:
    COLUMNS = "id,primary_email_address,verified_email_addresses,password_digest,password_hasher"

    def row(self, digest: str, hasher: str, verified: str = "") -> ImportedUser | RowProblem:
        return only("clerk", CSV, f'{self.COLUMNS}\nuser_1,ada@example.org,"{verified}","{digest}",{hasher}\n')

    @pytest.mark.parametrize(
        ("verified", "known"),
        [("ada@example.org", True), ("b@example.org, ada@example.org", True), ("ada@example.organic", False)],
    )
    def test_the_first_address_is_verified_if_it_is_listed(self, verified: str, known: bool) -> None:
        row = self.row(BCRYPT, "bcrypt", verified)
        assert isinstance(row, ImportedUser)
        assert row.email_verified == known

    def test_a_salt_in_base64_is_not_taken_for_djangos(self) -> None:
        """Both begin with `pbkdf2_sha256$`. Only the column tells them apart."""
        salt = base64.b64encode(b"saltsalt").decode()
        stored = {}
        for hasher in ("pbkdf2_sha256", "pbkdf2_sha256_django"):
            row = self.row(f"pbkdf2_sha256$1000${salt}${base64.b64encode(bytes(32)).decode()}", hasher)
            assert isinstance(row, ImportedUser)
            stored[hasher] = row.password_hash
        assert stored["pbkdf2_sha256"] != stored["pbkdf2_sha256_django"]

    def test_firebases_scrypt_brings_its_parameters(self) -> None:
        row = self.row(f"{CHECKSUM}$42xEC+ixf3L2lw==${SIGNER}$Bw==$8$14", "scrypt_firebase")
        assert isinstance(row, ImportedUser)
        scrypt, stored = supabase_scrypt(row.password_hash or "")
        assert scrypt.verify("user1password", stored)

    @pytest.mark.parametrize(
        ("digest", "hasher"),
        [
            (BCRYPT, "bcrypt_peppered"),
            ("5f4dcc3b5aa765d61d8327deb882cf99", "md5"),
            ("x", "scrypt_firebase"),
            ("pbkdf2_sha1$1000$salt$zz", "pbkdf2_sha1"),
            (BCRYPT, "of the future"),
        ],
    )
    def test_a_hash_that_would_never_match_is_refused(self, digest: str, hasher: str) -> None:
        assert code_of(self.row(digest, hasher)) == "unsupported_hash"


class TestDjango:
    @staticmethod
    def dump(*models: dict[str, Any]) -> bytes:
        return json.dumps(list(models)).encode()

    @staticmethod
    def person(model: str = "auth.user", **fields: Any) -> dict[str, Any]:
        return {"model": model, "pk": 1, "fields": {"email": "ada@example.org", "password": "", **fields}}

    @pytest.mark.parametrize("stored", ["!", "!kx2vQmW8tPzR4nYbL6sJ0dFhG3cE7aUiOq1MwXyB", "", None])
    def test_an_unusable_password_is_none(self, stored: str | None) -> None:
        assert user("django", JSON, self.dump(self.person(password=stored))).password_hash is None

    def test_other_models_are_passed_over(self) -> None:
        other = {"model": "photos.album", "pk": 1, "fields": {"email": "evil@example.org", "password": "x"}}
        own = self.person("accounts.member", last_login=None, full_name="Ada Lovelace", is_staff=False)
        found = rows("django", JSON, self.dump(other, own, other))
        assert emails(found) == ["ada@example.org"]
        assert isinstance(found[0], ImportedUser)
        assert found[0].display_name == "Ada Lovelace"
        with pytest.raises(UnreadableImport, match="no users"):
            rows("django", JSON, self.dump(other))

    def test_the_lines_of_jsonl_are_the_same_rows(self) -> None:
        whole = (SAMPLES / "django.json").read_bytes()
        lines = b"".join(json.dumps(row).encode() + b"\n" for row in json.loads(whole))
        for media_type in (JSON, NDJSON):
            assert rows("django", media_type, lines) == rows("django", JSON, whole)

    def test_a_row_of_something_else_is_told(self) -> None:
        assert (
            emails(rows("django", NDJSON, b'{"email": "ada@example.org"}\n{"model": "x"}\n')) == ["malformed_row"] * 2
        )

    def test_the_name_to_sign_in_with_may_be_the_address(self) -> None:
        row = user("django", JSON, self.dump(self.person(email="", username="Grace@example.org", is_superuser=True)))
        assert (row.address.text, row.email_verified, row.role) == ("Grace@example.org", False, "staff")


class TestKeycloak:
    @staticmethod
    def realm(how: Any, secret: Any) -> str:
        credential = {"type": "password", "credentialData": how, "secretData": secret}
        return json.dumps({"realm": "x", "users": [{"email": "ada@example.org", "credentials": [credential]}]})

    SECRET = json.dumps({"value": base64.b64encode(bytes(64)).decode(), "salt": base64.b64encode(bytes(16)).decode()})

    def test_both_kinds_of_credential_are_verified(self) -> None:
        found = sample("keycloak", JSON, "keycloak.json")
        assert [(row.password_hash or "").split("$")[1] for row in found[:2]] == ["argon2id", "pbkdf2-sha256"]
        for row in found[:2]:
            assert PASSWORD_CONTEXT.verify(PASSWORD, row.password_hash or "")
            assert not PASSWORD_CONTEXT.verify(PASSWORD + "x", row.password_hash or "")

    @pytest.mark.parametrize(
        "how",
        [
            None,
            "{",
            "[" * 10_000,
            "[]",
            '{"algorithm": "argon2", "hashIterations": 5}',
            '{"algorithm": "argon2", "hashIterations": 5, "additionalParameters": {"type": ["id", "i"]}}',
            (
                '{"algorithm": "argon2", "hashIterations": 5, "additionalParameters": {"type": ["id"], '
                '"version": ["1.3"], "memory": ["7,168$"], "parallelism": ["1"]}}'
            ),
            '{"algorithm": "pbkdf2-sha256", "hashIterations": "27500"}',
            '{"algorithm": "pbkdf2-sha256", "hashIterations": 999999999}',
            '{"algorithm": "of-a-plugin", "hashIterations": 1}',
        ],
    )
    def test_a_credential_of_another_kind_is_refused(self, how: object) -> None:
        assert code_of(only("keycloak", JSON, self.realm(how, self.SECRET))) == "unsupported_hash"

    @pytest.mark.parametrize(
        "text",
        [
            '[{"realm": "a", "users": [{"email": "ada@example.org"}]}]',
            '{"realm": "a"}',
            '{"realm": "a", "users": {}}',
            '{"roles": {"users": [{"email": "evil@example.org"}]}}',
            '{"note": "\\"users\\": [{}]", "users": null}',
            '{"users"',
            "",
        ],
    )
    def test_a_file_without_users_is_none(self, text: str) -> None:
        with pytest.raises(UnreadableImport, match="export of one realm"):
            rows("keycloak", JSON, text.encode())

    @pytest.mark.parametrize("size", [1, 10, 1_000])
    def test_users_are_found_however_the_file_is_cut(self, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.admin.formats.json_rows._AT_LEAST", 1)
        text = json.dumps({"a": 'x\\"users": [', "b": [{"users": [1]}], 'c": [': {}, "users": [{"email": "a@b.org"}]})
        data = text.encode()
        assert emails(rows("keycloak", JSON, *(data[at : at + size] for at in range(0, len(data), size)))) == [
            "a@b.org"
        ]


class TestParse:
    def test_an_export_of_the_dashboard_or_of_its_api_is_the_same(self) -> None:
        lines = [json.loads(line) for line in (SAMPLES / "parse.ndjson").read_bytes().splitlines()]
        expected = rows("parse", NDJSON, (SAMPLES / "parse.ndjson").read_bytes())
        for document in (lines, {"results": lines}):
            assert rows("parse", JSON, json.dumps(document).encode()) == expected

    def test_a_verified_flag_without_an_address_verifies_nothing(self) -> None:
        row = user("parse", NDJSON, json.dumps({"username": "victim@example.org", "emailVerified": True}))
        assert not row.email_verified


class TestAppwrite:
    def test_firebases_scrypt_comes_along(self) -> None:
        _, grace = sample("appwrite", JSON, "appwrite.json")
        scrypt, stored = supabase_scrypt(grace.password_hash or "")
        assert scrypt.verify("user1password", stored)

    def test_users_of_several_pages_are_lines(self) -> None:
        users = json.loads((SAMPLES / "appwrite.json").read_bytes())["users"]
        lines = b"".join(json.dumps(one).encode() + b"\n" for one in users)
        assert rows("appwrite", NDJSON, lines) == rows("appwrite", JSON, (SAMPLES / "appwrite.json").read_bytes())

    @pytest.mark.parametrize("kind", ["md5", "sha", "scrypt", "scryptMod", "", None])
    def test_other_hashes_are_refused(self, kind: str | None) -> None:
        found = {"email": "ada@example.org", "password": "x" * 20, "hash": kind, "hashOptions": []}
        assert code_of(only("appwrite", NDJSON, json.dumps(found))) == "unsupported_hash"


class TestKratos:
    def test_the_address_is_found_whatever_its_trait_is_called(self) -> None:
        identity = {
            "traits": {"contact": {"mail": "ada@example.org"}},
            "verifiable_addresses": [
                {"value": "+4930901820", "via": "sms", "verified": True},
                {"value": "ada@example.org", "via": "email", "verified": True},
            ],
        }
        row = user("kratos", NDJSON, json.dumps(identity))
        assert (row.address.text, row.email_verified) == ("ada@example.org", True)

    def test_another_verified_address_verifies_nothing(self) -> None:
        identity = {
            "traits": {"email": "victim@example.org"},
            "verifiable_addresses": [{"value": "ada@example.org", "via": "email", "verified": True}],
        }
        assert not user("kratos", NDJSON, json.dumps(identity)).email_verified


class TestLdif:
    """RFC 2849"""

    ADA = b"dn: uid=ada,dc=example\nobjectClass: inetOrgPerson\nmail: ada@example.org\n"

    def test_folded_lines_and_base64_are_read(self) -> None:
        ada, grace = sample("ldif", LDIF, "directory.ldif")
        assert (ada.display_name, grace.display_name) == ("Ada Lovelace", "Zoë Hopper")
        assert PASSWORD_CONTEXT.verify(PASSWORD, ada.password_hash or "")
        assert (grace.password_hash or "").startswith("$2b$10$")
        assert ada.created_at is not None

    @pytest.mark.parametrize("size", [1, 5, 70_000, 1_000_000])
    @pytest.mark.parametrize("fold", [b"", b"\n "])
    def test_a_photo_costs_nobody_anything(self, size: int, fold: bytes) -> None:
        photo = b"jpegPhoto:: " + fold.join([b"A" * 76] * 1_500) + b"\n"
        data = self.ADA + photo + b"userPassword: " + BCRYPT.encode() + b"\n\n" + self.ADA
        if size < 10:
            data = data[:200] + data[-600:]
        found = rows("ldif", LDIF, *(data[at : at + size] for at in range(0, len(data), size)))
        assert emails(found)[-1] == "ada@example.org"
        if size >= 10:
            assert [isinstance(row, ImportedUser) and row.password_hash for row in found] == [BCRYPT, None]

    @pytest.mark.parametrize(
        ("line", "code"),
        [
            (b"cn: " + b"x" * 70_000, "row_too_long"),
            (b"\n".join([b"cn: " + b"x" * 60_000] * 2), "row_too_long"),
            (b"cn:: !", "malformed_row"),
            (b"cn:: " + base64.b64encode(b"\xff"), "not_utf8"),
            (b"userPassword:< file:///etc/passwd", "malformed_row"),
            (b"changetype: delete", "malformed_row"),
            (b"userPassword: secret", "unsupported_hash"),
            (b"userAccountControl: 514", None),
        ],
    )
    def test_a_wrong_entry_costs_itself_alone(self, line: bytes, code: str | None) -> None:
        found = rows("ldif", LDIF, self.ADA, line, b"\n\n", self.ADA)
        assert emails(found) == [code or "ada@example.org", "ada@example.org"]
        assert all(b"secret" not in row.message.encode() for row in found if isinstance(row, RowProblem))

    @pytest.mark.parametrize(
        ("line", "disabled"),
        [
            (b"userAccountControl: 514", True),
            (b"userAccountControl: 512", False),
            (b"nsAccountLock: TRUE", True),
            (b"pwdAccountLockedTime: 000001010000Z", True),
            (b"pwdAccountLockedTime: 20240131120000Z", False),
        ],
    )
    def test_locks_of_directories_are_known(self, line: bytes, disabled: bool) -> None:
        assert user("ldif", LDIF, self.ADA + line + b"\n").disabled == disabled

    def test_the_first_hash_that_is_understood_counts(self) -> None:
        data = self.ADA + b"userPassword: {X-FUTURE}abc\nuserPassword: {CRYPT}" + BCRYPT.encode() + b"\n"
        assert user("ldif", LDIF, data).password_hash == BCRYPT

    def test_groups_and_machines_are_passed_over(self) -> None:
        group = b"dn: cn=all,dc=example\nobjectClass: groupOfNames\ncn: all\nmember: uid=ada,dc=example\n\n"
        machine = b"dn: cn=pc,dc=example\nobjectClass: user\nobjectClass: computer\ncn: pc\n\n"
        assert emails(rows("ldif", LDIF, b"version: 1\n", group, machine, self.ADA)) == ["ada@example.org"]

    @pytest.mark.parametrize("text", [b"", b"hello\n", b"version: 1\n", b"mail: a@example.org\n"])
    def test_what_is_no_ldif_is_refused(self, text: bytes) -> None:
        with pytest.raises(UnreadableImport):
            rows("ldif", LDIF, text)


class TestBetterAuth:
    def test_the_guides_query_gives_our_columns(self) -> None:
        """On what better-auth made itself: its schema, and users by password and by a provider."""
        query = guides_block('u."emailVerified"')
        text = io.StringIO()
        with closing(sqlite3.connect(":memory:")) as database:
            database.executescript((Path(__file__).parent / "better_auth.sql").read_text())
            found = database.execute(query)
            csv.writer(text).writerows([[column[0] for column in found.description], *found])
        assert text.getvalue().encode() == (SAMPLES / "better-auth.csv").read_bytes()
        ada, grace = sample("tokenvend", CSV, "better-auth.csv")
        assert (ada.email_verified, grace.email_verified, ada.display_name) == (True, False, "Ada Lovelace")
        assert PASSWORD_CONTEXT.verify(PASSWORD, ada.password_hash or "")
        assert (grace.password_hash, grace.created_at is not None) == (None, True)

    @pytest.mark.all
    def test_it_gives_them_on_postgresql_too(self, postgres_databases: PostgresDatabases) -> None:
        """As `psql --csv` writes them, from the types that better-auth has there: boolean and timestamptz."""
        query = guides_block('u."emailVerified"')
        tables = (Path(__file__).parent / "better_auth.sql").read_text().replace(" date", " timestamptz")
        tables = tables.replace(' references "user" ("id") on delete cascade', "")
        url = make_url(postgres_databases.create_empty()).set(drivername="postgresql")
        with psycopg.connect(url.render_as_string(hide_password=False)) as database:
            database.execute(tables.encode())
            database.execute('ALTER TABLE "user" ALTER "emailVerified" TYPE boolean USING "emailVerified" = 1')
            with database.cursor().copy(f"COPY ({query}) TO STDOUT WITH (FORMAT csv, HEADER)".encode()) as copied:
                text = b"".join(bytes(piece) for piece in copied)
        found = {row.address.text: row for row in rows("tokenvend", CSV, text) if isinstance(row, ImportedUser)}
        assert found == {row.address.text: row for row in sample("tokenvend", CSV, "better-auth.csv")}
        assert b",t," in text


class TestOwnTable:
    """Of Laravel 12, as `php artisan migrate` makes it."""

    TABLE = """
    CREATE TABLE "users" ("id" integer primary key autoincrement not null, "name" varchar not null,
        "email" varchar not null, "email_verified_at" datetime, "password" varchar not null, "remember_token" varchar,
        "created_at" datetime, "updated_at" datetime);
    """
    ROWS = (
        ("Ada Lovelace", "ada@example.org", "2024-01-31 12:00:00", BCRYPT, "2024-01-30 12:00:00"),
        ("Grace, Hopper", "grace@example.org", None, BCRYPT, None),
    )

    @pytest.fixture
    def database(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(":memory:")) as database:
            database.executescript(self.TABLE)
            database.executemany(
                "INSERT INTO users (name, email, email_verified_at, password, created_at) VALUES (?, ?, ?, ?, ?)",
                self.ROWS,
            )
            yield database

    def test_the_guides_query_gives_our_columns(self, database: sqlite3.Connection) -> None:
        text = io.StringIO()
        found = database.execute(guides_block("email_verified_at IS NOT NULL AS"))
        csv.writer(text).writerows([[column[0] for column in found.description], *found])
        self.check(rows("tokenvend", CSV, text.getvalue().encode()))

    def test_the_guides_json_gives_them_too(self, database: sqlite3.Connection) -> None:
        """SQLite has MySQL's function, by the same name."""
        query = guides_block("JSON_OBJECT").partition('"\n')[2].rstrip().removesuffix('"')
        lines = "".join(f"{line}\n" for (line,) in database.execute(query))
        self.check(rows("tokenvend", NDJSON, lines.encode()))

    def check(self, found: Sequence[ImportedUser | RowProblem]) -> None:
        ada, grace = found
        assert isinstance(ada, ImportedUser)
        assert isinstance(grace, ImportedUser)
        assert (ada.display_name, ada.email_verified, ada.password_hash) == ("Ada Lovelace", True, BCRYPT)
        assert ada.created_at == datetime(2024, 1, 30, 12, tzinfo=UTC)
        assert (grace.display_name, grace.email_verified, grace.created_at) == ("Grace, Hopper", False, None)
