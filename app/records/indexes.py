"""Indexes of tables that may have millions of rows, made on PostgreSQL while others write.

CREATE INDEX inside a migration keeps everybody from writing until the migration ends. So migrations leave such indexes
to this: once they are committed, it makes each index of `models.py` that the database lacks, by CREATE INDEX
CONCURRENTLY. A run that was killed leaves an invalid index behind, and the next run makes it anew. Of two hosts at once
one makes an index, and the other finds it there.
"""

import time

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Index
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex

from app.records.models import Model

_THERE = "SELECT relname FROM pg_class WHERE relkind = 'i' AND relnamespace = current_schema()::regnamespace"
_LEFT_BEHIND = """
    SELECT relname FROM pg_class JOIN pg_index ON indexrelid = pg_class.oid
    WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace
    AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE index_relid = pg_class.oid)
"""
TRIES = 10
"""Two hosts that make one index at once wait for each other, and PostgreSQL ends the statement of one of them."""
_UNHURRIED = ("SET statement_timeout = 0", "SET lock_timeout = 0")


def make_missing(connection: Connection, *, shared: bool) -> None:
    """Makes each index of the models that PostgreSQL lacks. Ends the connection's transaction.

    `shared`: a pooler may give each statement another session, which has no time limits of ours.
    """
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        return
    connection.rollback()
    former, driver.autocommit = driver.autocommit, True
    try:
        for tried in range(TRIES):
            try:
                _make(driver, shared=shared)
            except psycopg.errors.DeadlockDetected:
                if tried + 1 == TRIES:
                    raise
                time.sleep(1)
            else:
                return
    finally:
        driver.autocommit = former


def _make(driver: psycopg.Connection, *, shared: bool) -> None:
    with driver.cursor() as cursor:
        for statement in () if shared else _UNHURRIED:
            cursor.execute(statement)
        for (name,) in cursor.execute(_LEFT_BEHIND).fetchall():
            cursor.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier(name)))
        there = {name for (name,) in cursor.execute(_THERE)}
        for index in (index for table in Model.metadata.sorted_tables for index in table.indexes):
            if index.name not in there:
                cursor.execute(_statement(index).encode())


def _statement(index: Index) -> str:
    made = str(
        CreateIndex(index, if_not_exists=True).compile(
            dialect=postgresql.dialect()  # type: ignore[no-untyped-call]
        )
    )
    return made.replace("INDEX", "INDEX CONCURRENTLY", 1)
