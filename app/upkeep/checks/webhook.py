"""The operator's server that is told of events: sent two events of a test, one signed rightly and one by nobody."""

import secrets
import uuid

from app.events import queue
from app.events.courier import Courier, Undelivered
from app.platform.clock import Clock
from app.platform.guarded_pools import AddressRefused
from app.platform.network_faults import network_fault
from app.upkeep.checks.findings import Finding

NAME = "events out"
SETTING = "TOKENVEND_WEBHOOK_URL"


async def check(courier: Courier | None, clock: Clock) -> list[Finding]:
    return [] if courier is None else [await _check(courier, clock)]


async def _check(courier: Courier, clock: Clock) -> Finding:
    event_id = uuid.uuid4()
    body = queue.payload(event_id, "webhook.test", clock.now(), user_id=None, sequence=None, data={})
    try:
        await courier.send(str(event_id), body)
    except Undelivered as error:
        return _refused(error)
    try:
        await courier.send(str(uuid.uuid4()), body, by=[secrets.token_bytes(32)])
    except Undelivered:
        return Finding(NAME, "ok", "the server takes a signed event, and no other")
    said = "the server takes an event with another signature, so anybody may tell it anything"
    return Finding(NAME, "warning", said, "let it verify the signature first: docs/operate/events-out.md has the lines")


def _refused(error: Undelivered) -> Finding:
    if error.status is not None:
        said = f"the server answers a signed event with status {error.status}"
        return Finding(
            NAME, "failed", said, "compare TOKENVEND_WEBHOOK_SECRET there and here, and see the server's log"
        )
    if isinstance(error.__cause__, Exception) and isinstance(error.__cause__.__cause__, AddressRefused):
        said = "the address of the server is not allowed"
        mend = f"{SETTING} must lead to a public address; TOKENVEND_WEBHOOK_PRIVATE=on allows private ones"
        return Finding(NAME, "failed", said, mend)
    fault = network_fault(error)
    if fault is None:
        return Finding(NAME, "failed", f"the server does not answer ({error.fault})", f"check {SETTING} and its log")
    return Finding(NAME, "failed", f"the server cannot be told: {fault.text}", f"{fault.repair}; {SETTING} names it")
