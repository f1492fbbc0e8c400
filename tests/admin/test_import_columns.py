"""What the console says that an import makes of each column is what the readers do."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, get_args

import pytest

from app.admin import formats
from app.admin.formats import SourceName
from app.admin.formats.rows import ImportedUser, RowProblem
from tests.admin.test_imports import SAMPLES
from tests.support.documents import ROOT

CONSOLE = ROOT / "app" / "pages" / "console"
UNKEPT = frozenset({"role", "former_id", "second_factor"})
HASH = "$2b$10$CwTycUXWue0Thq9StjUM0uJ8jLYJ7U0QYzzQcFkzqVZ0m3bC5e1pG"
ADA, NOW = "ada@example.org", "2024-01-31T12:00:00Z"
FIREBASE = json.loads((SAMPLES / "firebase.json").read_text())["users"][0]
KEYCLOAK = {
    name: value
    for name, value in json.loads((SAMPLES / "keycloak.json").read_text())["users"][0].items()
    if name in ("email", "emailVerified", "firstName", "lastName", "credentials", "createdTimestamp")
}
APPWRITE = json.loads((SAMPLES / "appwrite.json").read_text())["users"][1]
KRATOS = json.loads((SAMPLES / "kratos.json").read_text())[0]
WRAPPED: dict[SourceName, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
    "django": lambda fields: {"model": "auth.user", "fields": fields},
    "ldif": lambda entry: {name.lower(): values for name, values in entry.items()},
}
"""How a reader gives what the console names."""
RECORDS: dict[SourceName, list[Mapping[str, Any]]] = {
    "tokenvend": [
        {"id": "x", "email": ADA, "email_verified": True, "display_name": "Ada", "password_hash": HASH}
        | {"status": "disabled", "created_at": NOW, "role": "admin"}
    ],
    "cognito": [
        {"email": ADA, "email_verified": "true", "name": "Ada", "enabled": "false", "created_at": NOW}
        | {"user_status": "EXTERNAL_PROVIDER", "cognito:mfa_enabled": "true"},
        {"email": ADA, "given_name": "Ada", "family_name": "Lovelace"},
    ],
    "firebase": [FIREBASE | {"disabled": True}],
    "supabase": [
        {"email": ADA, "email_confirmed_at": NOW, "encrypted_password": HASH, "created_at": NOW}
        | {"raw_user_meta_data": '{"name": "Ada"}', "banned_until": "2999-01-31T12:00:00Z"},
        {"email": ADA, "deleted_at": NOW},
        {"email": ADA, "is_sso_user": "t"},
    ],
    "auth0": [
        {"email": ADA, "email_verified": True, "name": "Ada", "passwordHash": HASH, "blocked": True, "created_at": NOW},
        {"identifiers": [{"type": "email", "value": ADA}]},
        {"email": ADA, "custom_password_hash": {"algorithm": "bcrypt", "hash": {"value": HASH}}},
        {"email": ADA, "name": ADA, "given_name": "Ada", "family_name": "Lovelace"},
    ],
    "clerk": [
        {"primary_email_address": ADA, "verified_email_addresses": ADA, "first_name": "Ada", "last_name": "Lovelace"}
        | {"password_digest": HASH},
        {"primary_email_address": ADA, "password_digest": HASH, "password_hasher": "bcrypt_peppered"},
        {"primary_email_address": ADA, "username": "ada", "password_digest": HASH, "totp_secret": "JBSWY3DPEHPK3PXP"},
    ],
    "django": [
        {"email": ADA, "email_verified": True, "first_name": "Ada", "last_name": "Lovelace", "password": HASH}
        | {"is_active": False, "date_joined": NOW, "is_staff": True, "is_superuser": True},
        {"username": ADA},
    ],
    "keycloak": [
        KEYCLOAK | {"enabled": False},
        {"username": ADA},
    ],
    "parse": [
        {"email": ADA, "emailVerified": True, "name": "Ada", "_hashed_password": HASH, "_created_at": {"$date": NOW}},
        {"username": ADA},
    ],
    "appwrite": [
        {"email": ADA, "emailVerification": True, "name": "Ada", "status": False, "registration": NOW, "mfa": True}
        | {name: APPWRITE[name] for name in ("password", "hash", "hashOptions")},
    ],
    "kratos": [KRATOS | {"state": "inactive"}],
    "ldif": [
        {"mail": [ADA], "displayName": ["Ada"], "userPassword": [HASH], "createTimestamp": ["20240131120000Z"]},
        {"mail": [ADA], "cn": ["Ada"], "nsAccountLock": ["TRUE"]},
        {"mail": [ADA], "pwdAccountLockedTime": ["000001010000Z"]},
        {"mail": [ADA], "userAccountControl": ["514"]},
    ],
}
"""Of each source records that have a value in each column that is taken."""


def columns() -> dict[str, list[tuple[str, str]]]:
    text = (CONSOLE / "columns.js").read_text(encoding="utf-8")
    found: dict[str, list[tuple[str, str]]] = json.loads(text.partition("COLUMNS = ")[2].rstrip().removesuffix(";"))
    return found


def account(source: SourceName, record: Mapping[str, Any]) -> object:
    """What becomes of a record, without what no account has."""
    row = formats.user_of(formats.SOURCES[source], WRAPPED.get(source, dict)(record))
    if isinstance(row, RowProblem):
        return row
    return tuple(getattr(row, name) for name in ImportedUser._fields if name not in UNKEPT)


class TestColumns:
    def test_are_told_of_every_source(self) -> None:
        assert set(columns()) == set(get_args(SourceName)) == set(RECORDS)
        page = (CONSOLE / "index.html").read_text(encoding="utf-8")
        select = page.partition('<select id="import-source">')[2].partition("</select>")[0]
        assert set(re.findall(r'value="(\w+)"', select)) == set(columns())

    @pytest.mark.parametrize("source", get_args(SourceName))
    def test_become_what_is_said(self, source: SourceName) -> None:
        """Each that is taken changes something, and the others change nothing."""
        told = dict(columns()[source])
        for column, becomes in told.items():
            changed = [
                account(source, record) != account(source, {name: record[name] for name in record if name != column})
                for record in RECORDS[source]
                if column in record
            ]
            assert changed, column
            assert any(changed) == (not becomes.startswith("Not taken")), column

    @pytest.mark.parametrize("source", get_args(SourceName))
    def test_leave_none_out(self, source: SourceName) -> None:
        told = dict(columns()[source])
        for record in RECORDS[source]:
            rest = {name: value for name, value in record.items() if name in told}
            assert account(source, rest) == account(source, record)
