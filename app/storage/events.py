"""What the bucket tells of its objects, by S3's notifications or EventBridge's events: what they add to a user's usage.

Events come late, twice and in any order, and of an object that takes another one's place they tell its size alone. So
they are believed until the next count, which they bring forward; a user who seems to have reached their quota is
counted at once, and only a count revokes.
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
    """Of one user, as far as it is known: what went is known with the next count."""

    bytes: int = 0
    objects: int = 0
    removed: bool = False


def read(text: str, bucket: str) -> Mapping[uuid.UUID, Change]:
    """What a message tells of users' objects in the bucket; of others, nothing. Raises `InvalidStorageEvent`."""
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
    """Name as of a notification, bucket, key, size."""
    if message.get("source") == "aws.s3":
        names = {"Object Created": "ObjectCreated", "Object Deleted": "ObjectRemoved"}
        of_it = message["detail"]
        name = names.get(message["detail-type"], "")
        yield name, of_it["bucket"]["name"], of_it["object"]["key"], _size(of_it["object"])
        return
    for record in message.get("Records", ()):  # none in the test that S3 sends when it is configured
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
    """Adds what came to the usage of those who have a quota, and brings their next count forward; how many they are."""
    users = session.execute(
        select(User.id, User.quota_bytes).where(User.id.in_(list(changes)), User.status != "erased")
    )
    allowances = {user_id: quota.effective(settings, own) for user_id, own in users}
    found = sorted((user_id, allowance) for user_id, allowance in allowances.items() if allowance is not None)
    for user_id, allowance in found:  # in one order, so that two at once do not wait for each other
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
