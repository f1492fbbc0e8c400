"""Makes the two roles of database.sql, as the database's administrator: PGHOST, PGUSER, PGPASSWORD, PGDATABASE."""

from pathlib import Path

import psycopg


def main() -> None:
    statements = Path(__file__).with_name("database.sql").read_text(encoding="utf-8")
    with psycopg.connect("", autocommit=True) as connection:
        connection.execute(statements)


if __name__ == "__main__":
    main()
