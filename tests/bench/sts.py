"""A process that answers AssumeRole and GetCallerIdentity with constant work: STS that costs next to nothing.

It answers at once and without a quota, unless its environment has `STS_DELAY` (seconds) and `STS_PER_SECOND`. Tests use
`tests/support/canned_sts.py`, which keeps forms and can fail; here it would be the bottleneck.
"""

import asyncio
import os
import time
from collections import deque
from datetime import UTC, datetime, timedelta

import uvloop

from tests.bench.wire import Wire

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
TOKEN = "FwoGZXIvYXdzE" + "B" * 900
"""As long as AWS's own."""


def _answers() -> tuple[bytes, bytes]:
    expiration = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assumed = (
        "<Credentials><AccessKeyId>ASIABENCHBENCHBENCH0</AccessKeyId>"
        "<SecretAccessKey>0123456789012345678901234567890123456789</SecretAccessKey>"
        f"<SessionToken>{TOKEN}</SessionToken><Expiration>{expiration}</Expiration></Credentials>"
        "<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/tokenvend-vending/x</Arn>"
        "<AssumedRoleId>AROA1:x</AssumedRoleId></AssumedRoleUser><PackedPolicySize>6</PackedPolicySize>"
    )
    identity = (
        "<Arn>arn:aws:sts::123456789012:assumed-role/service/i-1</Arn>"
        "<UserId>AROA1:i-1</UserId><Account>123456789012</Account>"
    )
    return _document("AssumeRole", assumed), _document("GetCallerIdentity", identity)


def _document(action: str, result: str) -> bytes:
    return _answer(
        "200 OK",
        f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{result}</{action}Result>'
        f"<ResponseMetadata><RequestId>bench</RequestId></ResponseMetadata></{action}Response>",
    )


def _answer(status: str, body: str) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


ASSUMED, IDENTITY = _answers()
THROTTLED = _answer(
    "400 Bad Request",
    f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type><Code>Throttling</Code>'
    "<Message>Rate exceeded</Message></Error><RequestId>bench</RequestId></ErrorResponse>",
)


class Quota:
    """So many calls within any one second, or any number."""

    def __init__(self, per_second: int | None) -> None:
        self._per_second = per_second
        self._taken: deque[float] = deque()

    def take(self) -> bool:
        if self._per_second is None:
            return True
        now = time.monotonic()
        while self._taken and self._taken[0] <= now - 1:
            self._taken.popleft()
        if len(self._taken) >= self._per_second:
            return False
        self._taken.append(now)
        return True


class Sts(Wire):
    def __init__(self, delay: float, quota: Quota) -> None:
        super().__init__()
        self._delay = delay
        self._quota = quota

    def message(self, _head: bytes, body: bytes) -> None:
        answer = IDENTITY if b"Action=GetCallerIdentity" in body else ASSUMED if self._quota.take() else THROTTLED
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self.transport.write, answer)
        else:
            self.transport.write(answer)


async def main() -> None:
    per_second = os.environ.get("STS_PER_SECOND")
    delay, quota = float(os.environ.get("STS_DELAY", "0")), Quota(int(per_second) if per_second else None)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Sts(delay, quota), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
