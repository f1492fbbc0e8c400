"""How soon Ceph's gateway refuses what was revoked, and what a burst of sign-outs costs the service and IAM."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from httpx2 import Client, Response

from app.revocation.job import GAP
from tests.bench.million import Times
from tests.journeys.deployment import Deployment, Keys, keys_of
from tests.journeys.on_ceph import put, seconds_until_refused, served_on_ceph
from tests.support import ceph
from tests.support.needs import NEEDS

AT_ONCE = 8


@dataclass(frozen=True)
class Revocation:
    refused: Times
    """From the answer to `POST /v1/credentials/revoke` to the first request that S3 refuses."""
    call: Times
    burst: float
    """Seconds for as many sign-outs of devices with a credential each."""
    burst_refused: float
    """Seconds from then to the first refusal of the last of them."""
    writes: int


@dataclass(frozen=True)
class Guest:
    """Nobody's password is hashed for it."""

    refresh_token: str
    bearer: dict[str, str]
    keys: Keys
    prefix: str


def measure(directory: Path, database_url: str, *, times: int, at_once: int) -> Revocation | None:
    """None where Ceph is not installed. Each revocation is alone in its second; then come the sign-outs."""
    if NEEDS["ceph"].missing():
        return None
    place = directory / "on-ceph"
    place.mkdir()
    settings = {"TOKENVEND_REVOCATION": "role_policy"}
    with (
        ceph.ceph_node() as node,
        served_on_ceph(place, node, database_url, settings) as deployment,
        Client(base_url=deployment.url, timeout=30) as http,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        refused, call = [], []
        for _ in range(times):
            guest = _guest(http)
            assert put(deployment, guest.keys, guest.prefix) == 200
            time.sleep(GAP.total_seconds())
            started = time.perf_counter()
            _expect(202, http.post("/v1/credentials/revoke", headers=guest.bearer))
            call.append((time.perf_counter() - started) * 1000)
            refused.append(seconds_until_refused(deployment, guest.keys, guest.prefix) * 1000)
        guests = list(threads.map(lambda _: _guest(http), range(at_once)))
        writes = _writes(http)
        started = time.perf_counter()
        list(threads.map(lambda guest: _sign_out(http, guest), guests))
        burst = time.perf_counter() - started
        last = max(_until_refused(deployment, guest) for guest in guests[-AT_ONCE:])
        return Revocation(Times(sorted(refused)), Times(sorted(call)), burst, last, _writes(http) - writes)


def _guest(http: Client) -> Guest:
    tokens = _expect(200, http.post("/v1/auth/guest", json={})).json()["tokens"]
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    vended = _expect(200, http.post("/v1/credentials", json={}, headers=bearer)).json()
    return Guest(tokens["refresh_token"], bearer, keys_of(vended), vended["prefix"])


def _sign_out(http: Client, guest: Guest) -> None:
    _expect(204, http.post("/v1/auth/logout", json={"refresh_token": guest.refresh_token}))


def _until_refused(deployment: Deployment, guest: Guest) -> float:
    return seconds_until_refused(deployment, guest.keys, guest.prefix)


def _writes(http: Client) -> int:
    found = re.search(r'tokenvend_revocation_writes_total{outcome="ok"} (\S+)', http.get("/metrics").text)
    return int(float(found[1])) if found else 0


def _expect(status: int, answer: Response) -> Response:
    assert answer.status_code == status, answer.text
    return answer
