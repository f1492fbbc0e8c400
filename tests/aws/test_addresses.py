"""Where STS and S3 are, by the SDK's own configuration: environment, configuration file, proxies."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import botocore.session
import pytest
from botocore import UNSIGNED
from botocore.config import Config

from app import compose
from app.aws import endpoints
from app.aws.base_credentials import default_session
from app.platform.problems import StsUnavailable
from app.platform.settings import SettingsError
from app.vending import tickets
from tests.aws.calling import run
from tests.support.canned_sts import CannedSts
from tests.support.service import test_settings

CLIENTS = ("signed", "boto3")
FIPS, DUAL_STACK = {"AWS_USE_FIPS_ENDPOINT": "true"}, {"AWS_USE_DUALSTACK_ENDPOINT": "true"}
OWN = {"AWS_ENDPOINT_URL_STS": "https://sts.corp.example", "AWS_ENDPOINT_URL_S3": "https://s3.corp.example"}
FILE = """[default]
services = mine
[services mine]
sts =
  endpoint_url = https://sts.file.example
s3 =
  endpoint_url = https://s3.file.example
[profile federal]
use_fips_endpoint = true
"""
PLACES = {
    "plain": ({}, "sts.eu-west-1.amazonaws.com", "photos.s3.eu-west-1.amazonaws.com"),
    "fips": (FIPS, "sts-fips.eu-west-1.amazonaws.com", "photos.s3-fips.eu-west-1.amazonaws.com"),
    "dual stack": (DUAL_STACK, "sts.eu-west-1.api.aws", "photos.s3.dualstack.eu-west-1.amazonaws.com"),
    "both": (FIPS | DUAL_STACK, "sts-fips.eu-west-1.api.aws", "photos.s3-fips.dualstack.eu-west-1.amazonaws.com"),
    "own": (OWN, "sts.corp.example", "photos.s3.corp.example"),
    "one for all": ({"AWS_ENDPOINT_URL": "https://all.example"}, "all.example", "photos.all.example"),
    "ignored": (
        OWN | {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
        "sts.eu-west-1.amazonaws.com",
        "photos.s3.eu-west-1.amazonaws.com",
    ),
    "file": ({"AWS_CONFIG_FILE": "config"}, "sts.file.example", "photos.s3.file.example"),
    "profile": (
        {"AWS_CONFIG_FILE": "config", "AWS_PROFILE": "federal"},
        "sts-fips.eu-west-1.amazonaws.com",
        "photos.s3-fips.eu-west-1.amazonaws.com",
    ),
    "always regional": (
        {"AWS_STS_REGIONAL_ENDPOINTS": "legacy"},
        "sts.eu-west-1.amazonaws.com",
        "photos.s3.eu-west-1.amazonaws.com",
    ),
}
places = pytest.mark.parametrize(("variables", "sts", "s3"), PLACES.values(), ids=PLACES)


@pytest.fixture(autouse=True)
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keys, and a file that a test may name; none of the machine's proxies."""
    (tmp_path / "config").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTTESTTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    endpoints.s3_address.cache_clear()
    yield
    endpoints.s3_address.cache_clear()


@contextmanager
def proxy() -> Iterator[tuple[str, list[str]]]:
    """The address of a proxy that connects nobody, without a scheme, and whom it was asked for."""
    asked: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline().decode().split()[1])
            self.wfile.write(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def caller(client: str, **settings: str) -> str | None:
    """Whose keys STS says these are; None if it cannot be reached."""

    async def story() -> str | None:
        made = test_settings(sts_client=client, AWS_REGION="eu-west-1", **settings)
        sts = compose.build_sts(made)
        try:
            return (await sts.call("GetCallerIdentity", {})).texts["Arn"]
        except StsUnavailable:
            return None
        finally:
            await sts.close()

    return run(story)


class TestSts:
    @places
    @pytest.mark.parametrize("client", CLIENTS)
    def test_is_where_the_sdk_is_told(
        self, client: str, variables: dict[str, str], sts: str, s3: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with proxy() as (address, asked):
            monkeypatch.setenv("HTTPS_PROXY", address)
            assert caller(client) is None
        assert set(asked) == {f"{sts}:443"}

    @pytest.mark.parametrize("client", CLIENTS)
    def test_is_where_the_operator_says_whatever_the_sdk_is_told(
        self, client: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in (FIPS | DUAL_STACK | OWN).items():
            monkeypatch.setenv(name, value)
        with closing(CannedSts()) as sts:
            assert caller(client, sts_endpoint_url=sts.url)

    @pytest.mark.parametrize("client", CLIENTS)
    @pytest.mark.parametrize("exempt", [True, False])
    def test_is_reached_past_a_proxy_that_does_not_concern_it(
        self, client: str, exempt: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with closing(CannedSts()) as sts, proxy() as (address, asked):
            monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url.replace("127.0.0.1", "localhost"))
            monkeypatch.setenv("HTTP_PROXY", address)
            if exempt:
                monkeypatch.setenv("NO_PROXY", "example.org,localhost")
            assert (caller(client) is not None) is exempt
        assert bool(asked) is not exempt

    def test_is_one_for_each_region(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", OWN["AWS_ENDPOINT_URL_STS"])
        with pytest.raises(SettingsError, match="STS_REGIONS: the SDK's configuration has one address for all"):
            caller("signed", sts_regions="eu-west-1,eu-central-1")

    def test_that_the_sdk_cannot_tell_is_refused_at_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "sts.corp.example")
        with pytest.raises(SettingsError, match=r"AWS: .*sts\.corp\.example"):
            caller("signed")


class TestPlain:
    @pytest.mark.parametrize("service", ["sts", "s3"])
    def test_is_what_a_client_of_the_sdk_would_call(self, service: str) -> None:
        """In every Region that the SDK knows, though no client is made to hear that."""
        core = botocore.session.get_session()
        core.set_config_variable("sts_regional_endpoints", "regional")
        regional = Config(signature_version=UNSIGNED, s3={"us_east_1_regional_endpoint": "regional"})
        asked = 0
        for partition in core.get_available_partitions():
            for region in core.get_available_regions(service, partition):
                if "fips" in region or region in ("aws-global", "s3-external-1"):
                    continue
                with closing(core.create_client(service, region_name=region, config=regional)) as client:
                    assert endpoints._address(core, service, region) == client.meta.endpoint_url
                asked += 1
        assert asked > 30

    def test_makes_no_client(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One reads the endpoints of all services: 8 MB, which stay with the process."""
        monkeypatch.setattr(botocore.session.Session, "create_client", None)
        (endpoint,) = endpoints.sts_endpoints(["eu-west-1"], None, default_session("eu-west-1"))
        assert endpoint.url == "https://sts.eu-west-1.amazonaws.com"


class TestS3:
    @places
    def test_is_where_the_sdk_is_told(
        self, variables: dict[str, str], sts: str, s3: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert tickets.url(test_settings(AWS_REGION="eu-west-1"), public=True) == f"https://{s3}/"

    def test_address_is_asked_for_once(self) -> None:
        assert endpoints.s3_address("eu-west-1") is endpoints.s3_address("eu-west-1")
        assert default_session("eu-west-1") is not default_session("eu-west-1")
