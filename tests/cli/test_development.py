"""`tokenvend dev` with settings of the operator's, for clients on other origins and devices, in an odd environment."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import urllib3
from botocore.config import Config

pytestmark = pytest.mark.all

PAGES = ("http://localhost:5173", "capacitor://localhost")
ODD = "feature%2Fupload 100%25 done?#"
"""Part of a path as Jenkins and people name folders: no part of a URL."""


@dataclass
class Stack:
    url: str
    engine_url: str
    data_dir: Path
    said: Path
    """What it printed for people."""

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
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "TOKENVEND_RATE_LIMITS": "off", **settings}
    data_dir, said = directory / ODD / "var", directory / "said"
    with said.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "app", "dev", "--port", "0", "--data-dir", str(data_dir), *arguments],
            cwd=directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    try:
        ready, engine = process.stdout.readline().split(), process.stdout.readline().split()
        assert (ready[:1], engine[:1]) == (["ready"], ["engine"]), said.read_text()[-4000:]
        yield Stack(ready[1], engine[1], data_dir, said)
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
    with running(tmp_path_factory.mktemp("dev"), **settings) as stack:
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
        for host, status in (("photos.test", 401), ("localhost", 401), ("evil.example", 400)):
            assert stack.ask("GET", "/v1/me", Host=host).status == status

    def test_says_which_settings_it_does_not_use(self, stack: Stack) -> None:
        (line,) = [line for line in stack.said.read_text().splitlines() if "ignores these settings" in line]
        assert line.endswith(": AWS_REGION, TOKENVEND_BUCKET, TOKENVEND_ENVIRONMENT")

    def test_keeps_its_data_where_it_was_told(self, stack: Stack) -> None:
        assert (stack.data_dir / "tokenvend.db").is_file()
        assert {entry.name for entry in stack.data_dir.parents[1].iterdir()} == {ODD, "said"}


class TestElsewhere:
    def test_an_emulator_reaches_both_by_the_public_host(self, tmp_path: Path) -> None:
        """Android's emulator calls the loopback of its host 10.0.2.2."""
        with running(tmp_path, "--public-host", "10.0.2.2", TOKENVEND_VENDING_MODE="web_identity") as stack:
            assert stack.url.startswith("http://10.0.2.2:")
            host = stack.url.removeprefix("http://")
            stack.url = stack.url.replace("10.0.2.2", "127.0.0.1")
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

    def test_a_setting_for_the_public_engine_is_honoured(self, tmp_path: Path) -> None:
        url = "https://pictures.example"
        with running(tmp_path, TOKENVEND_S3_PUBLIC_ENDPOINT_URL=f"{url}/") as stack:
            assert (stack.vend()["endpoint_url"], stack.engine_url) == (url, url)
