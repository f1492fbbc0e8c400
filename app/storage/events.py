"""Events of the bucket, as S3's notifications or EventBridge sends them, and what they add to a user's usage.

Events come late, twice and in any order. An event about an overwritten object tells only the new size. So the usage
from events is an estimate until the next count, which they bring forward. A user whose estimate reaches the quota is
counted at once, and only a count revokes credentials.
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote_plus

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.platform.problems import InvalidStorageEvent
from app.platform.settings import MOST_BYTES, Settings
from app.records import audit
from app.records.audit import Origin
from app.records.models import Usage, User
from app.storage import quota

_OWN_KEY = re.compile(r"users/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/.")


@dataclass
class Change:
    """What one user added. How much was removed is known only after the next count."""

    bytes: int = 0
    objects: int = 0
    removed: bool = False


def read(text: str, bucket: str) -> Mapping[uuid.UUID, Change]:
    """The changes of users' objects in the bucket, by user. Other objects are ignored. Raises `InvalidStorageEvent`."""
    changes: dict[uuid.UUID, Change] = {}
    try:
        for name, place, key, size in _events(json.loads(text)):
            owner = _OWN_KEY.match(key)
            if place != bucket or owner is None:
                continue
            change = changes.setdefault(uuid.UUID(owner[1]), Change())
            if name.startswith("ObjectCreated"):
                change.bytes += size
                change.objects += 1
            elif name.startswith(("ObjectRemoved", "LifecycleExpiration")):
                change.removed = True
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InvalidStorageEvent("The message is not from S3.") from None
    return changes


def _events(message: Any) -> Iterator[tuple[str, str, str, int]]:
    """The events of a message: name as in S3's notifications, bucket, key, size."""
    if message.get("source") == "aws.s3":
        names = {"Object Created": "ObjectCreated", "Object Deleted": "ObjectRemoved"}
        of_it = message["detail"]
        name = names.get(message["detail-type"], "")
        yield name, of_it["bucket"]["name"], of_it["object"]["key"], _size(of_it["object"])
        return
    for record in message.get("Records", ()):  # S3's test message has none; S3 sends it when notifications are set up
        of_it = record["s3"]
        yield (
            record["eventName"].removeprefix("s3:"),
            of_it["bucket"]["name"],
            unquote_plus(of_it["object"]["key"]),
            _size(of_it["object"]),
        )


def _size(of_object: Any) -> int:
    size = of_object.get("size", 0)
    if type(size) is not int or not 0 <= size <= MOST_BYTES:
        raise ValueError("no size")
    return size


def note_subscription(session: Session, origin: Origin, now: datetime) -> None:
    audit.record(session, origin, "storage_events.subscribed", now)


def note(session: Session, now: datetime, settings: Settings, changes: Mapping[uuid.UUID, Change]) -> int:
    """Adds new objects to the usage of users with a quota, and brings their next count forward.

    Returns the number of these users.
    """
    users = session.execute(
        select(User.id, User.quota_bytes).where(User.id.in_(list(changes)), User.status != "erased")
    )
    allowances = {user_id: quota.effective(settings, own) for user_id, own in users}
    found = sorted((user_id, allowance) for user_id, allowance in allowances.items() if allowance is not None)
    for user_id, allowance in found:  # in one order, so that two transactions do not deadlock
        change = changes[user_id]
        soon = quota.RECOUNT_AFTER if change.removed else timedelta(seconds=settings.quota_count_seconds)
        quota.expect_count(session, user_id, now + soon)
        usage = session.get_one(Usage, user_id, with_for_update=True, populate_existing=True)
        usage.bytes = min(usage.bytes + change.bytes, MOST_BYTES)
        usage.objects += change.objects
        usage.changed_at = now
        if quota.is_reached(settings, allowance, usage) and not usage.exceeded:
            session.flush()
            quota.expect_count(session, user_id, now)
    return len(found)
