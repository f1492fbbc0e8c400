"""A process that answers AssumeRole and GetCallerIdentity at once, with constant work: STS that costs next to nothing.

Tests use `tests/support/canned_sts.py`, which keeps forms and can fail; here it would be the bottleneck.
"""

import asyncio
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
    body = (
        f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{result}</{action}Result>'
        f"<ResponseMetadata><RequestId>bench</RequestId></ResponseMetadata></{action}Response>"
    ).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


ASSUMED, IDENTITY = _answers()


class Sts(Wire):
    def message(self, _head: bytes, body: bytes) -> None:
        self.transport.write(IDENTITY if b"Action=GetCallerIdentity" in body else ASSUMED)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Sts, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
