"""Events of the bucket, as S3's notifications or EventBridge sends them: what they add to a user's usage, and what the
operator's own server is told of them.

Events come late, twice and in any order. An event about an overwritten object tells only the new size. So the usage
from events is an estimate until the next count, which they bring forward. A user whose estimate reaches the quota is
counted at once, and only a count revokes credentials.
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import unquote_plus

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.platform.problems import InvalidStorageEvent
from app.platform.settings import MOST_BYTES, Settings
from app.records import audit, outgoing
from app.records.audit import Origin
from app.records.models import Usage, User
from app.storage import quota

LONGEST_NAME = 1024
_OWN_KEY = re.compile(r"users/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/.")


@dataclass(frozen=True)
class Happening:
    """What happened to one object."""

    type: Literal["object.created", "object.removed"]
    data: Mapping[str, Any]
    known_by: str
    """The same each time that S3 tells it."""


@dataclass
class Change:
    """What one user added. How much was removed is known only after the next count."""

    bytes: int = 0
    objects: int = 0
    removed: bool = False
    happenings: list[Happening] = field(default_factory=list)


@dataclass(frozen=True)
class _Event:
    name: str
    """As in S3's notifications."""
    bucket: str
    key: str
    of_object: Mapping[str, Any]
    known_by: str

    @property
    def size(self) -> int:
        size = self.of_object.get("size", 0)
        if type(size) is not int or not 0 <= size <= MOST_BYTES:
            raise ValueError("no size")
        return size

    def happening(self, kind: Literal["object.created", "object.removed"]) -> Happening:
        told: dict[str, Any] = {"key": self.key}
        if kind == "object.created":
            told["size"] = self.size
        for name, names in (("etag", ("eTag", "etag")), ("version_id", ("versionId", "version-id"))):
            found = next((self.of_object[one] for one in names if one in self.of_object), None)
            if isinstance(found, str) and len(found) <= LONGEST_NAME:
                told[name] = found
        return Happening(kind, told, self.known_by)


def read(text: str, bucket: str) -> Mapping[uuid.UUID, Change]:
    """The changes of users' objects in the bucket, by user. Other objects are ignored. Raises `InvalidStorageEvent`."""
    changes: dict[uuid.UUID, Change] = {}
    try:
        for event in _events(json.loads(text)):
            owner, size = _OWN_KEY.match(event.key), event.size
            if event.bucket != bucket or owner is None:
                continue
            change = changes.setdefault(uuid.UUID(owner[1]), Change())
            if event.name.startswith("ObjectCreated"):
                change.bytes += size
                change.objects += 1
                change.happenings.append(event.happening("object.created"))
            elif event.name.startswith(("ObjectRemoved", "LifecycleExpiration")):
                change.removed = True
                change.happenings.append(event.happening("object.removed"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InvalidStorageEvent("The message is not from S3.") from None
    return changes


def _events(message: Any) -> Iterator[_Event]:
    if message.get("source") == "aws.s3":
        names = {"Object Created": "ObjectCreated", "Object Deleted": "ObjectRemoved"}
        of_it = message["detail"]
        yield _event(names.get(message["detail-type"], ""), of_it, of_it["object"]["key"], message)
        return
    for record in message.get("Records", ()):  # S3's test message has none; S3 sends it when notifications are set up
        of_it = record["s3"]
        yield _event(record["eventName"].removeprefix("s3:"), of_it, unquote_plus(of_it["object"]["key"]), record)


def _event(name: str, of_it: Any, key: str, whole: Any) -> _Event:
    """S3 numbers what happens to one key (`sequencer`). Where it does not, the whole text tells one from another."""
    bucket, of_object = of_it["bucket"]["name"], of_it["object"]
    number = of_object.get("sequencer")
    known_by = json.dumps([name, bucket, key, number] if number else whole, sort_keys=True)
    return _Event(name, bucket, key, of_object, known_by)


def note_subscription(session: Session, origin: Origin, now: datetime) -> None:
    audit.record(session, origin, "storage_events.subscribed", now)


def note(session: Session, now: datetime, settings: Settings, changes: Mapping[uuid.UUID, Change]) -> int:
    """Adds new objects to the usage of users with a quota, and brings their next count forward.

    The operator's own server is told of the objects of all users. Returns the number of users with a quota.
    """
    users = session.execute(
        select(User.id, User.quota_bytes).where(User.id.in_(list(changes)), User.status != "erased")
    )
    allowances = {user_id: quota.effective(settings, own) for user_id, own in users}
    for user_id in allowances:
        for one in changes[user_id].happenings:
            outgoing.note_object(session, now, one.type, user_id, one.data, known_by=one.known_by)
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
