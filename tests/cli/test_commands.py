"""The command line, as an operator runs it: processes, exit status, what is printed."""

import json
import os
import sys
from pathlib import Path

import pytest
import uvicorn

from app.cli import commands, serving
from tests.support.canned_sts import CannedSts
from tests.support.commands import tokenvend
from tests.support.service import ROLE_ARN, SECRET_KEY

pytestmark = pytest.mark.all


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "TOKENVEND_DATABASE_URL": f"sqlite:///{tmp_path / 'cli.db'}",
        "TOKENVEND_SECRET_KEY": SECRET_KEY,
        "TOKENVEND_BUCKET": "photos",
        "TOKENVEND_ROLE_ARN": ROLE_ARN,
        "AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class TestCommands:
    def test_openapi_needs_no_settings(self, tmp_path: Path) -> None:
        done = tokenvend("openapi", environment={"PATH": os.environ["PATH"]}, cwd=tmp_path)
        document = json.loads(done.stdout)
        assert document["paths"]["/v1/credentials"]["post"]["operationId"] == "issue_credentials"
        assert done.returncode == 0
        assert list(tmp_path.iterdir()) == []

    def test_openapi_writes_a_file(self, tmp_path: Path) -> None:
        done = tokenvend("openapi", "api.json", environment={"PATH": os.environ["PATH"]}, cwd=tmp_path)
        assert done.returncode == 0
        assert json.loads((tmp_path / "api.json").read_text())["openapi"].startswith("3.1")

    def test_a_wrong_option_is_a_usage_error(self, tmp_path: Path, environment: dict[str, str]) -> None:
        assert tokenvend("serve", "--prot", "1", environment=environment, cwd=tmp_path).returncode == 2

    def test_a_wrong_setting_is_one_sentence(self, tmp_path: Path, environment: dict[str, str]) -> None:
        done = tokenvend("doctor", environment=environment | {"TOKENVEND_BUCKET": "*"}, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("TOKENVEND_BUCKET: must be the name of a bucket")
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize("command", ["doctor", "serve"])
    def test_a_directory_bucket_is_refused(self, tmp_path: Path, environment: dict[str, str], command: str) -> None:
        """S3 Express makes keys of its own from a credential, which know no prefix."""
        bucket = {"TOKENVEND_BUCKET": "photos--usw2-az1--x-s3"}
        done = tokenvend(command, environment=environment | bucket, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith("TOKENVEND_BUCKET: must be no directory bucket")

    def test_migrate_twice_then_an_administrator_then_keys(self, tmp_path: Path, environment: dict[str, str]) -> None:
        for _ in range(2):
            assert tokenvend("migrate", environment=environment, cwd=tmp_path).returncode == 0
        create = ("admin", "create", "--email", "root@example.org", "--password-stdin")
        weak = tokenvend(*create, environment=environment, cwd=tmp_path, stdin="password\n")
        assert (weak.returncode, weak.stdout) == (1, "")
        assert "attackers" in weak.stderr
        made = tokenvend(*create, environment=environment, cwd=tmp_path, stdin="violet tractor moonlight\n")
        assert made.returncode == 0, made.stderr
        assert made.stdout.startswith("root@example.org is an administrator now")
        again = tokenvend(*create, environment=environment, cwd=tmp_path, stdin="violet tractor moonlight\n")
        assert (again.returncode, "exists" in again.stderr) == (1, True)

        unlock = ("users", "unlock", "root@example.org", "--reason", "asked for by phone")
        assert tokenvend(*unlock, environment=environment, cwd=tmp_path).stdout.endswith(
            "is not locked out any more.\n"
        )
        unknown = tokenvend(
            "users", "unlock", "nobody@example.org", "--reason", "?", environment=environment, cwd=tmp_path
        )
        assert (unknown.returncode, unknown.stderr) == (1, "No account has this e-mail address.\n")

        first = tokenvend("keys", "rotate", environment=environment, cwd=tmp_path)
        assert first.returncode == 0, first.stderr
        second = tokenvend("keys", "rotate", environment=environment, cwd=tmp_path)
        assert second.returncode == 0, second.stderr
        states = [
            line.split()[1]
            for line in tokenvend("keys", "list", environment=environment, cwd=tmp_path).stdout.splitlines()
        ]
        assert states == ["signing", "published"]
        assert tokenvend("keys", "rotate", "--now", environment=environment, cwd=tmp_path).returncode == 0
        listed = tokenvend("keys", "list", environment=environment, cwd=tmp_path).stdout.splitlines()
        assert [line.split()[1] for line in listed] == ["retired", "retired", "signing"]

    @pytest.mark.parametrize("command", [("migrate",), ("keys", "list")])
    def test_a_database_that_does_not_answer_is_one_sentence(
        self, tmp_path: Path, environment: dict[str, str], command: tuple[str, ...]
    ) -> None:
        unreachable = environment | {"TOKENVEND_DATABASE_URL": "postgresql+psycopg://u:hunter2@127.0.0.1:1/d"}
        done = tokenvend(*command, environment=unreachable, cwd=tmp_path)
        assert done.returncode == 1
        assert "cannot reach its database" in done.stderr
        assert "hunter2" not in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_stale_profile_is_one_sentence(self, tmp_path: Path, environment: dict[str, str]) -> None:
        done = tokenvend("doctor", environment=environment | {"AWS_PROFILE": "nope"}, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (1, "AWS: The config profile (nope) could not be found\n")

    def test_serve_says_what_is_not_set(self, tmp_path: Path) -> None:
        done = tokenvend("serve", environment={"PATH": os.environ["PATH"]}, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "TOKENVEND_BUCKET: must be set; `tokenvend dev` brings its own",
            "TOKENVEND_ROLE_ARN: must be set; `tokenvend dev` brings its own",
        ]

    def test_serve_says_all_that_is_wrong_at_once(self, tmp_path: Path) -> None:
        environment = {"PATH": os.environ["PATH"], "TOKENVEND_DATABASE_URL": "mysql://u:hunter2@db/d"}
        done = tokenvend("serve", environment=environment, cwd=tmp_path)
        names = [line.partition(":")[0] for line in done.stderr.splitlines()]
        assert names == ["TOKENVEND_DATABASE_URL", "TOKENVEND_BUCKET", "TOKENVEND_ROLE_ARN"]
        assert "hunter2" not in done.stderr


class TestWrongFolder:
    def test_of_a_command_leaves_nothing_there(self, tmp_path: Path, environment: dict[str, str]) -> None:
        """A new key, or an empty database, would look like the service's own."""
        del environment["TOKENVEND_SECRET_KEY"]
        database = tmp_path / "cli.db"
        wrong = tmp_path / "wrong"
        wrong.mkdir()
        create = ("admin", "create", "--email", "root@example.org", "--password-stdin")
        for command in (create, ("migrate",), ("keys", "list"), ("prune",), ("doctor",)):
            unset = {name: value for name, value in environment.items() if name != "TOKENVEND_DATABASE_URL"}
            done = tokenvend(*command, environment=unset, cwd=wrong, stdin="violet tractor moonlight\n")
            assert done.returncode == 1, done.stdout
            assert f"{wrong}/var" in done.stderr or "no database at var/tokenvend.db" in done.stdout
        assert list(wrong.iterdir()) == []
        assert tokenvend("migrate", environment=environment, cwd=wrong).returncode == 0
        made = tokenvend(*create, environment=environment, cwd=wrong, stdin="violet tractor moonlight\n")
        assert made.returncode == 0, made.stderr  # needs no secret key
        done = tokenvend("keys", "rotate", environment=environment, cwd=wrong)
        assert (done.returncode, done.stderr.startswith("TOKENVEND_SECRET_KEY is not set")) == (1, True)
        assert list(wrong.iterdir()) == []
        assert database.is_file()


class TestServe:
    def test_keeps_idle_connections_as_long_as_is_set(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Longer than the load balancer in front: an ALB keeps them for up to 4,000 s."""
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("TOKENVEND_BUCKET", "photos")
        monkeypatch.setenv("TOKENVEND_ROLE_ARN", ROLE_ARN)
        monkeypatch.setenv("TOKENVEND_DATABASE_URL", "sqlite:///here.db")
        Path("here.db").touch()
        started: list[uvicorn.Config] = []
        monkeypatch.setattr(serving.server, "run", lambda config, **_others: started.append(config))
        monkeypatch.setattr(serving, "configure_logging", lambda _level: None)
        for seconds in (None, "4060"):
            if seconds is not None:
                monkeypatch.setenv("TOKENVEND_KEEP_ALIVE", seconds)
            serving.serve(host="127.0.0.1", port=8000, workers=1, mfa_code=None)
        assert [config.timeout_keep_alive for config in started] == [620, 4060]

    @pytest.mark.parametrize(
        ("given", "read"),
        [
            ("", {}),
            ("--host 0.0.0.0 --port 65535", {"host": "0.0.0.0", "port": 65535}),
            ("--workers=64 --mfa-code 123456", {"workers": 64, "mfa_code": "123456"}),
            *[(wrong, None) for wrong in ("--workers 0", "--workers 65", "--port 0", "--port 65536", "--port x")],
            *[(wrong, None) for wrong in ("--help", "-h", "--work 2", "--host", "here", "--port 1 --prot 2")],
        ],
    )
    def test_is_read_without_the_other_commands_unless_they_have_to_explain(
        self, given: str, read: dict[str, object] | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And they would read the same."""
        seen: list[object] = []
        monkeypatch.setattr(sys, "argv", ["tokenvend", "serve", *given.split()])
        monkeypatch.setattr(serving, "serve", lambda *args, **options: seen.append((args, options)))
        monkeypatch.setattr(commands, "main", lambda: seen.append("commands"))
        serving.main()
        assert seen == ["commands" if read is None else ((), read)]
        if read is None:
            with pytest.raises(SystemExit) as ended:
                commands.cli(["serve", *given.split()])
            assert ended.value.code == (0 if given == "--help" else 2)
        else:
            commands.cli(["serve", *given.split()], standalone_mode=False)
            defaults: dict[str, object] = {"host": "127.0.0.1", "port": 8000, "workers": 1, "mfa_code": None}
            assert seen[1] == (tuple({**defaults, **read}.values()), {})


class TestDoctor:
    def test_says_what_to_mend_first(self, tmp_path: Path, environment: dict[str, str]) -> None:
        done = tokenvend("doctor", environment=environment, cwd=tmp_path)
        assert done.returncode == 1
        assert f"database: there is no database at {tmp_path / 'cli.db'}; run `tokenvend migrate`" in done.stdout
        (tmp_path / "cli.db").touch()
        done = tokenvend("doctor", environment=environment, cwd=tmp_path)
        assert "migrations: the database is not at this version's migration; run `tokenvend migrate`" in done.stdout

    def test_of_nothing_set_files_it_under_settings_and_makes_no_file(self, tmp_path: Path) -> None:
        environment = {"PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true"}
        done = tokenvend("doctor", environment=environment, cwd=tmp_path)
        assert done.returncode == 1
        assert "failed  settings: TOKENVEND_BUCKET: must be set" in done.stdout
        assert "base credentials" not in done.stdout
        assert list(tmp_path.iterdir()) == []

    def test_names_the_refusal_of_a_vend(self, tmp_path: Path, environment: dict[str, str]) -> None:
        sts = CannedSts()
        try:
            environment = environment | {"TOKENVEND_STS_ENDPOINT_URL": sts.url}
            tokenvend("migrate", environment=environment, cwd=tmp_path)
            sts.answer_only("GetCallerIdentity")
            done = tokenvend("doctor", environment=environment, cwd=tmp_path)
        finally:
            sts.close()
        assert done.returncode == 1
        assert "ok      base credentials: arn:aws:sts::123456789012:assumed-role/service/i-1" in done.stdout
        assert "failed  trust policy: AccessDenied; the role's trust policy must allow" in done.stdout

    def test_says_that_s3_is_not_there(self, tmp_path: Path, environment: dict[str, str]) -> None:
        sts = CannedSts()
        try:
            environment = environment | {
                "TOKENVEND_STS_ENDPOINT_URL": sts.url,
                "TOKENVEND_S3_ENDPOINT_URL": "http://127.0.0.1:1",
            }
            tokenvend("migrate", environment=environment, cwd=tmp_path)
            done = tokenvend("doctor", environment=environment, cwd=tmp_path)
        finally:
            sts.close()
        assert done.returncode == 1
        assert "failed  S3: EndpointConnectionError; check TOKENVEND_S3_ENDPOINT_URL" in done.stdout
        assert "Traceback" not in done.stderr
