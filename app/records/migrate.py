"""The database's migrations: where they are, whether they are all there, and running them.

Expand, then contract: the version before works on with the tables of this one, because a migration only adds what that
version does not miss (a table, a column with a default, an index); what nobody needs any more goes with the migration
of the version after the last one that used it. So `tokenvend migrate` runs first, and replicas are replaced one by one.

Alembic is imported where it runs: a service that only asks whether the tables fit does without its memory.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.platform.problems import DatabaseUnavailable

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
HEAD = "2026112910"
"""The newest migration, which this version's code needs; a test holds it to the files."""


def upgrade(url: str, password: Callable[[], str] | None = None) -> None:
    """Brings the database at `url` to this version's tables. Safe to run twice, and at once from two hosts.

    Raises `DatabaseUnavailable`.
    """
    from alembic import command  # noqa: PLC0415

    try:
        command.upgrade(configuration(url, password), "head")
    except DBAPIError as error:
        raise DatabaseUnavailable(cause=str(error.orig).strip()) from error


def is_migrated(session: Session) -> bool:
    """Whether the database has the migrations that this version of the service needs: they, or newer ones."""
    if not inspect(session.connection()).has_table("alembic_version"):
        return False
    found = session.scalars(text("SELECT version_num FROM alembic_version")).one_or_none()
    return found is not None and found >= HEAD


def configuration(url: str, password: Callable[[], str] | None = None) -> "Config":
    """Alembic's configuration, from any directory and from an installed wheel."""
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes.update(url=url, password=password)
    return config
