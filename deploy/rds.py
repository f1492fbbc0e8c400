"""RDS for PostgreSQL without a password: beside the service, `keep` renews IAM's short-lived token in a password file.

libpq, and so the service, reads PGPASSFILE at each new connection; a connection outlives its token. `prepare` makes the
two roles of database.sql, once, as the master user. Both take libpq's variables: PGHOST, PGPORT, PGUSER, PGDATABASE.
"""

import os
import sys
import time
from pathlib import Path

import boto3
import psycopg

RENEWED_EVERY = 600
"""Seconds; a token is good for 900."""
RETRIED_EVERY = 5


def line(*fields: str) -> str:
    r"""Of a password file: `host:port:database:user:password`, where `:` and `\` are escaped."""
    return ":".join(field.replace("\\", "\\\\").replace(":", "\\:") for field in fields) + "\n"


def write(file: Path, text: str) -> None:
    """The whole file or nothing of it, for its owner alone: libpq ignores others."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
    new.replace(file)


def renew(file: Path) -> None:
    """Signs a token; nothing is sent to AWS but what the SDK needs for its own credentials."""
    host, port, user = os.environ["PGHOST"], os.environ.get("PGPORT", "5432"), os.environ["PGUSER"]
    token = boto3.client("rds").generate_db_auth_token(DBHostname=host, Port=int(port), DBUsername=user)
    write(file, line(host, port, "*", user, token))


def keep() -> None:
    file = Path(os.environ["PGPASSFILE"])
    while True:
        try:
            renew(file)
        except Exception as error:  # noqa: BLE001 - whatever it is, the last token may be good, and the next call may do
            print(f"no token: {type(error).__name__}", file=sys.stderr, flush=True)  # noqa: T201
            time.sleep(RETRIED_EVERY)
        else:
            time.sleep(RENEWED_EVERY)


def prepare() -> None:
    statements = Path(__file__).with_name("database.sql").read_text(encoding="utf-8")
    with psycopg.connect("", autocommit=True) as connection:
        connection.execute(statements)


if __name__ == "__main__":
    {"keep": keep, "prepare": prepare}[sys.argv[1]]()
