"""Says in one sentence why nothing can be done with the database at all, in the driver's own words, and the repair.

Drivers put parameters of statements into their messages, so most messages are never shown. Those of an attempt to
connect have host, port, user and database, and no parameter. The password is taken out all the same.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote

import psycopg
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from app.platform.pooler import SHARED, UNSET, cause

MIGRATE = "run `tokenvend migrate`"
LONGEST = 400
HIDDEN = "***"
_REPAIRS = {
    r"resolve host|translate host name": "check the host name in TOKENVEND_DATABASE_URL, and the DNS of this machine",
    r"password authentication failed|no password supplied|could not send .*password": "check user and password in "
    "TOKENVEND_DATABASE_URL; write `@`, `/`, `:`, `#` and `%` in them by their percent codes",
    r"pg_hba\.conf|SSL|certificate|TLS": "check `sslmode` and `sslrootcert` in TOKENVEND_DATABASE_URL, and the "
    "server's pg_hba.conf",
    r"database \".*\" does not exist": "create that database, or correct its name in TOKENVEND_DATABASE_URL",
    r"role \".*\" does not exist": "create that role, or correct the user in TOKENVEND_DATABASE_URL",
    r"refused|No such file": "check host and port in TOKENVEND_DATABASE_URL, and that PostgreSQL runs and listens "
    "there",
    r"timeout|timed out|unreachable|no route": "check host and port in TOKENVEND_DATABASE_URL, and firewalls and "
    "security groups between here and there",
    r"too many|remaining connection slots": "lower TOKENVEND_DATABASE_POOL_SIZE, or raise the server's max_connections",
    r"starting up|shutting down|recovery": "wait until the server has started",
    r"no database at|unable to open": "run `tokenvend migrate` to make it, or the command in the folder of the "
    "service; TOKENVEND_DATABASE_URL says where it is",
}
"""By words of the driver's message, the first that fit."""
_GENERAL = "check TOKENVEND_DATABASE_URL and that the database is up"
_LACKS = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn)
_LACKING = re.compile(r"no such (table|column)")


@dataclass(frozen=True)
class Outage:
    """Why the whole database cannot be used, not one statement alone."""

    text: str
    repair: str


def outage(error: BaseException, url: URL) -> Outage | None:
    """What keeps every statement from working, by the fault that `error` was raised from; None for another fault."""
    fault: BaseException | None = error
    while fault is not None and not isinstance(fault, (DBAPIError, psycopg.Error)):
        fault = fault.__cause__
    if fault is None:
        return None
    if cause(fault) in (UNSET, SHARED):
        return Outage("the database is behind a pooler that the settings do not name", cause(fault))
    original = fault.orig if isinstance(fault, DBAPIError) else fault
    if isinstance(original, _LACKS) or _LACKING.match(str(original)):
        return unmigrated()
    of_a_statement = fault.statement if isinstance(fault, DBAPIError) else fault.sqlstate
    if of_a_statement is not None:
        return None
    words = _words(str(original), url)
    repair = next((say for known, say in _REPAIRS.items() if re.search(known, words, re.IGNORECASE)), _GENERAL)
    return Outage(f"the database {_place(url)} cannot be reached: {words}", repair)


def unmigrated() -> Outage:
    return Outage("the database has not the tables of this version", MIGRATE)


def _words(message: str, url: URL) -> str:
    """The driver's message in one line, without the password."""
    for secret in {url.password or "", quote(url.password or "", safe="")} - {""}:
        message = message.replace(secret, HIDDEN)
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return "; ".join(dict.fromkeys(lines))[:LONGEST]


def _place(url: URL) -> str:
    """Where it is, without user and password."""
    if url.get_backend_name() == "sqlite":
        return f"in {url.database or 'memory'}"
    host = url.host or url.query.get("host", "this machine")
    return f"{url.database or ''} at {host}{f':{url.port}' if url.port else ''}".strip()
