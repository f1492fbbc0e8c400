"""Many at the same moment, who sign in or vend for the first time: what it costs, and how the service stays alive."""

import http.client
import json
import subprocess
import time
from dataclasses import dataclass

from tests.bench import flash, load
from tests.bench.deployment import PASSWORD, Deployment, result_of, start
from tests.bench.rates import VEND, at, post

PROBE_EVERY = 0.01
"""Seconds between a probe's answer and the next probe."""
GIVE_UP_AFTER = 30.0
STS = {"STS_DELAY": "0.08", "STS_PER_SECOND": "600"}
"""How first vends find it: AWS's quota for an account in a Region, at a usual pace."""


@dataclass(frozen=True)
class Watched:
    """What was seen of the service meanwhile."""

    peak_memory: float
    """Resident MB."""
    healthz: list[float]
    """Milliseconds that each probe took, sorted."""

    def healthz_within(self, percent: int) -> float:
        return self.healthz[min(len(self.healthz) * percent // 100, len(self.healthz) - 1)]


@dataclass(frozen=True)
class SignIns:
    answers: load.Result
    watched: Watched


@dataclass(frozen=True)
class FirstVends:
    answers: flash.Result
    watched: Watched


def sign_in(deployment: Deployment, *, people: int) -> SignIns:
    """All at once, on a service that has just started."""
    requests = [
        post(
            "/v1/auth/login",
            json.dumps({"email": user.email, "password": PASSWORD}),
            at(number),
        )
        for number, user in enumerate(deployment.users[:people])
    ]
    job = load.Job(deployment.service.port, requests, connections=people, seconds=60, most=people)
    logins = start("tests.bench.load", job)
    watched = _watch(deployment, logins)
    return SignIns(load.Result(**result_of(logins)), watched)


def vend_first(deployment: Deployment, *, people: int, arrive_within: float) -> FirstVends:
    """Within so many seconds, on a service whose cache is empty and whose STS is `STS`."""
    requests = [
        post(VEND, "{}", f"Authorization: Bearer {user.access_token}", at(number))
        for number, user in enumerate(deployment.users[:people])
    ]
    phones = start("tests.bench.flash", flash.Job(deployment.service.port, requests, arrive_within, GIVE_UP_AFTER))
    watched = _watch(deployment, phones)
    return FirstVends(flash.Result(**result_of(phones)), watched)


def _watch(deployment: Deployment, process: "subprocess.Popen[str]") -> Watched:
    """Until the process has ended."""
    health = http.client.HTTPConnection("127.0.0.1", deployment.service.port, timeout=30)
    peak, times = 0.0, []
    while process.poll() is None:
        asked_at = time.perf_counter()
        health.request("GET", "/healthz")
        answer = health.getresponse()
        answer.read()
        times.append((time.perf_counter() - asked_at) * 1000)
        if answer.status != 200:
            raise RuntimeError(f"/healthz answered {answer.status}")
        peak = max(peak, deployment.service.memory())
        time.sleep(PROBE_EVERY)
    health.close()
    return Watched(peak, sorted(times))
