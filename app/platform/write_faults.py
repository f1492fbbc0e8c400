"""Whether the database takes writes: what it refused the last one for, until a write is tried and succeeds."""

import sqlite3

import psycopg
import structlog

log = structlog.get_logger("tokenvend.database")

_BY_STATE = {
    "25006": "read_only",
    "53100": "disk_full",
    "53200": "out_of_memory",
    "53400": "limit_reached",
    "58030": "io_error",
}
"""PostgreSQL's SQLSTATEs (its manual, appendix A)."""
_BY_NAME = {
    "SQLITE_FULL": "disk_full",
    "SQLITE_READONLY": "read_only",
    "SQLITE_NOMEM": "out_of_memory",
    "SQLITE_IOERR": "io_error",
}
"""SQLite's result codes, which extended ones begin with."""


class WriteFaults:
    """The one that lasts, if any. One of a single statement, such as a lock, is none."""

    def __init__(self) -> None:
        self.current: str | None = None

    def note(self, error: BaseException | None) -> None:
        """Remembers what a driver, or SQLAlchemy for it, said when it refused a write."""
        fault = _fault(getattr(error, "orig", None) or error)
        if fault is not None and fault != self.current:
            log.error("database_takes_no_writes", fault=fault)
            self.current = fault

    def end(self) -> None:
        """A write of some size has succeeded."""
        if self.current is not None:
            log.info("database_takes_writes_again", fault=self.current)
            self.current = None


def _fault(error: object) -> str | None:
    if isinstance(error, psycopg.Error):
        return _BY_STATE.get(error.sqlstate or "")
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "")
        return next((fault for code, fault in _BY_NAME.items() if name.startswith(code)), None)
    return None
