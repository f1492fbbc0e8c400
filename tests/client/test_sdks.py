"""`tokenvend creds` with a real service and engine: shells, and every way in which AWS's SDKs take credentials."""

import functools
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Client

from app.client import commands
from tests.client.conftest import PASSWORD, Terminal, found, printed
from tests.conftest import DevServer
from tests.support import node
from tests.support.documents import ROOT, blocks

HERE = Path(__file__).parent
JS = HERE / "js"
CHINA = HERE.parent / "photos" / "china.jpg"
FOREIGN = f"users/{uuid.uuid4()}/"
SDKS = ("cli", "boto3", "js")

# One worker starts the service and installs the JavaScript SDK for all of them.
pytestmark = [pytest.mark.sampled(5), pytest.mark.xdist_group("client"), pytest.mark.all]


@dataclass(frozen=True)
class User:
    """Somebody registered, who signed in with `tokenvend login`."""

    terminal: Terminal
    service: DevServer
    vended: dict[str, Any]

    @property
    def prefix(self) -> str:
        prefix: str = self.vended["prefix"]
        return prefix

    @property
    def place(self) -> dict[str, str]:
        """Where S3 is: the SDKs' own variables, without credentials."""
        return {"AWS_REGION": self.vended["region"], "AWS_ENDPOINT_URL_S3": self.vended["endpoint_url"]}

    def probe(self, sdk: str, request: pytest.FixtureRequest) -> list[str]:
        command = {
            "cli": ["sh", str(HERE / "probe.sh")],
            "boto3": [sys.executable, str(HERE / "probe.py")],
            "js": ["node", str(JS / "probe.js")],
        }[sdk]
        if sdk == "js":
            request.getfixturevalue("javascript")
        return [*command, self.vended["bucket"], self.prefix, FOREIGN]

    def proves(self, sdk: str, done: "subprocess.CompletedProcess[str]") -> None:
        """It put an object, saw it under its own prefix, and was denied another's."""
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"own": [f"{self.prefix}by-{sdk}"], "foreign": "AccessDenied"}


@pytest.fixture
def user(dev_server: DevServer, terminal: Terminal) -> User:
    email = f"{uuid.uuid4()}@example.org"
    with Client(base_url=dev_server.url, timeout=30) as http:
        answer = http.post("/v1/users", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
    terminal.log_in(dev_server.url, email)
    done = terminal.tokenvend("creds", "--format", "json")
    assert done.returncode == 0, done.stderr
    return User(terminal, dev_server, json.loads(done.stdout))


@pytest.fixture(scope="session")
def javascript() -> None:
    """AWS's SDK for JavaScript."""
    node.install(JS)


class TestShells:
    @pytest.mark.parametrize(
        ("shell", "load"),
        [
            ("bash", 'eval "$(tokenvend creds --format env)"'),
            ("dash", 'eval "$(tokenvend creds --format env)"'),
            ("fish", "tokenvend creds --format fish | source"),
        ],
    )
    def test_evaluate_credentials_for_the_aws_cli(
        self, user: User, shell: str, load: str, request: pytest.FixtureRequest
    ) -> None:
        script = f"{load}; {shlex.join(user.probe('cli', request))}"
        user.proves("cli", user.terminal.run(found(shell), "-c", script))

    def test_lists_one_folder_alone_when_asked(self, user: User) -> None:
        script = (
            'eval "$(tokenvend creds --access read --path albums/ --format env)"; '
            f"aws s3api list-objects-v2 --bucket photos --prefix {user.prefix}albums/ && "
            f"aws s3api list-objects-v2 --bucket photos --prefix {user.prefix}"
        )
        done = user.terminal.run(found("bash"), "-c", script)
        assert done.returncode != 0
        assert json.loads(done.stdout)["Prefix"] == f"{user.prefix}albums/"
        assert "(AccessDenied)" in done.stderr


class TestSdks:
    @pytest.mark.parametrize("sdk", SDKS)
    def test_run_credential_process(self, user: User, sdk: str, request: pytest.FixtureRequest) -> None:
        config = user.terminal.home / ".aws" / "config"
        config.parent.mkdir()
        config.write_text(
            "[profile photos]\n"
            "credential_process = tokenvend creds --format process\n"
            f"region = {user.vended['region']}\n"
            f"endpoint_url = {user.vended['endpoint_url']}\n"
        )
        user.proves(sdk, user.terminal.run(*user.probe(sdk, request), AWS_PROFILE="photos"))

    @pytest.mark.parametrize("sdk", SDKS)
    def test_fetch_from_the_container_endpoint(self, user: User, sdk: str, request: pytest.FixtureRequest) -> None:
        variables = user.place | {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{user.service.url}/v1/credentials/container?access=read_write",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": user.terminal.store.get().tokens.access_token,
        }
        user.proves(sdk, user.terminal.run(*user.probe(sdk, request), **variables))

    @pytest.mark.parametrize("sdk", SDKS)
    def test_read_the_token_file(
        self, user: User, sdk: str, request: pytest.FixtureRequest, running: Callable[..., str]
    ) -> None:
        variables = running("creds", "--format", "env", "--token-file", "token")
        script = f"{variables}{shlex.join(user.probe(sdk, request))}"
        user.proves(sdk, user.terminal.run("sh", "-c", script, **user.place))

    @pytest.mark.parametrize("sdk", SDKS)
    def test_ask_the_agent_on_the_loopback(
        self, user: User, sdk: str, request: pytest.FixtureRequest, running: Callable[..., str]
    ) -> None:
        """It says where S3 is, too."""
        script = f"{running('creds', '--format', 'env', '--serve')}{shlex.join(user.probe(sdk, request))}"
        user.proves(sdk, user.terminal.run("sh", "-c", script))

    def test_go_on_when_the_token_file_is_renewed(
        self, user: User, request: pytest.FixtureRequest, running: Callable[..., str]
    ) -> None:
        """Looks as often as the command would, over a session that comes of age."""
        file = user.terminal.home / "token"
        before = user.terminal.age(left=commands.MIN_LEFT_IN_FILE - 1)
        looks = iter([False, True])
        commands.keep_fresh(user.terminal.store, file, before, ended=lambda _: next(looks))
        assert file.read_text() not in ("", before.tokens.access_token)
        variables = running("creds", "--format", "env", "--token-file", str(file))
        script = f"{variables}{shlex.join(user.probe('boto3', request))}"
        user.proves("boto3", user.terminal.run("sh", "-c", script, **user.place))

    def test_read_the_section_of_a_credentials_file(self, user: User, request: pytest.FixtureRequest) -> None:
        done = user.terminal.run("sh", "-c", "mkdir .aws && tokenvend creds --format profile > .aws/credentials")
        assert done.returncode == 0, done.stderr
        for sdk in ("boto3", "js"):
            answer = user.terminal.run(*user.probe(sdk, request), AWS_PROFILE="tokenvend", **user.place)
            assert json.loads(answer.stdout)["foreign"] == "AccessDenied", answer.stderr


class TestRclone:
    def test_copies_lists_and_deletes_with_the_printed_section(self, user: User) -> None:
        """Without `no_check_bucket` it tries to make the bucket, and stops."""
        place = f"tokenvend:photos/{user.prefix}"
        script = (
            "tokenvend creds --format rclone > rclone.conf; export RCLONE_CONFIG=$PWD/rclone.conf; "
            f"rclone copyto {CHINA} {place}by-rclone.jpg && rclone lsf {place} && "
            f"rclone cat {place}by-rclone.jpg | cmp - {CHINA} && "
            f"rclone deletefile {place}by-rclone.jpg && rclone lsf {place.removesuffix('/')}"
        )
        found("rclone")
        done = user.terminal.run(found("bash"), "-c", script)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines().count("by-rclone.jpg") == 1


class TestRestic:
    def test_backs_up_with_keys_of_the_agent(self, user: User) -> None:
        """Its own client for S3 knows neither token file nor command. It makes no repository there: rclone does."""
        found("restic")
        found("rclone")
        remote, place = f"rclone:tokenvend:photos/{user.prefix}backup", f"photos/{user.prefix}backup"
        script = (
            "tokenvend creds --format rclone > rclone.conf; export RCLONE_CONFIG=$PWD/rclone.conf RESTIC_PASSWORD=x; "
            f"restic -q -r {remote} init && "
            'eval "$(tokenvend creds --serve --format env &)" && '
            f'repository="s3:$AWS_ENDPOINT_URL_S3/{place}" && '
            f'restic -q -r "$repository" backup {CHINA} && restic -q -r "$repository" check && '
            f'restic -q -r "$repository" dump latest {CHINA} | cmp - {CHINA}; '
            'status=$?; kill "$CREDS_AGENT_PID"; exit $status'
        )
        done = user.terminal.run(found("bash"), "-c", script)
        assert done.returncode == 0, done.stderr
        assert "AccessDenied" not in done.stderr


@pytest.fixture
def running(user: User) -> Iterator[Callable[..., str]]:
    """Starts a command that stays, and gives what it printed; it must end with 0 when it is interrupted."""
    processes = []

    def start(*arguments: str) -> str:
        process = user.terminal.start("tokenvend", *arguments)
        processes.append(process)
        return printed(process)

    yield start
    for process in processes:
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=60)
        assert (process.returncode, complaints) == (0, "")


class TestDocuments:
    """What docs/app/shell.md shows, with this user's service, address and prefix, and the password from a pipe."""

    @pytest.fixture
    def shown(self, user: User) -> Callable[[str], str]:
        def find(text: str) -> str:
            (code,) = [block.code for block in blocks(ROOT / "docs" / "app" / "shell.md") if text in block.code]
            here = {
                "http://127.0.0.1:8000": user.service.url,
                "http://127.0.0.1:8333": user.vended["endpoint_url"],
                "ada@example.org": f"{user.terminal.store.get().email} --password-stdin",
                "users/4fa0…/": user.prefix,
            }
            return functools.reduce(lambda text, each: text.replace(*each), here.items(), code)

        return find

    def test_sign_in_and_list(self, user: User, shown: Callable[[str], str]) -> None:
        code = shown("tokenvend login").replace("aws s3 ls", f"aws s3 cp {CHINA} s3://photos/{user.prefix}; aws s3 ls")
        assert user.terminal.tokenvend("logout").returncode == 0
        done = user.terminal.run(found("bash"), "-euc", code, stdin=f"{PASSWORD}\n")
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(f" {CHINA.name}\n")

    def test_a_profile_has_credentials(
        self, user: User, shown: Callable[[str], str], request: pytest.FixtureRequest
    ) -> None:
        config = user.terminal.home / ".aws" / "config"
        config.parent.mkdir()
        config.write_text(shown("credential_process"))
        user.proves("cli", user.terminal.run(*user.probe("cli", request), AWS_PROFILE="photos"))

    def test_an_agent_answers(self, user: User, shown: Callable[[str], str], request: pytest.FixtureRequest) -> None:
        """The agent's first parent is gone at once; the shell ends it."""
        stop = 'kill "$CREDS_AGENT_PID"'
        script = f"{shown('creds --serve')}{shlex.join(user.probe('boto3', request))}; {stop}"
        user.proves("boto3", user.terminal.run("sh", "-c", script))

    def test_rclone_uses_the_profile(self, user: User, shown: Callable[[str], str]) -> None:
        for file, text in ((".aws/config", "credential_process"), (".config/rclone/rclone.conf", "no_check_bucket")):
            path = user.terminal.home / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(shown(text))
        key = f"photos:photos/{user.prefix}from-rclone.jpg"
        done = user.terminal.run(found("rclone"), "copyto", CHINA, key)
        assert done.returncode == 0, done.stderr
        names = user.terminal.run("rclone", "lsf", f"photos:photos/{user.prefix}").stdout.splitlines()
        assert "from-rclone.jpg" in names

    def test_a_token_file_is_kept(
        self, user: User, shown: Callable[[str], str], request: pytest.FixtureRequest
    ) -> None:
        script = f"{shown('--token-file')}\n{shlex.join(user.probe('cli', request))}"
        process = subprocess.Popen(
            [found("bash"), "-c", script],
            env=user.terminal.environment | user.place,
            cwd=user.terminal.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=60)
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # with the shell, the command that keeps the file
        user.proves("cli", subprocess.CompletedProcess(script, process.returncode, output, ""))
        assert (user.terminal.home / ".photos-token").read_text()


class TestSession:
    def test_survives_twenty_runs_at_once_with_an_expired_token(self, user: User) -> None:
        user.terminal.age()
        with ThreadPoolExecutor(20) as pool:
            runs = list(pool.map(lambda _: user.terminal.tokenvend("creds", "--format", "process"), range(20)))
        assert [done.stderr for done in runs] == [""] * 20
        assert len({json.loads(done.stdout)["AccessKeyId"] for done in runs}) == 1
        user.terminal.age()
        assert user.terminal.tokenvend("creds", "--format", "process").returncode == 0
        assert refresh_tokens(user) == 3

    def test_ends_at_the_service_with_logout(self, user: User) -> None:
        token = user.terminal.store.get().tokens.access_token
        headers = {"Authorization": f"Bearer {token}"}
        with Client(base_url=user.service.url, headers=headers, timeout=30) as http:
            [device] = http.get("/v1/me/sessions").json()["items"]
            assert device["device_name"].startswith("tokenvend on ")
            assert user.terminal.tokenvend("logout").returncode == 0
            assert http.get("/v1/me").status_code == 401
        assert not user.terminal.session_file.exists()


def refresh_tokens(user: User) -> int:
    """How many the user's one session has had: the first, and one for each renewal."""
    with closing(sqlite3.connect(f"file:{user.service.data_dir / 'tokenvend.db'}?mode=ro", uri=True)) as database:
        query = (
            "SELECT count(*) FROM refresh_tokens JOIN sessions ON sessions.id = session_id "
            "JOIN users ON users.id = user_id WHERE email = ?"
        )
        (count,) = database.execute(query, (user.terminal.store.get().email,)).fetchone()
    return int(count)
