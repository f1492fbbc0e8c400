"""A person's home on a developer's machine: signed in with `tokenvend login`, with each way to get keys from it."""

import signal
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from httpx2 import Client

from tests.client.conftest import PASSWORD, Terminal, printed, terminal_at
from tests.clients.driving import Driver, Failed, Starts
from tests.clients.near import Near, near
from tests.journeys.deployment import Deployment

PROCESS = "credential_process = tokenvend creds --format process\n"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CREDENTIAL", "AWS_CONTAINER")
NOWHERE = "http://127.0.0.1:9"


@dataclass(frozen=True)
class Home:
    terminal: Terminal
    deployment: Deployment
    near: Near
    vended: dict[str, Any] = field(repr=False)
    agent: dict[str, str] = field(repr=False)
    """What `creds --serve` printed."""
    variables: Mapping[str, str]
    """What else the engine needs."""

    @property
    def prefix(self) -> str:
        prefix: str = self.vended["prefix"]
        return prefix

    def start(self, starts: Starts, way: str) -> Driver:
        """The client, with keys by that way, and all else in variables."""
        variables = dict(self.variables) | {
            "AWS_REGION": self.vended["region"],
            "AWS_DEFAULT_REGION": self.vended["region"],
            "AWS_ENDPOINT_URL_S3": self.vended["endpoint_url"] or self.deployment.endpoint_url,
            "HOST": self.deployment.endpoint_url.removeprefix("http://"),
            "BUCKET": self.vended["bucket"],
            "PREFIX": self.prefix,
            "SERVICE": self.near.url,
        }
        # Nobody asks the metadata service of whatever machine this is.
        variables |= dict.fromkeys(("AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_METADATA_ENDPOINT"), NOWHERE)
        keys = getattr(self, f"_by_{way}")()
        return starts(self.terminal.environment | variables | keys, self.terminal.home)

    def _by_process(self) -> dict[str, str]:
        config = self.terminal.home / "config"
        config.write_text(f"[default]\nregion = {self.vended['region']}\n" + PROCESS)
        return {"AWS_CONFIG_FILE": str(config)}

    def _by_file(self) -> dict[str, str]:
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.near.url}/v1/credentials/container?access=read_write",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(self.terminal.home / "token"),
        }

    def _by_static(self) -> dict[str, str]:
        done = self.terminal.tokenvend("creds", "--format", "env")
        if done.returncode:
            raise Failed(done.stderr.strip())
        return _keys(done.stdout)

    def _by_agent(self) -> dict[str, str]:
        return self.agent

    def _by_code(self) -> dict[str, str]:
        return {"TOKEN_FILE": str(self.terminal.home / "token")}

    def sign_out(self) -> None:
        """At another device: this one does not know of it yet."""
        with Client(base_url=self.deployment.url, timeout=30) as http:
            http.headers["Authorization"] = f"Bearer {self.terminal.store.get().tokens.access_token}"
            answer = http.delete("/v1/me/sessions")
        assert answer.is_success, answer.text


@contextmanager
def home(deployment: Deployment, directory: Path, **variables: str) -> Iterator[Home]:
    """Of somebody new. `creds --token-file` and `creds --serve` run there until the end of the block."""
    email = f"{uuid.uuid4()}@example.org"
    with Client(base_url=deployment.url, timeout=30) as http:
        answer = http.post("/v1/users", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
    terminal = terminal_at(directory)
    terminal.environment.pop("AWS_MAX_ATTEMPTS")  # clients try as often as they do for everybody
    with near(deployment.url) as proxy:
        terminal.log_in(proxy.url, email)
        kept = (["--token-file", "token"], ["--serve"])
        keepers = [terminal.start("tokenvend", "creds", "--format", "env", *options) for options in kept]
        try:
            _, agent = map(printed, keepers)
            with Client(base_url=deployment.url, timeout=30) as http:
                http.headers["Authorization"] = f"Bearer {terminal.store.get().tokens.access_token}"
                vended = http.post("/v1/credentials", json={}).json()
            yield Home(terminal, deployment, proxy, vended, _keys(agent), variables)
        finally:
            for keeper in keepers:
                keeper.send_signal(signal.SIGINT)
                keeper.communicate(timeout=60)


def _keys(exports: str) -> dict[str, str]:
    """Of what a shell is to evaluate, the variables that are about keys."""
    given = dict(line.removeprefix("export ").split("=", 1) for line in exports.splitlines())
    return {name: value.strip("'") for name, value in given.items() if name.startswith(KEYS)}
