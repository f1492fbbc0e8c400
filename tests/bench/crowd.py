"""Many sign-ins at the same moment: what they cost in memory, and whether the service stays responsive meanwhile."""

import http.client
import json
import time
from dataclasses import dataclass

from tests.bench import load
from tests.bench.deployment import PASSWORD, Deployment, result_of, start
from tests.bench.rates import post

PROBE_EVERY = 0.01
"""Seconds between a probe's answer and the next probe."""


@dataclass(frozen=True)
class Crowd:
    logins: load.Result
    peak_memory: float
    """Resident MB."""
    healthz: list[float]
    """Milliseconds that each probe took, sorted."""

    def healthz_within(self, percent: int) -> float:
        return self.healthz[min(len(self.healthz) * percent // 100, len(self.healthz) - 1)]


def measure(deployment: Deployment, *, people: int) -> Crowd:
    """On a service that has just started."""
    requests = [
        post("/v1/auth/login", json.dumps({"email": user.email, "password": PASSWORD}))
        for user in deployment.users[:people]
    ]
    health = http.client.HTTPConnection("127.0.0.1", deployment.port, timeout=30)
    peak, times = 0.0, []
    job = load.Job(deployment.port, requests, connections=people, seconds=60, most=people)
    logins = start("tests.bench.load", job)
    while logins.poll() is None:
        asked_at = time.perf_counter()
        health.request("GET", "/healthz")
        answer = health.getresponse()
        answer.read()
        times.append((time.perf_counter() - asked_at) * 1000)
        if answer.status != 200:
            raise RuntimeError(f"/healthz answered {answer.status}")
        peak = max(peak, deployment.memory())
        time.sleep(PROBE_EVERY)
    health.close()
    return Crowd(load.Result(**result_of(logins)), peak, sorted(times))
