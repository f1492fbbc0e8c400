"""The embedded engine: a real S3 and STS (SeaweedFS) on this machine, for `tokenvend dev` and the tests.

It is made from nothing in a data directory, listens on 127.0.0.1 only, gives no object to who has no key, and ends with
the process that started it. Open to other processes of this machine are only SeaweedFS's health and status pages, which
tell sizes and the name of the directory. For an instant at its start it tries each port on all addresses.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3

from app.engine import config, directory, process, readiness
from app.engine.config import WebIdentity
from app.engine.errors import EngineError
from app.platform.page_access import EXPOSED_HEADERS

__all__ = ["Engine", "EngineError", "WebIdentity", "broker_session", "start"]


@dataclass(frozen=True)
class Engine:
    """A running engine. It stops at the end of a `with` block, by `stop`, and with this process, however that ends."""

    endpoint_url: str
    """Of S3 and STS alike."""
    port: int
    """Of the same."""
    first_port: int
    """Of its block of ports: that of S3 and STS, unless they stand aside and leave it to a forwarder."""
    bucket: str
    access_key_id: str
    """The broker's: may assume the one role, and nothing else, unless `start` was told otherwise."""
    secret_access_key: str = field(repr=False)
    owner_access_key_id: str
    """The bucket owner's: for setting up, for looking what is stored, and for tests."""
    owner_secret_access_key: str = field(repr=False)
    pid: int
    """Of SeaweedFS."""
    _resources: ExitStack = field(repr=False)
    region: str = config.REGION
    role_arn: str = config.ROLE_ARN

    @property
    def role_policy(self) -> dict[str, Any]:
        """The policy of the role itself, which a session policy narrows."""
        return config.role_policy(self.bucket)

    def broker_session(self) -> boto3.Session:
        """The service's session: the broker's keys, and no profile, configuration or proxy of the environment."""
        return _session(self.access_key_id, self.secret_access_key)

    def owner_session(self) -> boto3.Session:
        """The same with the keys of the bucket's owner."""
        return _session(self.owner_access_key_id, self.owner_secret_access_key)

    def stop(self) -> None:
        """Returns when SeaweedFS has ended. Its data are kept. May be called again."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def broker_session(data_dir: Path) -> boto3.Session:
    """The broker's session of an engine that another process runs in this directory. Raises `EngineError`."""
    _, keys = directory.kept(data_dir)
    return _session(keys.broker.access_key_id, keys.broker.secret_access_key)


def _session(access_key_id: str, secret_access_key: str) -> boto3.Session:
    return boto3.Session(
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        region_name=config.REGION,
        botocore_session=readiness.own_session(),
    )


def start(
    data_dir: Path,
    *,
    bucket: str = "photos",
    allowed_origins: Sequence[str] = (),
    exposed_headers: Sequence[str] = EXPOSED_HEADERS,
    web_identity: WebIdentity | None = None,
    federation: bool = False,
    port: int | None = None,
    aside: bool = False,
) -> Engine:
    """Starts the engine. Returns when S3 and STS answer.

    S3 and STS get `port`, or the next one whose nine neighbours are free too. Without `port` they keep the one that
    was drawn when the data directory was made. `aside`: they listen nearby, so that `first_port` is free for a
    forwarder.

    Pages of `allowed_origins` may use the bucket, and read `exposed_headers` of its answers.
    Raises `EngineError`.

    With `web_identity` the role is for its tokens alone, and the broker's key for nothing. With `federation` that key
    may call GetFederationToken, and so, as at AWS, do with users' objects itself what it hands out.
    """
    weed = process.find_weed()
    data_dir = data_dir.resolve()
    with ExitStack() as resources:
        try:
            lock = resources.enter_context(directory.locked(data_dir))
            first_port, keys = directory.kept(data_dir, wanted=port)
            directory.require_free_ports(data_dir, first_port)
            numbered = config.ports(first_port, aside=aside)
            texts = config.files(keys, bucket, web_identity=web_identity, federation=federation)
            directory.write_configuration(data_dir, texts)
        except OSError as error:
            raise EngineError(f"{data_dir} cannot be used ({error}): choose another data directory.") from error
        command = config.command(weed, numbered, allowed_origins)
        leftovers = config.leftover_sockets(first_port)
        running = resources.enter_context(process.running(data_dir, command, lock=lock, leftovers=leftovers))
        url, own_port = config.endpoint_url(first_port, aside=aside), numbered["s3.port"]
        readiness.prepare(running, url, keys, bucket, origins=allowed_origins, exposed=exposed_headers)
        return Engine(
            endpoint_url=url,
            port=own_port,
            first_port=first_port,
            bucket=bucket,
            access_key_id=keys.broker.access_key_id,
            secret_access_key=keys.broker.secret_access_key,
            owner_access_key_id=keys.owner.access_key_id,
            owner_secret_access_key=keys.owner.secret_access_key,
            pid=running.pid,
            _resources=resources.pop_all(),
        )
