"""How many rows a list has: exactly where that is quick, else about how many.

PostgreSQL counts row by row. So it counts up to `COUNTED` rows, and for a quarter of a second. Beyond that the estimate
of its planner has to do, which reads no row at all.
"""

from dataclasses import dataclass
from typing import Any, Literal

from psycopg.errors import QueryCanceled
from sqlalchemy import ClauseElement, Executable, Select, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session

from app.platform.db import PLANNED_ANEW
from app.platform.process import Platform

Kind = Literal["exact", "at_least", "estimate"]
COUNTED = 10_000
LIMIT = text("SET LOCAL statement_timeout = 250")


@dataclass(frozen=True)
class Count:
    total: int
    kind: Kind


class _Plan(Executable, ClauseElement):
    """What PostgreSQL would do for a statement, as JSON."""

    inherit_cache = False

    def __init__(self, statement: Select[Any]) -> None:
        self.statement = statement


@compiles(_Plan)
def _explain(element: _Plan, compiler: Any, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, **options)}"


async def count(platform: Platform, rows: Select[Any]) -> Count:
    """How many `rows` there are."""
    # PostgreSQL takes a time limit for a transaction only. On SQLite, one would keep others from writing.
    if platform.database.engine.dialect.name == "postgresql":
        return await platform.database.write(_count_or_estimate, rows)
    total = await platform.database.read(_count, rows)
    return Count(total, "exact") if total <= COUNTED else Count(COUNTED, "at_least")


def _count(session: Session, rows: Select[Any]) -> int:
    counted = select(func.count()).select_from(rows.limit(COUNTED + 1).subquery())
    return session.scalar(counted.execution_options(**{PLANNED_ANEW: True})) or 0


def _count_or_estimate(session: Session, rows: Select[Any]) -> Count:
    try:
        with session.begin_nested():
            session.execute(LIMIT)
            total = _count(session, rows)
    except DBAPIError as error:
        if not isinstance(error.orig, QueryCanceled):
            raise
        total = None
    if total is not None and total <= COUNTED:
        return Count(total, "exact")
    plans: list[dict[str, Any]] = session.connection().execute(_Plan(rows)).scalar_one()
    return Count(max(int(plans[0]["Plan"]["Plan Rows"]), total or 0), "estimate")
