"""The database's migrations: where they are, whether they are all there, and running them.

Alembic is imported where it runs: a service that only asks whether the tables fit does without its memory.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.problems import DatabaseUnavailable

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
HEAD = "2026112404"
"""The newest migration, which this version's code needs; a test holds it to the files."""


def upgrade(url: str) -> None:
    """Brings the database at `url` to this version's tables. Safe to run twice, and at once from two hosts.

    Raises `DatabaseUnavailable`.
    """
    from alembic import command  # noqa: PLC0415

    try:
        command.upgrade(configuration(url), "head")
    except DBAPIError as error:
        raise DatabaseUnavailable(cause=str(error.orig).strip()) from error


def is_migrated(session: Session) -> bool:
    """Whether the database has exactly the migrations that this version of the service needs."""
    if not inspect(session.connection()).has_table("alembic_version"):
        return False
    return list(session.scalars(text("SELECT version_num FROM alembic_version"))) == [HEAD]


def configuration(url: str) -> "Config":
    """Alembic's configuration, from any directory and from an installed wheel."""
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    return config
