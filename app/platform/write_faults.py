"""Whether the database takes writes: remembers why it refused one until a later write succeeds."""

from app.platform.logs import log

_BY_STATE = {
    "25006": "read_only",
    "53100": "disk_full",
    "53200": "out_of_memory",
    "53400": "limit_reached",
    "58030": "io_error",
}
"""By PostgreSQL's SQLSTATE (PostgreSQL manual, appendix A)."""
_BY_NAME = {
    "SQLITE_FULL": "disk_full",
    "SQLITE_READONLY": "read_only",
    "SQLITE_NOMEM": "out_of_memory",
    "SQLITE_IOERR": "io_error",
}
"""By SQLite's primary result code. The name of an extended code begins with that of its primary code."""


class WriteFaults:
    """Holds the lasting fault, if there is one. A fault of a single statement, such as a lock, does not count."""

    def __init__(self) -> None:
        self.current: str | None = None

    def note(self, error: BaseException | None) -> None:
        """Remembers a lasting fault. `error` is what the driver, or SQLAlchemy for it, raised for a write."""
        fault = _fault(getattr(error, "orig", None) or error)
        if fault is not None and fault != self.current:
            log.error("database_takes_no_writes", fault=fault)
            self.current = fault

    def end(self) -> None:
        """Forgets the fault. Call it when a write has succeeded that needs some space."""
        if self.current is not None:
            log.info("database_takes_writes_again", fault=self.current)
            self.current = None


def _fault(error: object) -> str | None:
    if state := getattr(error, "sqlstate", None):
        return _BY_STATE.get(state)
    name = getattr(error, "sqlite_errorname", "")
    return next((fault for code, fault in _BY_NAME.items() if name.startswith(code)), None)
