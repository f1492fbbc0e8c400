"""The operator's acts on users, `--json`, `--version` and completion, as a shell runs them."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from app.records.migrate import upgrade
from tests.support.commands import tokenvend
from tests.support.service import PASSWORD, ROLE_ARN, SECRET_KEY

pytestmark = [pytest.mark.all, pytest.mark.sampled(3)]

ROOT, ADA, BOB = "root@example.org", "ada@example.org", "bob@example.org"


class Host:
    """A host of the service, with its settings and its database."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.url = f"sqlite:///{directory / 'cli.db'}"
        self.environment = {
            "PATH": os.environ["PATH"],
            "TOKENVEND_DATABASE_URL": self.url,
            "TOKENVEND_SECRET_KEY": SECRET_KEY,
            "TOKENVEND_BUCKET": "photos",
            "TOKENVEND_ROLE_ARN": ROLE_ARN,
            "AWS_EC2_METADATA_DISABLED": "true",
            **settings,
        }
        upgrade(self.url)

    def run(self, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        done = tokenvend(*arguments, environment=self.environment, cwd=self.directory, stdin=stdin)
        return done.returncode, done.stdout, done.stderr

    def create(self, email: str, *options: str) -> tuple[int, str, str]:
        return self.run("admin", "create", "--email", email, "--password-stdin", *options, stdin=f"{PASSWORD}\n")

    def rows(self, statement: str) -> list[Any]:
        engine = create_engine(self.url)
        try:
            with engine.begin() as connection:
                result = connection.execute(text(statement))
                return list(result) if result.returns_rows else []
        finally:
            engine.dispose()

    def users(self, *options: str) -> dict[str, dict[str, Any]]:
        return {user["email"]: user for user in json.loads(self.run("users", "list", "--json", *options)[1])}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    for email in (ROOT, ADA):
        assert host.create(email)[0] == 0
    host.rows(f"UPDATE users SET role = 'user' WHERE email = '{ADA}'")
    return host


class TestActs:
    def test_keep_a_user_out_and_let_them_in_with_an_audit_row_each(self, host: Host) -> None:
        assert host.run("users", "disable", ADA, "--reason", "left the firm") == (
            *(0, f"{ADA} is disabled, and signed out everywhere.\n"),
            "",
        )
        assert host.users()[ADA]["status"] == "disabled"
        assert host.run("users", "enable", ADA, "--reason", "is back")[0] == 0
        assert host.users("--status", "active").keys() == {ROOT, ADA}
        written = host.rows(
            "SELECT event, actor_id, address, detail FROM audit_events WHERE event LIKE 'user.%abled' ORDER BY id"
        )
        assert [(row.event, row.actor_id, row.address) for row in written] == [
            ("user.disabled", None, "command line"),
            ("user.enabled", None, "command line"),
        ]
        assert "left the firm" in written[0].detail

    def test_hold_the_last_administrator(self, host: Host) -> None:
        status, _, said = host.run("users", "disable", ROOT, "--reason", "by mistake")
        assert (status, "administrator" in said) == (1, True)
        assert host.users()[ROOT]["status"] == "active"
        assert host.rows("SELECT outcome FROM audit_events WHERE event = 'user.disabled'")[0].outcome == "refused"
        assert host.run("users", "promote", ADA, "--reason", "the second one")[0] == 0
        assert host.run("users", "disable", ROOT, "--reason", "on purpose")[0] == 0

    def test_need_a_reason_and_a_user(self, host: Host) -> None:
        assert host.run("users", "disable", ADA)[0] == 2
        assert host.run("users", "disable", ADA, "--reason", "\x1b[2J")[0] == 2
        unknown = host.run("users", "promote", BOB, "--reason", "?")
        assert unknown == (1, "", "No account has this e-mail address.\n")


class TestPromotion:
    def test_by_create_is_offered_and_keeps_the_password(self, host: Host) -> None:
        before = host.rows(f"SELECT password_hash FROM users WHERE email = '{ADA}'")
        status, _, said = host.create(ADA)
        assert (status, "`--promote` makes it an administrator" in said) == (1, True)
        assert host.users()[ADA]["role"] == "user"
        status, said, _ = host.create(ADA, "--promote")
        assert (status, said.startswith(f"{ADA} is an administrator now")) == (0, True)
        assert host.users()[ADA]["role"] == "admin"
        assert host.rows(f"SELECT password_hash FROM users WHERE email = '{ADA}'") == before
        (row,) = host.rows("SELECT detail FROM audit_events WHERE event = 'user.role_changed'")
        assert json.loads(row.detail) == {
            "reason": "admin create --promote",
            "former_role": "user",
            "role": "admin",
        }

    def test_refuses_an_address_that_somebody_else_may_have_registered(self, tmp_path: Path) -> None:
        host = Host(tmp_path, TOKENVEND_EMAIL_VERIFICATION="required")
        host.create(ADA)
        host.rows("UPDATE users SET role = 'user', email_verified_at = NULL")
        status, _, said = host.create(ADA, "--promote")
        assert (status, "not verified" in said) == (1, True)
        assert host.users()[ADA]["role"] == "user"


class TestJson:
    def test_of_each_table_is_read_by_a_program(self, host: Host) -> None:
        assert host.run("keys", "rotate")[0] == 0
        (key,) = json.loads(host.run("keys", "list", "--json")[1])
        assert (key["state"], key["believed_until"]) == ("signing", None)
        assert {row["count"] for row in json.loads(host.run("prune", "--dry-run", "--json")[1])} == {0}
        host.environment["TOKENVEND_STS_ENDPOINT_URL"] = "http://127.0.0.1:1"
        status, printed, _ = host.run("doctor", "--json")
        found = {finding["name"]: finding for finding in json.loads(printed)}
        assert (status, found["database"]["state"], found["base credentials"]["state"]) == (1, "ok", "failed")
        assert found["base credentials"]["repair"]
        (host.directory / "some.csv").write_text("email\nbob@example.org\n,\n")
        status, printed, _ = host.run("users", "import", "some.csv", "--json")
        done = json.loads(printed)
        assert (status, done["created"], done["refused"]) == (3, 1, 1)
        assert [problem["code"] for problem in done["problems"]] == ["no_password", "misfit_row"]

    def test_lists_as_many_users_as_are_wanted(self, host: Host) -> None:
        assert len(host.users("--limit", "1")) == 1
        assert host.users("--query", "ada").keys() == {ADA}
        status, printed, said = host.run("users", "list", "--limit", "1")
        assert (status, len(printed.splitlines()), "and more" in said) == (0, 1, True)


class TestShell:
    def test_version(self, tmp_path: Path) -> None:
        done = tokenvend("--version", environment={"PATH": os.environ["PATH"]}, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, f"tokenvend {version('tokenvend')}\n")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_completes_commands(self, shell: str, tmp_path: Path) -> None:
        asked = {
            "PATH": os.environ["PATH"],
            "_TOKENVEND_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": "tokenvend users dis",
            "COMP_CWORD": "2",
            "_TYPER_COMPLETE_ARGS": "tokenvend users dis",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
        done = tokenvend(environment=asked, cwd=tmp_path)
        assert "disable" in done.stdout
        assert "enable" not in done.stdout.replace("disable", "")

    def test_prints_the_completion_of_a_shell(self, tmp_path: Path) -> None:
        program = Path(sys.executable).with_name("tokenvend")
        script = f'eval "$({program} --show-completion)"; complete -p tokenvend'
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "SHELL": "/bin/bash"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "_tokenvend_completion" in done.stdout, done.stderr
