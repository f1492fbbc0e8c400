"""Background work in each replica. Its state is in the database, so another replica continues what one left behind.

A job is one pass over the waiting rows. A statement that only one replica can win claims rows for the time of a lease.
The job returns whether more rows may be waiting. `Runtime.jobs` in `compose.py` lists the jobs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from app.platform.db import Database
from app.platform.logs import log
from app.platform.metrics import Metrics
from app.platform.problems import Problem


@dataclass(frozen=True)
class Job:
    name: str
    work: Callable[[], Awaitable[bool]]
    every: float
    """Seconds to wait after a pass that left no more work."""
    woken_by: str | None = None
    """The name of a signal of `Database.signals` that ends the wait."""


async def keep_working(jobs: Sequence[Job], database: Database, metrics: Metrics) -> None:
    """Runs every job until it is cancelled."""
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            group.create_task(_repeat(job, database, metrics))


async def _repeat(job: Job, database: Database, metrics: Metrics) -> None:
    signals = database.signals
    if job.woken_by:
        signals.listen(job.woken_by)
    while True:
        try:
            more = await job.work()
        except Problem as problem:
            if not database.complain(problem):
                log.error("job_failed", job=job.name, code=problem.code, cause=problem.cause)
            metrics.job_failures.labels(job.name).inc()
            more = False
        except Exception as error:  # noqa: BLE001 - the next run may succeed, and the other jobs go on
            log.error("job_failed", job=job.name, exc_info=error)
            metrics.job_failures.labels(job.name).inc()
            more = False
        if more:
            continue
        if job.woken_by:
            await signals.wait(job.woken_by, seconds=job.every)
        else:
            await asyncio.sleep(job.every)
