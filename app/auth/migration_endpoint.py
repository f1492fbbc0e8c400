"""Asks an address of the operator's about passwords, which is a few lines in front of any old system.

The question is signed as Standard Webhooks say, so that the endpoint answers this service alone. The password goes
only there, and nothing of question and answer is logged.
"""

import json
from collections.abc import Sequence

from app.auth.old_system import DOWN, Claimed, NoAnswer, OldSystem
from app.crypto import webhooks
from app.crypto.strict_json import strict_object
from app.platform.clock import Clock
from app.platform.logs import log
from app.platform.metrics import Metrics
from app.platform.printable import cleaned
from app.records.models import COGNITO, OLD_SYSTEM

CONNECT_WITHIN = 1.0
ANSWER_WITHIN = 4.0
"""Seconds. The endpoint may ask another service, or verify a costly hash."""
NO = frozenset({401, 403, 404})
LONGEST_NAME = 100


class MigrationEndpoint(OldSystem):
    brings = frozenset({OLD_SYSTEM, COGNITO})

    def __init__(self, url: str, keys: Sequence[bytes], clock: Clock, metrics: Metrics) -> None:
        super().__init__(clock, metrics, connect_within=CONNECT_WITHIN, within=CONNECT_WITHIN + ANSWER_WITHIN)
        self._url = url
        self._keys = keys

    async def status_of(self, email: str, password: str, *, by: Sequence[bytes] | None = None) -> int:
        """The status that a question gets, signed by other keys if `by` has some. Raises `NoAnswer`."""
        status, _ = await self._send(email, password, self._keys if by is None else by)
        return status

    async def _ask(self, email: str, password: str) -> Claimed | None:
        status, text = await self._send(email, password, self._keys)
        if status in NO:
            return None
        if status != 200:
            raise NoAnswer(f"status {status}", down=status in DOWN)
        try:
            answer = strict_object(text)
        except (ValueError, RecursionError):
            raise NoAnswer("the answer is no JSON object", down=False) from None
        there, verified, name = (answer.get(member) for member in ("email", "email_verified", "name"))
        if not (isinstance(there, str) and isinstance(verified, bool) and isinstance(name, str | None)):
            log.error("old_system_not_understood", mend='answer {"email": …, "email_verified": true, "name": …}')
            return None
        return Claimed(there, verified, cleaned(name, LONGEST_NAME) if name else None)

    async def _send(self, email: str, password: str, keys: Sequence[bytes]) -> tuple[int, bytes]:
        body = json.dumps({"email": email, "password": password}).encode()
        timestamp = int(self._clock.now().timestamp())
        headers = {"Content-Type": "application/json", **webhooks.signed(keys, webhooks.new_id(), timestamp, body)}
        return await self._post(self._url, body, headers)
