"""What a running engine shows to its owner, to the broker, to who holds a vended credential, and to anybody else."""

import json
import re
import socket
import ssl
import stat
import subprocess
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import boto3
import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError

from app.engine import config
from app.platform.page_access import EXPOSED_HEADERS
from tests.engine.conftest import ORIGIN
from tests.support.engine import RunningEngine, preflight

pytestmark = pytest.mark.xdist_group("engine")

OWN = "users/0b7f3b1e-5d0c-4f4b-9c57-7b2f1f0a6a01/"
TWIN = "users/0b7f3b1e-5d0c-4f4b-9c57-7b2f1f0a6a01x/"
PICTURE = "users/somebody/picture.jpg"
SESSION_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": f"arn:aws:s3:::photos/{OWN}*"}
        ],
    }
)
GRPC = ["master.port.grpc", "volume.port.grpc", "filer.port.grpc", "s3.port.grpc", "admin.port.grpc"]
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)


def refused(call: Any, **parameters: Any) -> bool:
    try:
        call(**parameters)
    except ClientError as error:
        return bool(error.response["ResponseMetadata"]["HTTPStatusCode"] == 403)
    return False


class TestMadeFromNothing:
    def test_everything_in_the_directory_is_private(self, running: RunningEngine) -> None:
        files = [running.data_dir, *running.data_dir.rglob("*")]
        assert {"engine.json", "iam.json", "security.toml", "grpc.key", "weed.log"} <= {file.name for file in files}
        assert [file for file in files if stat.S_IMODE(file.stat().st_mode) & 0o077] == []

    def test_the_keys_are_made_for_it(self, running: RunningEngine) -> None:
        engine, other = running.engine, config.Keys.random()
        secrets = [engine.secret_access_key, engine.owner_secret_access_key]
        secrets += [other.broker.secret_access_key, other.owner.secret_access_key]
        assert len(set(secrets)) == 4
        assert min(map(len, secrets)) == 40
        assert re.fullmatch(r"AKIA[A-Z2-7]{16}", engine.access_key_id)
        assert not any(secret in repr(engine) + repr(other) for secret in [*secrets, other.signing_key])

    def test_it_listens_on_loopback_only(self, running: RunningEngine) -> None:
        connections = running.weed.net_connections("inet")
        listeners = {(c.laddr.ip, c.laddr.port) for c in connections if c.status == "LISTEN"}
        assert listeners == {("127.0.0.1", port) for port in running.ports.values()}

    def test_it_calls_nobody(self, running: RunningEngine) -> None:
        remote = {c.raddr.ip for c in running.weed.net_connections("inet") if c.raddr}
        assert [address for address in remote if not ip_address(address).is_loopback] == []
        assert "-master.telemetry=false" in running.weed.cmdline()

    def test_it_gets_nothing_of_the_callers_environment(self, running: RunningEngine) -> None:
        of_python = {"LC_CTYPE"}  # which the watchdog's adds
        assert set(running.weed.environ()) - of_python <= {"PATH", "LD_LIBRARY_PATH", "TZ", "HOME", "TMPDIR"}

    def test_its_sockets_are_private(self, running: RunningEngine) -> None:
        paths = [c.laddr for c in running.weed.net_connections("unix") if c.laddr]
        assert len(paths) >= 7
        modes = [stat.S_IMODE((running.data_dir / path).stat().st_mode) for path in paths]
        assert [oct(mode) for mode in modes if mode & 0o077] == []


class TestAnybody:
    """Another process of this machine, without a key."""

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "photos"), ("GET", f"photos/{PICTURE}"), ("PUT", "photos/x"), ("PUT", "bucket"), ("GET", "")],
    )
    def test_is_refused_by_s3(self, running: RunningEngine, method: str, path: str) -> None:
        assert urllib3.request(method, f"{running.engine.endpoint_url}/{path}").status == 403

    @pytest.mark.parametrize("server", ["master", "filer", "admin"])
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "dir/assign"),
            ("GET", "dir/lookup?volumeId=1"),
            ("POST", "submit"),
            ("GET", "vol/grow?count=1"),
            ("GET", f"buckets/photos/{PICTURE}"),
            ("PUT", "buckets/photos/users/x"),
            ("DELETE", f"buckets/photos/{PICTURE}"),
            ("GET", "api/users"),
        ],
    )
    def test_finds_nothing_on_the_inner_servers(
        self, running: RunningEngine, server: str, method: str, path: str
    ) -> None:
        port = running.ports[f"{server}.port"]
        assert urllib3.request(method, f"http://127.0.0.1:{port}/{path}").status == 404

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE"])
    def test_is_refused_by_the_volume_server(self, running: RunningEngine, method: str) -> None:
        with running.as_owner("s3") as s3:
            s3.put_object(Bucket="photos", Key=PICTURE, Body=b"picture" * 100)
        entry = running.shell(f"fs.meta.cat /buckets/photos/{PICTURE}", directory=running.data_dir)
        file_id = re.findall(r'"fileId":\s*"([0-9a-f,]+)"', entry)[0]
        address = f"http://127.0.0.1:{running.ports['volume.port']}/{file_id}"
        assert urllib3.request(method, address).status == 401

    @pytest.mark.parametrize("port", GRPC)
    def test_is_not_greeted_by_grpc(self, running: RunningEngine, port: str) -> None:
        number = running.ports[port]
        assert not greets(number, None)
        assert not greets(number, tls())
        assert greets(number, tls(running.data_dir))

    def test_cannot_use_the_administration_shell(self, running: RunningEngine, tmp_path: Path) -> None:
        assert "photos" in running.shell("fs.ls /buckets", directory=running.data_dir)
        with pytest.raises(subprocess.TimeoutExpired) as refusal:  # it tries for ever
            running.shell("fs.ls /buckets", directory=tmp_path, timeout=2)
        assert b"photos" not in (refusal.value.stdout or b"")

    def test_is_not_known_by_keys_of_the_starters_environment(self, running: RunningEngine) -> None:
        keys = {"AccessKeyId": "AKIAFROMENVIRONMENT", "SecretAccessKey": "from-environment", "SessionToken": None}
        with running.as_holder(keys, "s3") as s3:
            assert refused(s3.list_objects_v2, Bucket="photos")


class TestBroker:
    def test_may_assume_the_role(self, running: RunningEngine) -> None:
        with running.as_holder(running.assume(DurationSeconds=43_200), "sts") as sts:
            identity = sts.get_caller_identity()
        assert identity["Arn"] == "arn:aws:sts::000000000000:assumed-role/tokenvend-vending/user.device"

    def test_is_reached_past_a_stale_profile_and_a_proxy(
        self, running: RunningEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_PROFILE", "there-is-none")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        sts = running.engine.broker_session().client("sts", endpoint_url=running.engine.endpoint_url)
        assert sts.get_caller_identity()["Arn"].endswith(":user/broker")
        sts.close()

    def test_may_do_nothing_in_s3(self, running: RunningEngine) -> None:
        with running.as_broker("s3") as s3:
            assert refused(s3.list_objects_v2, Bucket="photos")
            assert refused(s3.put_object, Bucket="photos", Key=PICTURE, Body=b"")
            assert refused(s3.get_object, Bucket="photos", Key=PICTURE)
            assert refused(s3.create_bucket, Bucket="another")

    def test_gets_no_other_credentials(self, running: RunningEngine) -> None:
        with running.as_broker("sts") as sts:
            assert refused(sts.get_session_token)
            assert refused(sts.get_federation_token, Name="somebody", Policy=SESSION_POLICY)
            role = "arn:aws:iam::000000000000:role/admin"
            assert refused(sts.assume_role, RoleArn=role, RoleSessionName="somebody")


class TestVendedCredential:
    def test_is_held_to_its_session_policy(self, running: RunningEngine) -> None:
        with running.as_holder(running.assume(Policy=SESSION_POLICY), "s3") as s3:
            s3.put_object(Bucket="photos", Key=f"{OWN}a.jpg", Body=b"mine")
            assert s3.get_object(Bucket="photos", Key=f"{OWN}a.jpg")["Body"].read() == b"mine"
            assert refused(s3.put_object, Bucket="photos", Key=f"{TWIN}a.jpg", Body=b"")
            assert refused(s3.get_object, Bucket="photos", Key=PICTURE)
            assert refused(s3.delete_object, Bucket="photos", Key=f"{OWN}a.jpg")

    def test_never_exceeds_the_role(self, running: RunningEngine) -> None:
        with running.as_holder(running.assume(), "s3") as s3:
            s3.put_object(Bucket="photos", Key=f"{TWIN}a.jpg", Body=b"")
            assert refused(s3.put_object, Bucket="photos", Key="elsewhere/a.jpg", Body=b"")
            assert refused(s3.delete_bucket_cors, Bucket="photos")
            assert refused(s3.create_bucket, Bucket="another")

    def test_cannot_renew_itself(self, running: RunningEngine) -> None:
        with running.as_holder(running.assume(Policy=SESSION_POLICY), "sts") as sts:
            assert refused(sts.assume_role, RoleArn=running.engine.role_arn, RoleSessionName="user.device")
            assert refused(sts.get_session_token)

    def test_is_not_for_the_owner_to_take(self, running: RunningEngine) -> None:
        with running.as_owner("sts") as sts:
            assert refused(sts.assume_role, RoleArn=running.engine.role_arn, RoleSessionName="user.device")


class TestCorners:
    """Where it is not like S3, as docs/app/calls.md says."""

    @pytest.mark.parametrize(
        ("version", "status", "says"), [(None, 403, b"InvalidAccessKeyId"), ("s3v4", 200, b"mine")]
    )
    def test_links_must_be_of_signature_version_4(
        self, running: RunningEngine, version: str | None, status: int, says: bytes
    ) -> None:
        keys = running.assume(Policy=SESSION_POLICY)
        with running.as_holder(keys, "s3") as s3:
            s3.put_object(Bucket="photos", Key=f"{OWN}link.jpg", Body=b"mine")
        signer = boto3.client(
            "s3",
            region_name=running.engine.region,
            endpoint_url=running.engine.endpoint_url,
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys["SessionToken"],
            config=Config(signature_version=version) if version else None,
        )
        link = signer.generate_presigned_url("get_object", {"Bucket": "photos", "Key": f"{OWN}link.jpg"})
        signer.close()
        answer = urllib3.request("GET", link)
        assert (answer.status, says in answer.data) == (status, True)

    def test_tags_come_with_an_upload(self, running: RunningEngine) -> None:
        """A public ACL: `test_a_public_acl_publishes_nothing`."""
        with running.as_holder(running.assume(Policy=SESSION_POLICY), "s3") as s3:
            s3.put_object(Bucket="photos", Key=f"{OWN}tagged.jpg", Body=b"", Tagging="a=b")
        with running.as_owner("s3") as s3:
            tags = s3.get_object_tagging(Bucket="photos", Key=f"{OWN}tagged.jpg")["TagSet"]
        assert tags == [{"Key": "a", "Value": "b"}]

    def test_a_backslash_is_a_slash(self, running: RunningEngine) -> None:
        with running.as_owner("s3") as s3:
            s3.put_object(Bucket="photos", Key=f"{OWN}back\\slash.jpg", Body=b"")
            listed = s3.list_objects_v2(Bucket="photos", Prefix=f"{OWN}back")["Contents"]
        assert [found["Key"] for found in listed] == [f"{OWN}back/slash.jpg"]


class TestOrigins:
    """CORS, which the sample page needs. SeaweedFS by itself allows every origin."""

    def test_the_page_may_send_and_reads_the_answers(self, running: RunningEngine) -> None:
        headers = preflight(running, ORIGIN, f"photos/{OWN}a.jpg")
        assert headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "PUT" in headers["Access-Control-Allow-Methods"]
        assert {name.strip() for name in headers["Access-Control-Expose-Headers"].split(",")} == set(EXPOSED_HEADERS)
        assert "x-amz-security-token" in headers["Access-Control-Allow-Headers"]

    @pytest.mark.parametrize("path", [f"photos/{OWN}a.jpg", "photos/", "photos", ""])
    @pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:8001", "null"])
    def test_others_are_not_allowed(self, running: RunningEngine, origin: str, path: str) -> None:
        assert "Access-Control-Allow-Origin" not in preflight(running, origin, path)


def tls(identity: Path | None = None) -> ssl.SSLContext:
    """A client that believes any server, and shows the engine's certificate if it is given its directory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if identity is not None:
        context.load_cert_chain(identity / config.CERTIFICATE_FILE, identity / config.KEY_FILE)
    return context


def greets(port: int, context: ssl.SSLContext | None) -> bool:
    """Whether a gRPC server answers our greeting with its own: an HTTP/2 SETTINGS frame."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        try:
            connection = context.wrap_socket(plain) if context else plain
            with connection:
                connection.sendall(HTTP2_PREFACE)
                return connection.recv(9)[3:4] == b"\x04"
        except (ssl.SSLError, ConnectionError):
            return False
