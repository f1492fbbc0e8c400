"""In the place of a bucket's events, where `tokenvend dev` runs: the embedded engine tells nobody what it stores.

Every other second it lists the bucket, writes what is new as S3's notifications do, and gives that to their reader.
What came and went while it did not run is not told.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote_plus

from app.aws import s3
from app.aws.s3 import Listed, S3Failed
from app.platform.logs import log
from app.platform.process import Platform
from app.storage import events

EVERY = 2.0
"""Seconds between two lists."""
MOST = 10_000
"""Objects. With more of them nothing is told: each list would take too long."""
PREFIX = "users/"


class Poller:
    def __init__(self, platform: Platform, client: Any) -> None:
        """`client`: of the bucket's owner."""
        self._platform = platform
        self._client = client
        self._bucket = platform.settings.bucket
        self._known: Mapping[str, Listed] | None = None
        self._is_full = False

    async def look(self) -> bool:
        """Tells what is new since the last list. There is never more to do at once."""
        try:
            listed = await asyncio.to_thread(s3.list_objects, self._client, self._bucket, PREFIX, most=MOST)
        except S3Failed:
            return False  # it starts or ends
        if listed is None:
            self._complain()
            return False
        found = {one.key: one for one in listed}
        now, settings = self._platform.clock.now(), self._platform.settings
        if self._known is not None:
            records = list(self._changes(self._known, found, now.isoformat()))
            if records:
                changes = events.read(json.dumps({"Records": records}), self._bucket)
                await self._platform.database.write(events.note, now, settings, changes)
        self._known = found
        return False

    def _changes(self, known: Mapping[str, Listed], found: Mapping[str, Listed], now: str) -> Iterator[dict[str, Any]]:
        for key, one in found.items():
            if known.get(key) != one:
                details = {"size": one.size, "eTag": one.etag, "sequencer": f"{one.modified_at} {one.etag}"}
                yield self._record("ObjectCreated:Put", key, details)
        for key in known.keys() - found.keys():
            yield self._record("ObjectRemoved:Delete", key, {"sequencer": now})

    def _record(self, name: str, key: str, details: Mapping[str, Any]) -> dict[str, Any]:
        of_object = {"key": quote_plus(key), **details}
        return {"eventName": name, "s3": {"bucket": {"name": self._bucket}, "object": of_object}}

    def _complain(self) -> None:
        if not self._is_full:
            log.warning("objects_not_told", mend=f"this stand-in tells of the objects of a bucket with {MOST} at most")
        self._is_full, self._known = True, None
