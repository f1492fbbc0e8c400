"""Checks whether this process can do its work, for `/readyz` and `tokenvend doctor`."""

import asyncio
import os
from uuid import uuid4

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from app.auth.keys import Keyring
from app.platform.clock import Clock
from app.platform.db import Database
from app.platform.metrics import Metrics
from app.platform.pooler import SHARED, UNSET
from app.platform.problems import Problem
from app.records.migrate import is_migrated
from app.records.models import WriteProbe
from app.vending.broker import Broker

KEPT_FOR = 2.0
"""Seconds that a result is kept. Anybody may call `/readyz`, which must not use up STS's quota."""
OK = "ok"
POOLER_NOT_SET = "pooler_not_set"
"""`TOKENVEND_DATABASE_POOLER` does not name the mode of the pooler that is there."""
PROBE_BYTES = 65_536
"""Random bytes, so that no database compresses them. A smaller write might still fit when nothing else does."""


class Health:
    def __init__(self, database: Database, keyring: Keyring, broker: Broker, clock: Clock, metrics: Metrics) -> None:
        self._database = database
        self._keyring = keyring
        self._broker = broker
        self._clock = clock
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._checked_at = float("-inf")
        self._results: dict[str, str] = {}

    async def check(self) -> dict[str, str]:
        """For each of `database`, `keys` and `engine`: `ok`, or the code of its problem."""
        async with self._lock:
            if self._clock.monotonic() - self._checked_at > KEPT_FOR:
                database, engine = await asyncio.gather(self._database_state(), self._engine_state())
                self._results = {"database": database, "keys": self._keys_state(), "engine": engine}
                self._checked_at = self._clock.monotonic()
                for part, state in self._results.items():
                    self._metrics.ready.labels(part).set(state == OK)
        return self._results

    async def _database_state(self) -> str:
        try:
            await self._database.examine()
            if not await self._database.read(is_migrated):
                return "migrations_pending"
        except Problem as problem:
            return POOLER_NOT_SET if problem.cause in (UNSET, SHARED) else problem.code
        if self._database.write_faults.current is not None:
            await self._try_to_write()
        return self._database.write_faults.current or OK

    async def _try_to_write(self) -> None:
        """Ends the fault of an earlier write if a write succeeds now.

        A load balancer sends no requests to a replica that is not ready, so nothing else would find out. The probe's
        row is committed, because some databases only then find that they have no room. It is deleted at once.
        """
        try:
            await self._database.write(_take_probes_back)  # left by a replica that died in between
            await self._database.write(_leave_probe)
            await self._database.write(_take_probes_back)
        except Problem:
            return
        self._database.write_faults.end()

    async def _engine_state(self) -> str:
        try:
            await self._broker.check()
        except Problem as problem:
            return problem.code
        return OK

    def _keys_state(self) -> str:
        try:
            self._keyring.current()
        except Problem as problem:
            return problem.code
        return OK


def _leave_probe(session: Session) -> None:
    session.execute(insert(WriteProbe).values(id=uuid4(), data=os.urandom(PROBE_BYTES)))


def _take_probes_back(session: Session) -> None:
    session.execute(delete(WriteProbe))
