"""The database: whether it answers, has this version's tables, and keys that open with the secret key."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.auth.keys import Keyring
from app.platform.database_faults import MIGRATE
from app.platform.db import Database, sqlite_file
from app.platform.pooler import LIMITS, SHARED, UNSET
from app.platform.problems import Problem
from app.platform.settings import Settings
from app.records.migrate import is_migrated
from app.upkeep.checks.findings import Finding

NO_FILE = (
    "run `tokenvend migrate` to make it, or the command in the folder of the service; TOKENVEND_DATABASE_URL says where"
)
ANOTHER_SECRET = "TOKENVEND_SECRET_KEY must be the one that the keys were made with"  # noqa: S105 - a sentence


async def check(database: Database, settings: Settings, keyrings: Sequence[Keyring]) -> list[Finding]:
    """Makes the first key, as the service would at its start."""
    findings = []
    file = sqlite_file(database.engine.url)
    if file is not None and not file.exists():
        return [Finding("database", "failed", f"there is no database at {file}", NO_FILE)]
    try:
        await database.examine()
        migrated = await database.read(is_migrated)
        findings.append(Finding("database", "ok", await database.read(_what_holds, settings)))
    except Problem as problem:
        return [_unusable(database, problem)]
    if not migrated:
        return [*findings, Finding("migrations", "failed", "the database is not at this version's migration", MIGRATE)]
    findings.append(Finding("migrations", "ok", "up to date"))
    if not settings.secret_key.get_secret_value():  # a key of another secret must not become the first
        return [*findings, Finding("settings", "failed", "TOKENVEND_SECRET_KEY is not set", ANOTHER_SECRET)]
    for keyring in keyrings:
        await keyring.try_load()
        try:
            findings.append(Finding("keys", "ok", f"signing {keyring.purpose} tokens with {keyring.current().kid}"))
        except Problem as problem:
            findings.append(Finding("keys", "failed", problem.cause or problem.code, ANOTHER_SECRET))
    return findings


def _unusable(database: Database, problem: Problem) -> Finding:
    if problem.cause in (UNSET, SHARED):
        return Finding("database", "failed", problem.cause)
    if (outage := database.outage(problem)) is not None:
        return Finding("database", "failed", outage.text, outage.repair)
    mend = "check TOKENVEND_DATABASE_URL and that the database is up"
    return Finding("database", "failed", problem.cause or problem.code, mend)


def _what_holds(session: Session, settings: Settings) -> str:
    """What the server says of a statement's session, which a pooler or the URL may have changed."""
    if session.get_bind().dialect.name != "postgresql":
        return session.get_bind().dialect.name
    limits = [f"{name} {session.scalar(select(func.current_setting(name)))}" for name in LIMITS]
    schema = session.scalar(select(func.current_schema()))
    path = session.scalar(select(func.current_setting("search_path")))
    statements = "nothing is prepared" if settings.database_pooler == "transaction" else "statements are prepared"
    return f"postgresql; tables in {schema} (search_path {path}); {', '.join(limits)}; {statements}"
