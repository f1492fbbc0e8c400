"""Hashes that other systems made of four passwords: imported by the command, signed in with, argon2id afterwards."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from app.accounts import passwords
from app.crypto import password_hashes
from tests.security.observed import assert_problem
from tests.support.commands import tokenvend
from tests.support.service import SECRET_KEY, Service
from tests.systems import made, page
from tests.systems.made import KEY, PASSWORDS, System

MAKERS: dict[str, Callable[[], list[System]]] = {
    "Python": lambda: made.by_python("libraries", "3.11"),
    "Django": lambda: made.by_python("django", "3.12"),
    "Node": made.by_node,
    "PHP": made.by_php,
    "Ruby": made.by_ruby,
}


@pytest.mark.long
@pytest.mark.parametrize("maker", MAKERS)
def test_users_of_each_sign_in(service: Service, database_url: str, tmp_path: Path, maker: str) -> None:
    """AU6, AU2"""
    systems = MAKERS[maker]()
    assert systems
    came = [(system, sign_in(service, database_url, tmp_path, system)) for system in systems]
    if page.TOLD_TO in os.environ:
        for system, signed_in in came:
            page.keep(system, signed_in)
    assert [(system.system, name) for system, each in came for name, right in each.items() if not right] == []


@pytest.mark.all
def test_users_of_what_is_near_sign_in(service: Service, database_url: str, tmp_path: Path) -> None:
    """A slice of it, by the packages that these tests have anyway."""
    for system in made.by_this_python():
        assert sign_in(service, database_url, tmp_path, system) == dict.fromkeys(PASSWORDS, True), system.system


def sign_in(service: Service, database_url: str, directory: Path, system: System) -> dict[str, bool]:
    """For each password that the system took: whether it signs in, and another one does not."""
    hashes = {name: text for name, text in system.hashes.items() if text is not None}
    addresses = {name: f"{name.replace(' ', '-')}.{abs(hash(system.system))}@example.org" for name in hashes}
    rows = [{"email": addresses[name], "password_hash": text} for name, text in hashes.items()]
    done = _import(database_url, directory, rows, system)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout == f"{len(rows)} rows: {len(rows)} imported, 0 existing, 0 refused\n", system.system
    return {name: _gets_in(service, addresses[name], PASSWORDS[name]) for name in hashes}


def _import(
    database_url: str, directory: Path, rows: list[dict[str, str]], system: System
) -> "subprocess.CompletedProcess[str]":
    file, options = directory / "users.ndjson", []
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    environment = {"TOKENVEND_DATABASE_URL": database_url, "TOKENVEND_SECRET_KEY": SECRET_KEY}
    if system.prehash:
        options = ["--prehash", system.prehash]
        if system.prehash != "meteor":
            environment["PREHASH_KEY"] = KEY
    return tokenvend("users", "import", str(file), *options, environment=environment, cwd=directory)


def _gets_in(service: Service, email: str, password: str) -> bool:
    assert_problem(service.log_in(email, f"not {password}"), 401, "invalid_login")
    if service.log_in(email, password).status_code != 200:
        return False
    ((stored,),) = service.sql("SELECT password_hash FROM users WHERE email = :email", email=email)
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    return service.log_in(email, password).status_code == 200


@pytest.fixture(autouse=True)
def real_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "PASSWORD_CONTEXT", password_hashes.PASSWORD_CONTEXT)
