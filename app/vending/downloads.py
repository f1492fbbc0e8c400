"""Signed access to folders by a CDN: who gets a signature for which folder, and until when.

A signature cannot be taken back: it lives to its end. So it ends at the second line ahead on a grid of
`TOKENVEND_CDN_GRID` seconds, or with its grant if that is sooner. Equal requests between two lines have equal answers,
which a client's cache and the CDN's can use.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.crypto import cdn_signatures
from app.platform.lanes import Lane
from app.platform.problems import CdnOff
from app.platform.process import Platform
from app.policy import cdn_policy, session_policy
from app.records import audit
from app.records.actor import Actor
from app.records.audit import Origin
from app.records.models import AuditEvent
from app.sharing import receiving
from app.vending.cdn_keys import CdnKeys, LoadedKey

MOST_KEPT = 4_096
"""Signatures in memory, a kilobyte each. Those of the users who asked since the last line."""
MOST_RECORDED = 8_192
"""Signatures of which this process knows that the audit has them."""
MOST_WAITING = 200
PATIENCE = 10.0
"""Seconds that a call waits for its turn to sign."""


@dataclass(frozen=True, slots=True)
class Folder:
    """What one signature is for."""

    prefix: str
    until: datetime
    grant_id: uuid.UUID | None
    """Of another user's folder."""


@dataclass(frozen=True, slots=True)
class Download:
    """Access to one folder at the CDN."""

    prefix: str
    base_url: str
    """Its URL there. It ends in `/`."""
    parameters: Mapping[str, str]
    """Policy, Signature and Key-Pair-Id, as they stand in a query."""
    expires_at: datetime

    @property
    def query(self) -> str:
        return "&".join(f"{name}={value}" for name, value in self.parameters.items())

    @property
    def cookies(self) -> Mapping[str, str]:
        return {f"CloudFront-{name}": value for name, value in self.parameters.items()}


class Downloads:
    def __init__(self, platform: Platform, keys: CdnKeys) -> None:
        self.keys = keys
        self._platform = platform
        self._lane = Lane("downloads", threads=1, most_waiting=MOST_WAITING, patience=PATIENCE)
        self._signed: dict[tuple[str, datetime], Download] = {}
        self._recorded: set[tuple[uuid.UUID, str, datetime]] = set()

    async def create(
        self, origin: Origin, actor: Actor, *, path: str, grant_ids: Sequence[uuid.UUID] | None
    ) -> Sequence[Download]:
        """Access to the actor's own folder `path`, and to each folder of others that they have accepted.

        `grant_ids`: only these grants, which accepts them; none if empty. A grant that does not count, or is another
        user's, is left out. No database connection is held while a thread signs. Nobody gets a signature before the
        audit has its row: one for each user, folder and line.
        Raises `CdnOff`, `RateLimited`, `InvalidPath`, `Overloaded`, `KeysUnavailable`.
        """
        platform = self._platform
        if not platform.settings.signs_downloads:
            raise CdnOff
        await platform.limiter.hit("create_downloads", str(actor.user_id))
        prefix = session_policy.narrowed_prefix(actor.user_id, path)
        key = await self.keys.current()
        shares = (
            []
            if grant_ids is not None and not grant_ids
            else await receiving.list_shares(platform, origin, actor, grant_ids=grant_ids)
        )
        now = platform.clock.now()
        line = expiry(now, platform.settings.cdn_grid)
        folders = [Folder(prefix, line, None)]
        for share in shares:
            until = line if share.ends_at is None else min(line, share.ends_at.replace(microsecond=0))
            if until > now:
                folders.append(Folder(share.prefix, until, share.grant_id))
        downloads = await self._sign(key, folders, by=str(actor.user_id))
        await self._record(origin, actor, now, key, folders)
        return downloads

    async def sign_unrecorded(self, prefix: str, until: datetime) -> Download:
        """For a check of this service, which hands it to nobody. Raises `KeysUnavailable`, `DatabaseUnavailable`."""
        assert self._platform.settings.cdn_url is not None
        return sign(await self.keys.current(), self._platform.settings.cdn_url, prefix, until)

    async def _sign(self, key: LoadedKey, folders: Sequence[Folder], *, by: str) -> Sequence[Download]:
        """Raises `Overloaded`."""
        wanted = [(folder.prefix, folder.until) for folder in folders]
        found = {place: self._signed[place] for place in wanted if place in self._signed}
        missing = [place for place in dict.fromkeys(wanted) if place not in found]
        cdn_url = self._platform.settings.cdn_url
        assert cdn_url is not None
        counter = self._platform.metrics.cdn_signatures
        counter.labels("memory").inc(len(found))
        if missing:
            made = await self._lane.run(by, lambda: [sign(key, cdn_url, *place) for place in missing])
            counter.labels("signed").inc(len(made))
            if len(self._signed) + len(made) > MOST_KEPT:
                self._signed.clear()
            new = dict(zip(missing, made, strict=True))
            self._signed |= new
            found |= new
        return [found[place] for place in wanted]

    async def _record(
        self, origin: Origin, actor: Actor, now: datetime, key: LoadedKey, folders: Sequence[Folder]
    ) -> None:
        new = {folder for folder in folders if (actor.user_id, folder.prefix, folder.until) not in self._recorded}
        if not new:
            return
        since = now - timedelta(seconds=2 * self._platform.settings.cdn_grid)
        rows = [_row(origin, actor, now, key, folder) for folder in sorted(new, key=lambda folder: folder.prefix)]
        await self._platform.database.write(record, actor.user_id, since, rows)
        if len(self._recorded) + len(new) > MOST_RECORDED:
            self._recorded.clear()
        self._recorded |= {(actor.user_id, folder.prefix, folder.until) for folder in new}

    def close(self) -> None:
        self._lane.close()


def expiry(now: datetime, grid: int) -> datetime:
    """The second line ahead on a grid of `grid` seconds, which is more than one and at most two of them away."""
    return datetime.fromtimestamp((int(now.timestamp()) // grid + 2) * grid, UTC)


def sign(key: LoadedKey, cdn_url: str, prefix: str, until: datetime) -> Download:
    """Half a millisecond of a core, nearly all for the RSA signature."""
    policy = cdn_policy.policy(cdn_url, prefix, until)
    parameters = {
        "Policy": cdn_signatures.in_urls(policy.encode("ascii")),
        "Signature": cdn_signatures.sign(policy, key.private),
        "Key-Pair-Id": key.key_pair_id,
    }
    return Download(prefix, cdn_policy.folder_url(cdn_url, prefix), parameters, until)


def record(session: Session, user_id: uuid.UUID, since: datetime, rows: Sequence[dict[str, Any]]) -> None:
    """Adds those of the rows that the audit does not have yet, perhaps from another replica.

    `since`: when the oldest signature that still lives can have been made.
    """
    found = select(AuditEvent.detail).where(
        AuditEvent.actor_id == user_id,  # with `at` in an index
        AuditEvent.at >= since,
        AuditEvent.event == "downloads.signed",
    )
    known = {(detail["prefix"], detail["expires_at"]) for detail in session.scalars(found)}
    new = [row for row in rows if (row["detail"]["prefix"], row["detail"]["expires_at"]) not in known]
    if new:
        audit.record_all(session, new)


def _row(origin: Origin, actor: Actor, now: datetime, key: LoadedKey, folder: Folder) -> dict[str, Any]:
    return audit.row(
        origin,
        "downloads.signed",
        now,
        actor_id=actor.user_id,
        subject_id=actor.user_id,  # not an owner, who may read the events about them
        session_id=actor.session_id,
        prefix=folder.prefix,
        expires_at=folder.until.isoformat()[:19] + "Z",
        key_pair_id=key.key_pair_id,
        grant_id=None if folder.grant_id is None else str(folder.grant_id),
    )
