"""The database's migrations: where they are, whether the database has them all, and how to run them.

Expand, then contract. A migration only adds what the previous version can ignore: a table, a column with a default, an
index. So the previous version works with the tables of this one. A thing that is no longer used is dropped one version
after the last one that used it. Run `tokenvend migrate` first, then replace the replicas one by one.

Alembic is imported only where it runs, to save memory in a service that only checks the tables.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.platform.pooler import UNSET, cause
from app.platform.problems import DatabaseUnavailable
from app.platform.settings import Pooler

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
HEAD = "20261201641"
"""The newest migration, which this version's code needs. A test compares it with the files."""


def upgrade(url: str, password: Callable[[], str] | None = None, pooler: Pooler = "none") -> None:
    """Brings the database at `url` to this version's tables. It is safe to run twice, also from two hosts at once.

    Raises `DatabaseUnavailable`.
    """
    from alembic import command  # noqa: PLC0415

    try:
        command.upgrade(configuration(url, password, pooler), "head")
    except DBAPIError as error:
        known = cause(error)
        raise DatabaseUnavailable(cause=known if known == UNSET else str(error.orig).strip()) from error


def is_migrated(session: Session) -> bool:
    """Whether the database has the migrations that this version of the service needs, or newer ones."""
    if not inspect(session.connection()).has_table("alembic_version"):
        return False
    found = session.scalars(text("SELECT version_num FROM alembic_version")).one_or_none()
    return found is not None and found >= HEAD


def configuration(url: str, password: Callable[[], str] | None = None, pooler: Pooler = "none") -> "Config":
    """Alembic's configuration. It works from any directory and from an installed wheel."""
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes.update(url=url, password=password, pooler=pooler)
    return config
