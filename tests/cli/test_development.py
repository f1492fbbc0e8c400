"""`tokenvend dev` with settings of the operator's, for clients on other origins and devices, in an odd environment."""

import html
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
import urllib3
from botocore.config import Config

from app.cli import development
from app.engine import directory as engine_directory
from app.pages.starting import Row
from tests.conftest import DevServer
from tests.support.commands import tokenvend
from tests.support.engine import eventually
from tests.support.service import test_settings

pytestmark = [pytest.mark.all, pytest.mark.sampled(3)]

COMMAND = str(Path(sys.executable).with_name("tokenvend"))
PAGES = ("http://localhost:5173", "capacitor://localhost")
ODD = "feature%2Fupload 100%25 done?#"
"""Part of a path as Jenkins and people name folders: no part of a URL."""


@dataclass
class Stack:
    url: str
    engine_url: str
    data_dir: Path
    said: Path
    """What it printed besides."""
    banner: list[str]
    process: "subprocess.Popen[str]"
    wanted: int = 0
    """The engine's port, which somebody else has."""

    @property
    def port(self) -> str:
        return self.url.rpartition(":")[2]

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> urllib3.BaseHTTPResponse:
        return urllib3.request(method, self.url + path, json=body, headers=headers, retries=False, timeout=20)

    def vend(self, **headers: str) -> dict[str, Any]:
        tokens = self.ask("POST", "/v1/auth/guest", {}, **headers).json()["tokens"]
        headers["Authorization"] = f"Bearer {tokens['access_token']}"
        answer = self.ask("POST", "/v1/credentials", {}, **headers)
        assert answer.status == 200, answer.data
        vended: dict[str, Any] = answer.json()
        return vended


@contextmanager
def running(directory: Path, *arguments: str, **settings: str) -> Iterator[Stack]:
    """In an environment with a corporate proxy, and nothing that spares this machine from it."""
    outside = ("TOKENVEND_", "AWS_", "no_proxy", "NO_PROXY")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
    environment |= dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9")
    environment |= {"TOKENVEND_RATE_LIMITS": "off", **settings}
    data_dir, said = directory / ODD / "var", directory / "said"
    with said.open("w") as stderr:
        process = subprocess.Popen(
            [COMMAND, "dev", "--port", "0", "--data-dir", str(data_dir), *arguments],
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    try:
        ready = process.stdout.readline().split()
        assert ready[:1] == ["ready"], said.read_text()[-4000:]
        banner = [process.stdout.readline().rstrip("\n") for _ in range(9)]
        (engine_url,) = re.findall(r"S3 and STS +(\S+), bucket photos", "\n".join(banner))
        yield Stack(ready[1], engine_url, data_dir, said, banner, process)
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {
        "TOKENVEND_CORS_ORIGINS": ",".join(PAGES),
        "TOKENVEND_ALLOWED_HOSTS": "photos.test",
        "TOKENVEND_BUCKET": "elsewhere",
        "TOKENVEND_ENVIRONMENT": "production",
        "AWS_REGION": "eu-central-1",
    }
    wanted, directory = engine_directory._free_block(), tmp_path_factory.mktemp("dev")
    with (
        socket.create_server(("127.0.0.1", wanted)),
        running(directory, "--engine-port", str(wanted), **settings) as stack,
    ):
        stack.wanted = wanted
        yield stack


class TestOnThisMachine:
    def test_no_proxy_is_asked_for_the_engine(self, stack: Stack) -> None:
        assert stack.ask("GET", "/readyz").status == 200
        assert stack.vend()["endpoint_url"] == stack.engine_url

    @pytest.mark.parametrize("page", PAGES)
    def test_pages_of_the_setting_may_call_service_and_engine(self, stack: Stack, page: str) -> None:
        asked = {"Origin": page, "Access-Control-Request-Method": "POST"}
        for url in (f"{stack.url}/v1/credentials", f"{stack.engine_url}/photos/users/"):
            answer = urllib3.request("OPTIONS", url, headers=asked)
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, page)
        assert stack.ask("OPTIONS", "/v1/me", **(asked | {"Origin": stack.url})).status == 200
        assert stack.ask("OPTIONS", "/v1/me", **(asked | {"Origin": "https://evil.example"})).status == 400

    def test_hosts_of_the_setting_are_answered_too(self, stack: Stack) -> None:
        allowed = ("photos.test", "localhost", "127.0.0.1", "10.0.2.2")
        for host, status in (*((host, 401) for host in allowed), ("evil.example", 400)):
            assert stack.ask("GET", "/v1/me", Host=host).status == status

    def test_says_which_settings_it_does_not_use(self, stack: Stack) -> None:
        (line,) = [line for line in stack.said.read_text().splitlines() if "ignores these settings" in line]
        assert line.endswith(": AWS_REGION, TOKENVEND_BUCKET, TOKENVEND_ENVIRONMENT")

    def test_keeps_its_data_where_it_was_told(self, stack: Stack) -> None:
        assert (stack.data_dir / "tokenvend.db").is_file()
        assert {entry.name for entry in stack.data_dir.parents[1].iterdir()} == {ODD, "said"}


class TestDoctor:
    """Row 14: whoever runs `make run` sees the proof of isolation without digging for keys."""

    def test_finds_what_runs_and_proves_its_isolation(self, dev_server: DevServer, tmp_path: Path) -> None:
        place, environment = ("--data-dir", str(dev_server.data_dir)), {"PATH": os.environ["PATH"]}
        (tmp_path / "var").symlink_to(dev_server.data_dir)  # as where `make run` was typed
        done = tokenvend("doctor", "--json", environment=environment, cwd=tmp_path)
        found = {finding["name"]: finding["state"] for finding in json.loads(done.stdout)}
        assert done.returncode == 0, done.stdout
        for name in ("database", "keys", "public URL", "own prefix", "foreign prefix", "session token", "CORS"):
            assert found[name] == "ok", done.stdout
        done = tokenvend("dev", "--doctor", *place, environment=environment, cwd=tmp_path)
        assert (done.returncode, "ok      foreign prefix: " in done.stdout) == (0, True)
        done = tokenvend("dev", "--doctor", "--json", *place, environment=environment, cwd=tmp_path)
        assert {"foreign prefix", "CORS"} <= {finding["name"] for finding in json.loads(done.stdout)}
        done = tokenvend("dev", "--json", *place, environment=environment, cwd=tmp_path)
        assert (done.returncode, "--json goes with --doctor" in done.stderr) == (2, True)
        assert [entry.name for entry in tmp_path.iterdir()] == ["var"]
        note = (dev_server.data_dir / "running.json").read_text()
        assert (dev_server.data_dir / "secret_key").read_text() not in note
        assert "secret" not in note

    def test_says_that_nothing_runs(self, tmp_path: Path) -> None:
        done = tokenvend("dev", "--doctor", environment={"PATH": os.environ["PATH"]}, cwd=tmp_path)
        said = f"`tokenvend dev` does not run with the data directory {tmp_path}/var: start it first\n"
        assert (done.returncode, done.stderr) == (1, said)
        assert list(tmp_path.iterdir()) == []


class TestElsewhere:
    def test_an_emulator_reaches_both_by_the_public_host(self, tmp_path: Path) -> None:
        """Android's emulator calls the loopback of its host 10.0.2.2."""
        with running(tmp_path, "--public-host", "10.0.2.2", TOKENVEND_VENDING_MODE="web_identity") as stack:
            host = f"10.0.2.2:{stack.port}"
            rows = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in stack.banner)
            assert rows["emulator"] == f"http://{host} in your app"
            assert rows["phone by USB"].endswith(", without --public-host")
            assert "dev --host 0.0.0.0 " in rows["phone by Wi-Fi"] or " --host 0.0.0.0, then" in rows["phone by Wi-Fi"]
            assert stack.vend(Host=host)["endpoint_url"] == stack.engine_url
            assert stack.engine_url.startswith("http://10.0.2.2:")
            issuer = stack.ask("GET", "/.well-known/openid-configuration").json()["issuer"]
            assert issuer == f"http://{host}"

    def test_a_device_reaches_both_by_the_address_that_it_listens_on(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NO_PROXY", "127.0.0.2")
        url = "https://tunnel.example/tokens"
        with running(tmp_path, "--host", "127.0.0.2", TOKENVEND_PUBLIC_URL=url) as stack:
            assert stack.url.startswith("http://127.0.0.2:")
            issuer = stack.ask("GET", "/.well-known/openid-configuration", Host="tunnel.example").json()["issuer"]
            assert issuer == url
            vended = stack.vend()
            assert vended["endpoint_url"] == stack.engine_url
            assert stack.engine_url.startswith("http://127.0.0.2:")
            s3 = boto3.client(
                "s3",
                region_name=vended["region"],
                endpoint_url=vended["endpoint_url"],
                aws_access_key_id=vended["access_key_id"],
                aws_secret_access_key=vended["secret_access_key"],
                aws_session_token=vended["session_token"],
                config=Config(s3={"addressing_style": "path"}, proxies={}),
            )
            key, picture = f"{vended['prefix']}large.jpg", os.urandom(1_000_000)
            s3.put_object(Bucket=vended["bucket"], Key=key, Body=picture)
            assert s3.get_object(Bucket=vended["bucket"], Key=key)["Body"].read() == picture
            s3.close()
            assert listening(stack, outside_the_loopback=True) == {
                ("127.0.0.2", int(stack.port)),
                ("127.0.0.2", int(stack.engine_url.rpartition(":")[2])),
            }

    def test_every_machine_of_the_network_may_be_let_in(self, tmp_path: Path) -> None:
        """OP7: to the service and S3, and not to the administration, the mails, or the engine's other servers."""
        with running(tmp_path, "--host", "0.0.0.0", "--public-host", "127.0.0.3") as stack:
            assert stack.url == f"http://localhost:{stack.port}"  # where its own people reach all of it
            said = "Other machines may use the service and S3: development has fewer guards than production.\n"
            assert stack.said.read_text() == said
            assert stack.vend()["endpoint_url"] == stack.engine_url
            assert stack.engine_url.startswith("http://127.0.0.3:")
            assert {port for _, port in listening(stack, outside_the_loopback=True)} == {
                int(stack.port),
                int(stack.engine_url.rpartition(":")[2]),
            }
            for path, status in (("/console", 200), ("/v1/admin/users", 401), ("/demo/mailbox", 200)):
                assert stack.ask("GET", path).status == status
                assert stack.ask("GET", path, Via="1.1 relay").status == 403

    def test_what_contradicts_itself_is_refused(self, tmp_path: Path) -> None:
        environment = os.environ | {"TOKENVEND_DEVELOPMENT_REMOTE": "off"}
        command = [COMMAND, "dev", "--port", "0", "--host", "0.0.0.0", "--data-dir", str(tmp_path)]
        refused = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert refused.returncode == 1
        assert refused.stderr.startswith("--host 0.0.0.0 lets other machines in, and TOKENVEND_DEVELOPMENT_REMOTE=off")
        assert not (tmp_path / "engine").exists()

    def test_a_setting_for_the_public_engine_is_honoured(self, tmp_path: Path) -> None:
        url = "https://pictures.example"
        with running(tmp_path, TOKENVEND_S3_PUBLIC_ENDPOINT_URL=f"{url}/") as stack:
            assert (stack.vend()["endpoint_url"], stack.engine_url) == (url, url)


class TestBanner:
    def test_says_all_of_it_in_ten_lines_and_works_as_it_says(self, stack: Stack) -> None:
        said = [tuple(re.split(r"  +", line.strip(), maxsplit=1)) for line in stack.banner]
        rows = {row[0]: row[1] for row in said if len(row) == 2}
        assert stack.url == f"http://localhost:{stack.port}"
        for name, path in (
            ("sample app", "/demo"),
            ("API pages", "/docs"),
            ("console", "/console"),
            ("mail box", "/#mail"),
        ):
            assert rows[name] == stack.url + path
            assert stack.ask("GET", path.partition("#")[0]).status == 200
        ports = [line.split()[-2:] for line in stack.banner if "adb reverse" in line]
        engine_port = stack.engine_url.rpartition(":")[2]
        assert ports == [[f"tcp:{port}"] * 2 for port in (stack.port, engine_port)]
        command, _, then = rows["phone by Wi-Fi"].partition(", then ")
        assert re.fullmatch(rf"http://\S+:{stack.port} in your app", then)
        options = shlex.split(command)[1:]
        data_dir = os.path.relpath(stack.data_dir.resolve(), stack.said.parent)
        assert options == [
            *("dev", "--port", stack.port, "--engine-port", str(stack.wanted), "--data-dir", data_dir),
            *("--host", "0.0.0.0"),
        ]

    @pytest.mark.parametrize(("port", "command"), [(8000, "make run"), (8431, "make run PORT=8431")])
    def test_keeps_the_port_that_make_was_given(self, port: int, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MAKELEVEL", "1")
        again = development._again(port, None, Path("var").resolve())
        assert again == command
        rows = development._devices(development.Place("127.0.0.1", port, "localhost"), 8333, again)
        assert re.fullmatch(rf"{command} HOST=0.0.0.0, then http://\S+:{port} in your app", rows[-1].text)

    def test_tells_an_app_the_address_of_the_network(self) -> None:
        rows = development._devices(development.Place("0.0.0.0", 8000, "192.168.1.5"), 8333, "make run")
        assert rows[-1] == Row("phone by Wi-Fi", "http://192.168.1.5:8000 in your app")

    @pytest.mark.parametrize(("host", "reaches_console"), [("192.168.1.5", False), ("127.0.0.2", True)])
    def test_offers_at_another_address_what_is_reached_there(
        self, host: str, reaches_console: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`adb reverse` and emulators lead to 127.0.0.1. Callers by a network's address get no console and no mails."""
        monkeypatch.delenv("MAKELEVEL", raising=False)
        place = development.Place(host, 8000, host)
        rows = development._start(test_settings(), place, f"http://{host}:8333", 8333, "tokenvend dev").rows()
        assert len(rows) == 9
        assert not [row for row in rows if "adb" in row.text]
        apps, usb, _ = rows[-3:]
        assert apps.text == f"http://{host}:8000 in your app"
        assert usb == Row("USB, emulator", "not at this address: tokenvend dev")
        console = next(row for row in rows if row.name == "console")
        if reaches_console:
            assert console.path == "console"
        else:
            assert console == Row("console", "not at this address: tokenvend dev --host 0.0.0.0", is_open=False)

    def test_names_the_command_that_makes_an_administrator(self, stack: Stack) -> None:
        (line,) = [line for line in stack.banner if "administrator" in line]
        command = line.removeprefix("  administrator").strip().replace("you@example.org", "boss@example.org")
        made = subprocess.run(
            [*shlex.split(command), "--password-stdin"], input="violet tractor moonlight\n", cwd=stack.said.parent,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert "boss@example.org is an administrator now" in made.stdout, made.stderr
        body = {"email": "boss@example.org", "password": "violet tractor moonlight"}
        token = stack.ask("POST", "/v1/auth/login", body).json()["tokens"]["access_token"]
        assert stack.ask("GET", "/v1/admin/users", Authorization=f"Bearer {token}").status == 200

    def test_is_what_the_start_page_says(self, stack: Stack) -> None:
        page = stack.ask("GET", "/").data.decode()
        for line in stack.banner:
            said = re.split(r"  +", line.strip())[-1]
            assert html.escape(said.removeprefix(stack.url)) in page

    def test_logs_are_quiet(self, stack: Stack) -> None:
        stack.ask("GET", "/v1/me")
        sentences = ("ignores these settings", "S3 has port", "host_not_allowed")  # what other tests here ask for
        assert [
            line for line in stack.said.read_text().splitlines() if not any(map(line.__contains__, sentences))
        ] == []


class TestPorts:
    def test_of_the_engine_is_the_next_free_one_and_that_is_said(self, stack: Stack) -> None:
        port = int(stack.engine_url.removeprefix("http://127.0.0.1:"))
        assert port in range(stack.wanted + 10, stack.wanted + 200, 10)
        said = f"Port {stack.wanted} or one of the nine after it is taken: S3 has port {port}."
        assert said in stack.said.read_text().splitlines()

    def test_one_that_is_taken_is_named_with_the_way_out(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            command = [COMMAND, "dev", "--port", str(port), "--data-dir", str(tmp_path)]
            for environment, way_out in (({}, "--port"), ({"MAKELEVEL": "1"}, f"`make run PORT={port + 1}`")):
                own = {name: value for name, value in os.environ.items() if name != "MAKELEVEL"}
                refused = subprocess.run(
                    command, env=own | environment, capture_output=True, text=True, check=False, timeout=60
                )
                mend = f"stop what listens there or choose another with {way_out}"
                assert refused.stderr == f"Port {port} on 127.0.0.1 is in use: {mend}\n"


def listening(stack: Stack, *, outside_the_loopback: bool) -> set[tuple[str, int]]:
    """Addresses and ports of the command and all its children; SeaweedFS's come up after it is ready."""
    family = [psutil.Process(stack.process.pid), *psutil.Process(stack.process.pid).children(recursive=True)]
    (weed,) = [process for process in family if "weed" in process.name()]
    assert eventually(lambda: len(ports_of(weed)) >= 10)
    found = set().union(*map(ports_of, family))
    return {(host, port) for host, port in found if (host != "127.0.0.1") == outside_the_loopback}


def ports_of(process: psutil.Process) -> set[tuple[str, int]]:
    return {(c.laddr.ip, c.laddr.port) for c in process.net_connections("inet") if c.status == "LISTEN"}
