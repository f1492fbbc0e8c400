"""An app that starts everywhere at once: whatever asks first, STS is asked once."""

import asyncio
import threading

from tests.storms.clients import Answer, connect, vend
from tests.storms.conftest import Replicas, rows
from tests.storms.deployment import sign_in
from tests.vending.crowd import hold

CROWD = 1_000


async def ask_at_once(ports: tuple[int, ...], request: bytes) -> list[Answer]:
    clients = await connect(ports, CROWD)
    try:
        return await asyncio.wait_for(asyncio.gather(*(client.ask(request) for client in clients)), 60)
    finally:
        for client in clients:
            client.close()


class TestFirstRequests:
    def test_a_thousand_at_two_replicas_are_one_call_and_one_row(self, replicas: Replicas) -> None:
        (device,) = sign_in(replicas.database_url, 1)
        # For so long STS works: most come while the credential is on its way, and to the replica that did not ask too.
        replicas.sts.before_answer = lambda form: hold(threading.Event(), most=0.7)
        answers = asyncio.run(ask_at_once(replicas.ports, vend(device)))
        assert [answer.status for answer in answers] == [200] * CROWD
        vended = [answer.json() for answer in answers]
        kept = ("credential_id", "access_key_id", "secret_access_key", "session_token", "expiration", "prefix")
        assert len({tuple(credential[name] for name in kept) for credential in vended}) == 1
        assert len(replicas.sts.assumed) == 1
        ((credential_id, access_key_id),) = rows(
            replicas.database_url, "SELECT id, access_key_id FROM issued_credentials"
        )
        assert (str(credential_id), access_key_id) == (vended[0]["credential_id"], vended[0]["access_key_id"])
        events = "SELECT count(*) FROM audit_events WHERE event = 'credential.issued'"
        assert rows(replicas.database_url, events) == [(1,)]
