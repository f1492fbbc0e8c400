"""Work in the background of each replica, resumable from the database: whatever dies is taken up by another.

A job is one pass over what waits: it claims rows by a statement that only one replica can win, for as long as a lease,
and returns whether there may be more at once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from app.admin import prune, tally
from app.auth import endings
from app.lifecycle import lost_guests
from app.mail import outbox
from app.platform.problems import Problem
from app.revocation import job as revocation
from app.revocation import marks
from app.sharing import giving
from app.sharing import grants as sharing
from app.storage import quota
from app.upkeep import canary, erased_objects, usage_count

if TYPE_CHECKING:
    from app.compose import Runtime

log = structlog.get_logger("tokenvend.jobs")


@dataclass(frozen=True)
class Job:
    name: str
    work: Callable[["Runtime"], Awaitable[bool]]
    every: float
    """Seconds to wait after a pass that found nothing more."""
    woken_by: str | None = None
    """A signal of the database's that ends the wait."""


async def _send_mail(runtime: "Runtime") -> bool:
    return await runtime.postman.send_waiting()


JOBS: tuple[Job, ...] = (
    Job("outbox", _send_mail, every=5, woken_by=outbox.SIGNAL),
    Job("revocation", revocation.apply_next, every=5, woken_by=marks.SIGNAL),
    Job("sessions", endings.settle_next, every=30, woken_by=endings.SIGNAL),
    Job("sharing", giving.recall_next, every=5, woken_by=sharing.SIGNAL),
    Job("erasure", erased_objects.erase_next, every=30),
    Job("lost guests", lost_guests.erase_next, every=600),
    Job("usage", usage_count.count_next, every=15, woken_by=quota.SIGNAL),
    Job("canary", canary.watch, every=60),
    Job("tally", tally.work, every=15),
    Job("cleaning", prune.clean, every=3600),
)


async def keep_working(runtime: "Runtime") -> None:
    """Runs every job for as long as the service."""
    async with asyncio.TaskGroup() as group:
        for job in JOBS:
            group.create_task(_repeat(runtime, job))


async def _repeat(runtime: "Runtime", job: Job) -> None:
    signals = runtime.database.signals
    if job.woken_by:
        signals.listen(job.woken_by)
    while True:
        try:
            more = await job.work(runtime)
        except Problem as problem:
            log.error("job_failed", job=job.name, code=problem.code, cause=problem.cause)
            runtime.metrics.job_failures.labels(job.name).inc()
            more = False
        except Exception as error:
            log.error("job_failed", job=job.name, exc_info=error)
            runtime.metrics.job_failures.labels(job.name).inc()
            more = False
        if more:
            continue
        if job.woken_by:
            await signals.wait(job.woken_by, seconds=job.every)
        else:
            await asyncio.sleep(job.every)
