"""What the console's views ask for, with very many users and five audit rows of each, on PostgreSQL."""

import asyncio
import http.client
import json
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg

from app.compose import Runtime
from tests.bench import million
from tests.bench.deployment import deployed
from tests.bench.million import Crowd, Say, Times

AUDIT_ROWS = 5
"""Of each user."""
WARM_UP = 2
AIM = 500
"""Milliseconds, of each call."""
CALLS = {
    "users, the newest": "users?limit=50",
    "users, by when they were last seen": "users?limit=50&sort=last_seen_at",
    "users, by address": "users?limit=50&sort=email&direction=asc",
    "users, a piece of one address": "users?limit=50&query={piece}",
    "users, a surname": "users?limit=50&query={surname}",
    "users, guests": "users?limit=50&guest=true",
    "users, unverified": "users?limit=50&email_verified=false",
    "users, with a second factor": "users?limit=50&mfa_enabled=true",
    "users, disabled": "users?limit=50&status=disabled",
    "users, how many": "user-count",
    "users, how many have a surname": "user-count?query={surname}",
    "users, how many have no second factor": "user-count?mfa_enabled=false",
    "a user": "users/{user}",
    "  devices": "users/{user}/sessions?limit=50",
    "  credentials": "users/{user}/credentials?limit=50",
    "  passkeys": "users/{user}/passkeys",
    "  outside identities": "users/{user}/identities",
    "  folders given": "users/{user}/grants/given?limit=50",
    "  folders received": "users/{user}/grants/received?limit=50",
    "  audit": "users/{user}/audit-events?limit=50",
    "audit, the newest": "audit-events?limit=50",
    "audit, one event": "audit-events?limit=50&event=session.started",
    "audit, an event that never was": "audit-events?limit=50&event=guest.upgraded",
    "audit, what was refused": "audit-events?limit=50&outcome=refused",
    "audit, a person": "audit-events?limit=50&person={email}",
    "audit, a request": "audit-events?limit=50&request_id=none",
    "an access key": "access-keys/{access_key}",
    "charts, a day": "stats?window=24h",
    "charts, a month": "stats?window=30d",
    "status": "status",
    "settings": "settings",
    "signing keys": "signing-keys",
    "mails": "mails?limit=50",
    "erasures": "erasures?limit=50",
    "imports": "user-imports?limit=50",
}


@dataclass(frozen=True)
class Call:
    name: str
    times: Times


def measure(directory: Path, people: int, samples: int, say: Say) -> list[Call]:
    """Raises RuntimeError for an answer that is no 200."""
    with million.server() as create:
        crowd = Crowd(create(), people, audit_rows=AUDIT_ROWS)
        with million.loading(crowd.url):
            crowd.load(say)
        with crowd.running() as runtime:
            token = _administrator(crowd, runtime)
        named = {
            "user": str(crowd.user_id(people // 2)),
            "email": crowd.email(people // 2),
            "piece": crowd.email(people // 2)[1:13],
            "surname": crowd.name(people // 2).split()[1],
            "access_key": crowd.access_key(people // 2),
        }
        with deployed(directory, crowd.url, [], None) as running:
            connection = http.client.HTTPConnection("127.0.0.1", running.service.port, timeout=120)
            taken = []
            for name, path in CALLS.items():
                say(f"console, {people:,} users, {name.strip()}")
                taken.append(Call(name, _time(connection, f"/v1/admin/{path.format(**named)}", token, samples)))
            connection.close()
    return taken


def _administrator(crowd: Crowd, runtime: Runtime) -> str:
    """The access token of the first user, who becomes an administrator with a second factor."""
    asyncio.run(runtime.keyring.load())
    user, session, now = crowd.user_id(0), crowd.session_id(0), runtime.platform.clock.now()
    with psycopg.connect(million.plain(crowd.url), autocommit=True) as connection:
        connection.execute("UPDATE users SET role = 'admin' WHERE id = %s", [user])
        connection.execute("UPDATE sessions SET mfa_at = %s, authenticated_at = %s WHERE id = %s", [now, now, session])
    return runtime.tokens.mint(user_id=user, session_id=session, authenticated_at=now)


def _time(connection: http.client.HTTPConnection, path: str, token: str, samples: int) -> Times:
    taken = []
    for sample in range(WARM_UP + samples):
        started_at = time.perf_counter()
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} was answered with {answer.status}: {json.loads(body).get('code')}")
        if sample >= WARM_UP:
            taken.append((time.perf_counter() - started_at) * 1000)
    return Times(sorted(taken))
