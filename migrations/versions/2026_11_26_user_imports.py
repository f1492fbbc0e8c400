"""Imports of users, what was wrong with their rows, and whose password is still to come from elsewhere."""

import sqlalchemy as sa
from alembic import op

revision = "2026112601"
down_revision = "2026112404"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
COUNTS = ("rows", "created", "existing", "refused")


def upgrade() -> None:
    op.add_column("users", sa.Column("password_from", sa.String(16), nullable=True))
    op.create_table(
        "user_imports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("lease", sa.Uuid(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("started_by", sa.Uuid(), nullable=True),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "status IN ('running', 'completed', 'interrupted', 'failed')", name=op.f("ck_user_imports_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_imports")),
    )
    op.create_table(
        "user_import_problems",
        sa.Column("import_id", sa.Uuid(), nullable=False),
        sa.Column("row", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("code", sa.String(32), nullable=False),
        sa.Column("message", sa.String(200), nullable=False),
        sa.ForeignKeyConstraint(["import_id"], ["user_imports.id"], name=op.f("fk_user_import_problems_import_id")),
        sa.PrimaryKeyConstraint("import_id", "row", name=op.f("pk_user_import_problems")),
    )


def downgrade() -> None:
    op.drop_table("user_import_problems")
    op.drop_table("user_imports")
    op.drop_column("users", "password_from")
