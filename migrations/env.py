"""Runs migrations as one transaction under one lock: of two hosts that try at once, one waits and finds nothing to do.

Alembic has no lock of its own. PostgreSQL has advisory ones; on SQLite `BEGIN IMMEDIATE` is the lock, and with it DDL
is part of the transaction, so that a killed migration leaves nothing behind.
"""

from alembic import context
from sqlalchemy import Connection, text

from app.aws.rds_password import database_password
from app.platform.db import make_engine
from app.platform.environment import load_settings
from app.records import indexes
from app.records.models import Model

LOCK = 0x746F6B656E766E64
"""`tokenvnd`: a number that no other user of the database would choose."""
PATIENCE = 300
"""Seconds to wait for another host's migration, and for PostgreSQL to build an index."""


def is_modelled(_object: object, name: str | None, _kind: str, _reflected: bool, _compare_to: object) -> bool:
    """Whether it is for models.py to know: what finds users by text is another thing on each engine."""
    return not (name or "").startswith(("users_text", "ix_users_text"))


def migrate(connection: Connection) -> None:
    sqlite = connection.dialect.name == "sqlite"
    if sqlite:
        # A table that others refer to is altered by making it anew, and the pragma does nothing in a transaction.
        connection.connection.execute("PRAGMA foreign_keys=OFF")
    with connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL lock_timeout = '{PATIENCE}s'"))
            connection.execute(text(f"SET LOCAL statement_timeout = '{PATIENCE}s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.configure(
            connection=connection,
            target_metadata=Model.metadata,
            transactional_ddl=True,
            transaction_per_migration=False,
            render_as_batch=sqlite,
            compare_type=True,
            include_object=is_modelled,
        )
        with context.begin_transaction():
            context.run_migrations()
        if sqlite and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first()):
            raise RuntimeError(f"the migration would leave a row of {broken[0]} without the {broken[2]} it refers to")


def _is_newest(connection: Connection) -> bool:
    version = text("SELECT version_num FROM alembic_version")
    return connection.execute(version).scalar_one_or_none() == context.get_head_revision()


def run() -> None:
    attributes = context.config.attributes
    if "url" not in attributes:  # alembic's own command
        settings = load_settings()
        attributes.update(
            url=settings.database_url, password=database_password(settings), pooler=settings.database_pooler
        )
    engine = make_engine(
        attributes["url"],
        pool_size=1,
        busy_timeout=PATIENCE,
        password=attributes["password"],
        pooler=attributes["pooler"],
    )
    try:
        with engine.connect() as connection:
            migrate(connection)
            if connection.dialect.name == "postgresql" and _is_newest(connection):
                indexes.make_missing(connection, shared=attributes["pooler"] == "transaction")
    finally:
        engine.dispose()


run()
