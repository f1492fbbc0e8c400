"""The database's migrations: where they are, whether they are all there, and running them."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.orm import Session

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"


def upgrade(url: str) -> None:
    """Brings the database at `url` to this version's tables. Safe to run twice, and at once from two hosts."""
    command.upgrade(configuration(url), "head")


def is_migrated(session: Session) -> bool:
    """Whether the database has exactly the migrations that this version of the service needs."""
    found = MigrationContext.configure(session.connection()).get_current_heads()
    return set(found) == set(ScriptDirectory.from_config(configuration()).get_heads())


def configuration(url: str | None = None) -> Config:
    """Alembic's configuration, from any directory and from an installed wheel."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url
    return config
