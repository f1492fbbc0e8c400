"""A Ceph cluster of one: monitor, store in memory, RADOS Gateway. It is up in two seconds and gone with the block."""

import json
import os
import secrets
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from app.engine.config import HOST, OBJECT_ACTIONS, REGION, KeyPair
from tests.support.needs import need
from tests.support.ports import free_port

CLIENT = Config(
    s3={"addressing_style": "path"},
    signature_version="s3v4",
    request_checksum_calculation="when_required",  # the gateway knows none but Content-MD5
)
ROLE_NAME = "tokenvend-vending"
ROLE_ARN = f"arn:aws:iam:::role/{ROLE_NAME}"
"""There are no accounts, so there is none in the ARN."""
BROKER = "broker"
READY_WITHIN = 60.0


@dataclass(frozen=True)
class CephNode:
    endpoint_url: str
    """Of S3, STS and IAM alike."""
    bucket: str
    owner: KeyPair
    """The bucket's."""
    broker: KeyPair
    """It may assume the role, write its policies, and make no buckets. What its sessions put is its own to read."""

    def s3(self, keys: KeyPair) -> Any:
        return boto3.client(
            "s3",
            region_name=REGION,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            config=CLIENT,
        )


@contextmanager
def ceph_node(*, bucket: str = "photos") -> Iterator[CephNode]:
    """Starts it on free ports of the loopback interface. Skips the test where Ceph is not installed."""
    need("ceph")
    monitor, gateway = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="tv-ceph-") as name, ExitStack() as processes:
        cluster = _Cluster(Path(name), processes, monitor)
        cluster.start_store()
        owner, broker = KeyPair.random(), KeyPair.random()
        cluster.create_user("owner", owner)
        cluster.create_user(BROKER, broker, "--max-buckets=-1", "--caps=roles=*")
        cluster.create_role(bucket)
        cluster.start_gateway(gateway)
        node = CephNode(f"http://{HOST}:{gateway}", bucket, owner, broker)
        node.s3(owner).create_bucket(Bucket=bucket)
        yield node


class _Cluster:
    def __init__(self, directory: Path, processes: ExitStack, monitor: int) -> None:
        self._directory = directory
        self._processes = processes
        self._monitor = f"v2:{HOST}:{monitor}"
        self._id = str(uuid.uuid4())
        (directory / "ceph.conf").write_text(_configuration(self._id, self._monitor))
        for data in ("monitor", "osd", "run"):
            (directory / data).mkdir()

    def start_store(self) -> None:
        # The first map has the OSD already, so that nobody needs `ceph osd new`, a slow start in Python.
        self._run("osdmaptool", "--createsimple", "1", "osdmap")
        self._run("monmaptool", "--create", "--addv", "a", f"{self._monitor}/0", "--fsid", self._id, "monmap")
        self._run("ceph-mon", "--id=a", "--mkfs", "--monmap=monmap", "--osdmap=osdmap")
        self._start("ceph-mon", "--id=a", "--foreground")
        self._run("ceph-osd", "--id=0", "--mkfs")
        self._start("ceph-osd", "--id=0", "--foreground")

    def create_user(self, name: str, keys: KeyPair, *options: str) -> None:
        pair = (f"--access-key={keys.access_key_id}", f"--secret-key={keys.secret_access_key}")
        self._run("radosgw-admin", "user", "create", f"--uid={name}", f"--display-name={name}", *pair, *options)

    def create_role(self, bucket: str) -> None:
        name, trust, users = f"--role-name={ROLE_NAME}", _policy(_trust()), _policy(*_permissions(bucket))
        self._run("radosgw-admin", "role", "create", name, f"--assume-role-policy-doc={trust}")
        self._run("radosgw-admin", "role-policy", "put", name, "--policy-name=users", f"--policy-doc={users}")

    def start_gateway(self, port: int) -> None:
        # As client.admin, which radosgw-admin is by itself. Without cephx there are no keys to be it.
        gateway = self._start(
            "radosgw",
            "--name=client.admin",
            "--foreground",
            f"--rgw-frontends=beast endpoint={HOST}:{port} tcp_nodelay=1",
        )
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline and gateway.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, port)) == 0:
                    return
            time.sleep(0.02)
        raise self._failure("radosgw")

    def _run(self, program: str, *arguments: str) -> None:
        if self._start(program, *arguments).wait(READY_WITHIN) != 0:
            raise self._failure(program)

    def _start(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        """Until the end of the block, or of the test process, however that ends."""
        with self._log(program).open("ab") as log:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", program, "--conf=ceph.conf", *arguments],
                cwd=self._directory,
                env={"PATH": os.environ["PATH"]},  # without CEPH_ARGS, which would be options of all
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._processes.callback(process.wait)
        self._processes.callback(process.kill)  # nothing in it is worth an orderly end
        return process

    def _failure(self, program: str) -> AssertionError:
        return AssertionError(f"{program} failed:\n{self._log(program).read_text(errors='replace')[-4000:]}")

    def _log(self, program: str) -> Path:
        return self._directory / f"{program}.log"


def _configuration(cluster_id: str, monitor: str) -> str:
    """All paths are relative to the directory that the daemons run in."""
    options: dict[str, Any] = {
        "fsid": cluster_id,
        "mon_host": monitor,
        **dict.fromkeys(("auth_cluster_required", "auth_service_required", "auth_client_required"), "none"),
        "keyring": "/dev/null",
        "ms_bind_msgr1": "false",
        "ms_mon_client_mode": "crc",  # the gateway insists on encryption, for which there are no keys
        "public_addr": HOST,
        "cluster_addr": HOST,
        "run_dir": "run",
        "crash_dir": "run",
        "admin_socket": "",
        "pid_file": "",
        "log_file": "",
        "log_to_stderr": "true",
        "mon_data": "monitor",
        "mon_data_avail_crit": 0,  # otherwise the monitor stops where the disk is 95 % full
        "mon_allow_pool_size_one": "true",
        # A change of the maps otherwise waits a second for others, and each of the gateway's pools is two changes.
        "paxos_propose_interval": 0.01,
        "paxos_min_wait": 0.005,
        "osd_data": "osd",
        "osd_objectstore": "memstore",
        "osd_pool_default_size": 1,
        "osd_pool_default_pg_num": 1,
        "osd_pool_default_pg_autoscale_mode": "off",
        "rgw_rados_pool_pg_num_min": 1,
        "rgw_enable_apis": "s3, sts, iam",
        "rgw_s3_auth_use_sts": "true",
        "rgw_sts_key": secrets.token_hex(8),
    }
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())


def _trust() -> dict[str, Any]:
    """Only with keys that were not issued by STS: the gateway takes a session for its user, whom the role trusts."""
    return {
        "Effect": "Allow",
        "Principal": {"AWS": [f"arn:aws:iam:::user/{BROKER}"]},
        "Action": ["sts:AssumeRole"],
        "Condition": {"Null": {"aws:TokenIssueTime": "true"}},
    }


def _permissions(bucket: str) -> list[dict[str, Any]]:
    return [
        {"Effect": "Allow", "Action": list(OBJECT_ACTIONS), "Resource": f"arn:aws:s3:::{bucket}/users/*"},
        {
            "Effect": "Allow",
            "Action": ["s3:ListBucket", "s3:ListBucketVersions"],
            "Resource": f"arn:aws:s3:::{bucket}",
            "Condition": {"StringLike": {"s3:prefix": "users/*"}},
        },
    ]


def _policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
