"""Amazon Cognito: what `list-users` prints, or CSV with the columns of its own user import.

Cognito exports no passwords. If its user pool is set up here, users bring theirs at the first sign-in.
"""

from app.admin.formats.rows import ImportedUser, Record, joined, moment, text_or_none, truth, user

FEDERATED = "EXTERNAL_PROVIDER"


def take(record: Record) -> ImportedUser:
    if "Attributes" in record or "UserStatus" in record:
        record = _flat(record)
    enabled = record.get("enabled")
    status = text_or_none(record.get("user_status"), "user_status")
    return user(
        email=record.get("email"),
        email_verified=record.get("email_verified"),
        display_name=joined(record.get("name")) or joined(record.get("given_name"), record.get("family_name")),
        created_at=moment(record.get("created_at"), "created_at"),
        disabled=not truth(True if enabled in (None, "") else enabled, "enabled"),
        awaits_password=status != FEDERATED,
        second_factor=truth(record.get("cognito:mfa_enabled"), "cognito:mfa_enabled"),
    )


def _flat(found: Record) -> Record:
    """A user of `list-users` with the names of the CSV. AWS CLI 1 writes moments as seconds, 2 as text."""
    attributes = found.get("Attributes")
    named = {
        entry["Name"]: entry.get("Value")
        for entry in (attributes if isinstance(attributes, list) else [])
        if isinstance(entry, dict) and isinstance(entry.get("Name"), str)
    }
    return {
        **named,
        "enabled": found.get("Enabled"),
        "user_status": found.get("UserStatus"),
        "created_at": found.get("UserCreateDate"),
    }
