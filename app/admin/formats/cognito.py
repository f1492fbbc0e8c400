"""Amazon Cognito: CSV with the columns of its own user import, or as deploy/imports/README.md makes it of `list-users`.

Cognito exports no passwords. If its user pool is set up here, users bring theirs at the first sign-in.
"""

from app.admin.formats.rows import ImportedUser, Record, moment, text_or_none, user

FEDERATED = "EXTERNAL_PROVIDER"


def take(record: Record) -> ImportedUser:
    names = (text_or_none(record.get(column), column) for column in ("given_name", "family_name"))
    enabled = text_or_none(record.get("enabled"), "enabled") or "true"
    status = text_or_none(record.get("user_status"), "user_status")
    return user(
        email=record.get("email"),
        email_verified=record.get("email_verified"),
        display_name=text_or_none(record.get("name"), "name") or " ".join(filter(None, names)),
        created_at=moment(record.get("created_at"), "created_at"),
        disabled=enabled.lower() in ("false", "f", "0", "no"),
        awaits_password=status != FEDERATED,
    )
