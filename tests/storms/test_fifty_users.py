"""VC9: fifty users at once, over and over, at two replicas: nobody gets another's credential."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop

from app.platform.settings import VendingMode
from tests.storms.clients import connect, vend
from tests.storms.conftest import Replicas, rows
from tests.storms.deployment import Device, sign_in
from tests.support.canned_sts import CannedSts
from tests.support.saml_sts import SamlSts

USERS = 50
ROUNDS, FEW_ROUNDS = 800, 80
WISHES: tuple[dict[str, Any], ...] = (
    {},
    {"access": "read"},
    {"access": "write"},
    {"path": "albums/"},
    {"access": "read", "path": "albums/"},
    {"duration_seconds": 900},
)

Seen = tuple[Device, int, str, str, str, str, str, str]
"""A device, the number of its wish, and what it got."""


async def storm(ports: tuple[int, ...], devices: list[Device], rounds: int) -> tuple[int, set[Seen]]:
    """How many answers there were, and all that were different."""
    seen: set[Seen] = set()
    clients = await connect(ports, USERS)
    answered = 0

    async def one(index: int) -> None:
        nonlocal answered
        device, client = devices[index], clients[index]
        requests = [vend(device, **wish) for wish in WISHES]
        for number in wishes(index, rounds):
            answer = await client.ask(requests[number])
            assert answer.status == 200, answer.body
            got = answer.json()
            names = ("credential_id", "access_key_id", "secret_access_key", "session_token", "access", "prefix")
            seen.add((device, number, *(got[name] for name in names)))
            answered += 1

    try:
        await asyncio.gather(*(one(index) for index in range(USERS)))
    finally:
        for client in clients:
            client.close()
    return answered, seen


def wishes(seed: int, rounds: int) -> Iterator[int]:
    """A new wish now and then, so that credentials are issued all along between those that are cached."""
    chance = random.Random(seed)
    starts = sorted(chance.sample(range(1, rounds), len(WISHES) - 1))
    for number in range(rounds):
        known = sum(start <= number for start in starts)
        yield known if number in starts else chance.randint(0, known)


@pytest.fixture(params=["assume_role", "saml"])
def mode(request: pytest.FixtureRequest) -> VendingMode:
    name: VendingMode = request.param
    return name


def told(sts: CannedSts, form: dict[str, str]) -> tuple[str, str]:
    """SourceIdentity and the session's name, as STS has them of this call."""
    if not isinstance(sts, SamlSts):
        return form["SourceIdentity"], form["RoleSessionName"]
    (session,) = (one for one in sts.sessions if one.form is form)
    return session.attributes["SourceIdentity"][0], session.name


class TestFiftyUsers:
    def test_nobody_gets_anothers_in_forty_thousand_vends(self, replicas: Replicas, in_full: bool) -> None:
        rounds = ROUNDS if in_full else FEW_ROUNDS
        devices = sign_in(replicas.database_url, USERS)
        answered, seen = uvloop.run(storm(replicas.ports, devices, rounds))
        assert answered == USERS * rounds
        assert {(device, number) for device, number, *_ in seen} == {
            (device, number) for device in devices for number in range(len(WISHES))
        }
        ledger = {
            row.access_key_id: row
            for row in rows(
                replicas.database_url,
                "SELECT id, access_key_id, user_id, session_id, access, prefix FROM issued_credentials",
            )
        }
        for device, number, credential_id, key, secret, token, access, prefix in seen:
            wish = WISHES[number]
            serial = int(key.removeprefix("ASIACANNED"))
            assert (secret, token) == (f"canned-secret-key-{serial}", f"canned-session-token-{serial}")
            assert access == wish.get("access", "read_write")
            assert prefix == f"users/{device.user_id}/{wish.get('path', '')}"
            form = replicas.sts.forms[serial - 1]
            source, name = told(replicas.sts, form)
            assert source == device.user_id
            assert name.startswith(f"{device.user_id}.")
            assert f'"arn:aws:s3:::photos/{prefix}*"' in form["Policy"]
            assert form["Policy"].count(device.user_id) == form["Policy"].count("users/")
            assert form["DurationSeconds"] == str(wish.get("duration_seconds", 3600))
            row = ledger[key]
            assert str(row.id) == credential_id
            assert (str(row.user_id), str(row.session_id)) == (device.user_id, device.session_id)
            assert (row.access, row.prefix) == (access, prefix)
