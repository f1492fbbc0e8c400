"""What administrators find users by: newest first, staff, the inactive, and any three characters of address or name.

PostgreSQL does the last by pg_trgm, where the extension is there and may be created; without it the same query reads
the table. An operator who gets the extension later runs the statements of `_text_of_postgresql` by hand.

SQLite does it by an FTS5 table, kept by triggers on `users`. A batch operation on `users` makes that table anew and so
drops them: a migration that has one drops what `drop_text` does before it, and makes it again afterwards.
"""

import sqlalchemy as sa
from alembic import op

revision = "2026112403"
down_revision = "2026112402"
branch_labels = None
depends_on = None

STAFF, INACTIVE = sa.text("role <> 'user'"), sa.text("status <> 'active'")
# FTS5 knows a row by its number. One of users' own may change (VACUUM), so each user gets one here.
SQLITE = (
    "CREATE TABLE users_text_rows (number INTEGER PRIMARY KEY, user_id CHAR(32) NOT NULL UNIQUE)",
    "CREATE VIRTUAL TABLE users_text USING fts5(email, display_name, tokenize = 'trigram')",
    "INSERT INTO users_text_rows (user_id) SELECT id FROM users",
    """
    INSERT INTO users_text (rowid, email, display_name)
    SELECT number, email, display_name FROM users JOIN users_text_rows ON user_id = id
    """,
    """
    CREATE TRIGGER users_text_insert AFTER INSERT ON users BEGIN
        INSERT INTO users_text_rows (user_id) VALUES (new.id);
        INSERT INTO users_text (rowid, email, display_name)
        SELECT number, new.email, new.display_name FROM users_text_rows WHERE user_id = new.id;
    END
    """,
    """
    CREATE TRIGGER users_text_update AFTER UPDATE OF email, display_name ON users BEGIN
        UPDATE users_text SET email = new.email, display_name = new.display_name
        WHERE rowid = (SELECT number FROM users_text_rows WHERE user_id = new.id);
    END
    """,
    """
    CREATE TRIGGER users_text_delete AFTER DELETE ON users BEGIN
        DELETE FROM users_text WHERE rowid = (SELECT number FROM users_text_rows WHERE user_id = old.id);
        DELETE FROM users_text_rows WHERE user_id = old.id;
    END
    """,
)


def upgrade() -> None:
    op.create_index(op.f("ix_users_created_at_id"), "users", ["created_at", "id"])
    for name, where in (("ix_users_staff", STAFF), ("ix_users_inactive", INACTIVE)):
        op.create_index(name, "users", ["created_at", "id"], postgresql_where=where, sqlite_where=where)
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        _text_of_postgresql(connection)
    else:
        for statement in SQLITE:
            connection.exec_driver_sql(statement)


def _text_of_postgresql(connection: sa.Connection) -> None:
    # The unique index of the same column is in the order of the database's collation, in which no prefix is a range.
    connection.exec_driver_sql("CREATE INDEX ix_users_text_start ON users (email_key text_pattern_ops)")
    try:
        with connection.begin_nested():
            connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except sa.exc.DBAPIError:  # it is not installed, or this user may not
        return
    # It may be in a schema where the tables are not looked for: another one than that of the URL's search_path.
    schema = connection.exec_driver_sql(
        "SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace "
        "WHERE extname = 'pg_trgm'"
    ).scalar_one()
    operators = f"{schema}.gin_trgm_ops"
    connection.exec_driver_sql(
        f"CREATE INDEX ix_users_text ON users USING gin (email {operators}, display_name {operators})"
    )


def drop_text() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        for event in ("insert", "update", "delete"):
            connection.exec_driver_sql(f"DROP TRIGGER users_text_{event}")
        connection.exec_driver_sql("DROP TABLE users_text")
        connection.exec_driver_sql("DROP TABLE users_text_rows")
    else:
        connection.exec_driver_sql("DROP INDEX ix_users_text_start")
        connection.exec_driver_sql("DROP INDEX IF EXISTS ix_users_text")


def downgrade() -> None:
    drop_text()
    for name in ("ix_users_inactive", "ix_users_staff", op.f("ix_users_created_at_id")):
        op.drop_index(name, "users")
