"""What the service asks of a connection to PostgreSQL, with or without a pooler such as PgBouncer in between.

Statements have the same time limits on each way. Without a pooler, and behind one in session mode, a connection gets
them once. A pooler in transaction mode lends a session of the server for one transaction. So each transaction brings
its limits, nothing is prepared, and nothing is left behind in the session.
"""

import os
import re
from typing import Any

import psycopg
from sqlalchemy.engine import URL

from app.platform.settings import Pooler

LIMITS = {"statement_timeout": 2500, "lock_timeout": 2000, "idle_in_transaction_session_timeout": 10_000}
"""Milliseconds."""
CONNECT_TIMEOUT = 2
"""Seconds to connect, for each host."""
BEGIN = "; ".join(("BEGIN", *(f"SET LOCAL {name} = {limit}" for name, limit in LIMITS.items())))
"""Begins a transaction with limits of its own, in one round trip."""
REACHED = "tokenvend.direct"
"""A parameter that means nothing to PostgreSQL, which keeps it. A pooler that drops start-up options drops it too."""
OPENING = {
    "none": f"SELECT current_setting('{REACHED}', true)",
    "session": "SELECT " + ", ".join(f"set_config('{name}', '{limit}', false)" for name, limit in LIMITS.items()),
}
"""The first statement of a connection. Its row begins with something, unless a pooler has dropped the options."""
UNSET = (
    "a pooler between the service and PostgreSQL takes no start-up options: set TOKENVEND_DATABASE_POOLER to its mode, "
    "session or transaction, and give the role what DATABASE_URL has in `options`"
)
SHARED = "a pooler lends each transaction another session: set TOKENVEND_DATABASE_POOLER=transaction"
_REFUSED = re.compile(r"startup parameter|command-line options", re.IGNORECASE)
"""PgBouncer's words for options, and RDS Proxy's."""
_LOOKS = 4


def connect_arguments(url: URL, pooler: Pooler) -> dict[str, Any]:
    """What psycopg gets besides what the URL says. Where both say something, the URL wins."""
    own: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT, "fallback_application_name": "tokenvend"}
    if pooler == "transaction":
        own["prepare_threshold"] = None
    own = {name: value for name, value in own.items() if name not in url.query}
    if pooler == "none":
        ours = " ".join(f"-c {name}={value}" for name, value in {**LIMITS, REACHED: "on"}.items())
        own["options"] = f"{ours} {_options(url)}".rstrip()  # the server takes the last of two
    return own


def _options(url: URL) -> str:
    given = url.query.get("options") or os.environ.get("PGOPTIONS", "")
    return given if isinstance(given, str) else " ".join(given)


def cause(error: BaseException) -> str:
    """Why the database cannot be used: only the kind of fault, because drivers put parameters into their messages."""
    original = getattr(error, "orig", None) or error
    if isinstance(original, psycopg.OperationalError) and _REFUSED.search(str(original)):
        return UNSET
    return f"{type(original).__module__}.{type(original).__qualname__}"


def shares_sessions(arguments: dict[str, Any]) -> bool:
    """Whether statements of one connection run in several sessions of the server, or those of two in the same.

    Raises psycopg's errors.
    """
    settled = {**arguments, "autocommit": True, "prepare_threshold": None}
    with psycopg.connect(**settled) as one, psycopg.connect(**settled) as other:
        seen = [{_session(connection) for _ in range(_LOOKS)} for connection in (one, other, one)]
    return len(seen[0] | seen[2]) > 1 or bool(seen[0] & seen[1])


def _session(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0
