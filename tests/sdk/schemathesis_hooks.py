"""What Schemathesis needs to be signed in all the time, whatever its own requests did to the account.

Read by SCHEMATHESIS_HOOKS; SERVICE is the service's address and DATABASE its SQLite file, empty for nobody signed in.
"""

import os
import sqlite3
import time
import uuid
from contextlib import closing

import requests
import schemathesis

URL, DATABASE = os.environ["SERVICE"], os.environ["DATABASE"]
PASSWORD = "violet tractor moonlight"
FRESH = 240
"""Seconds after a sign-in that it still counts as a step-up."""


@schemathesis.hook
def filter_case(_context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """No null for a body that may be left out: the service takes it, for Dart sends it, but other generators trip."""
    return case.body is not None


class Administrator:
    """A session that is alive and fresh: another one, of another account if need be, where a request has ended it."""

    def __init__(self) -> None:
        self.token, self.until = "", 0.0

    def get(self, _case: schemathesis.Case, _context: schemathesis.AuthContext) -> str:
        alive = requests.get(f"{URL}/v1/admin/users?limit=1", headers=bearer(self.token), timeout=10).status_code == 200
        if not alive or time.monotonic() > self.until:
            self.token, self.until = sign_in(), time.monotonic() + FRESH
        return self.token

    def set(self, case: schemathesis.Case, data: str, _context: schemathesis.AuthContext) -> None:
        case.headers.update(bearer(data))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def sign_in() -> str:
    account = {"email": f"{uuid.uuid4()}@example.org", "password": PASSWORD}
    assert requests.post(f"{URL}/v1/users", json=account, timeout=10).status_code == 201
    with closing(sqlite3.connect(DATABASE, timeout=10)) as database, database:
        database.execute("UPDATE users SET role = 'admin' WHERE email = ?", (account["email"],))
    answer = requests.post(f"{URL}/v1/auth/login", json=account, timeout=10)
    token: str = answer.json()["tokens"]["access_token"]
    return token


if DATABASE:
    schemathesis.auth(refresh_interval=None)(Administrator)
