"""The Node service that ours is compared with: installed at first use, and run over the same database and STS."""

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import make_url

from tests.bench.deployment import BUCKET, REGION, ROLE_ARN, Deployment, Server, environment, serving

HERE = Path(__file__).parent
OLDEST = 20
CONNECTIONS = 10
"""To the database, as many as ours has."""


def why_not() -> str | None:
    """Why there is nothing to compare with; None once the packages are installed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "node and npm are not both installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").split(".")[0]) < OLDEST:
        return f"node {OLDEST} or newer is needed, and this is {version}"
    lock, installed = HERE / "package-lock.json", HERE / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        done = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--loglevel=error"], cwd=HERE, capture_output=True, text=True, check=False
        )
        if done.returncode:
            return f"npm ci failed: {done.stderr.strip()[-500:]}"
    return None


@contextmanager
def deployed(directory: Path, database_url: str, beside: Deployment) -> Iterator[Server]:
    """One process on the core of our service, which is asked for the keys that verify its tokens."""
    url = make_url(database_url)
    with urllib.request.urlopen(f"http://127.0.0.1:{beside.service.port}/.well-known/jwks.json") as answer:
        keys = json.load(answer)
    env = environment(
        NODE_ENV="production",
        PGHOST=str(url.query.get("host", url.host)),
        PGUSER=url.username or "",
        PGDATABASE=url.database or "",
        BUCKET=BUCKET,
        REGION=REGION,
        ROLE_ARN=ROLE_ARN,
        STS_ENDPOINT_URL=f"http://127.0.0.1:{beside.sts_port}",
        ISSUER="http://127.0.0.1:8000",
        JWKS=json.dumps(keys),
        CONNECTIONS=str(CONNECTIONS),
        LOG_FILE=str(directory / "node-access.log"),
    )
    with serving(["node", str(HERE / "server.js")], "node", directory, env, beside.core) as server:
        yield server
