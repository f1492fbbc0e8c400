"""The keys that sign what CloudFront verifies, and which of them signs.

CloudFront gives each key that an operator uploads an id. `TOKENVEND_CDN_KEY_PAIR_ID` says which id is in use. An id
that the service meets for the first time belongs to its newest key, and to that key for good. So a new key signs
nothing before its operator has uploaded it and set its id. Replicas with the old id go on with the old key meanwhile.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.auth import keys
from app.crypto import rsa_keys
from app.crypto.vault import DecryptionFailed, Vault
from app.platform.clock import Clock
from app.platform.db import Database, insert_if_absent
from app.platform.logs import log
from app.platform.problems import DatabaseUnavailable, KeysUnavailable
from app.records import audit
from app.records.models import CdnKeyPair, SigningKey


class NewestKeyWaits(Exception):
    """The newest key has no id yet, so an id of a later one could be taken for that of the wrong key."""


@dataclass(frozen=True)
class LoadedKey:
    kid: str
    key_pair_id: str
    private: Any


class CdnKeys:
    """This process's copy of the key that is in use. Which one that is does not change while the process runs."""

    def __init__(self, database: Database, vault: Vault, clock: Clock, key_pair_id: str | None) -> None:
        """`key_pair_id`: None where there is no CDN."""
        self._database = database
        self._vault = vault
        self._clock = clock
        self._key_pair_id = key_pair_id
        self._loaded: LoadedKey | None = None

    async def current(self) -> LoadedKey:
        """The key to sign with. Raises `DatabaseUnavailable`, `KeysUnavailable`."""
        if self._loaded is None:
            await self._load()
        if self._loaded is None:
            raise KeysUnavailable(cause="the CDN's key is not to be had")
        return self._loaded

    async def try_load(self) -> None:
        """At start, so that the id gets its key then and not at the first request. Logs a fault."""
        try:
            await self._load()
        except DatabaseUnavailable as problem:
            if not self._database.complain(problem):
                log.error("keys_not_loaded", cause=problem.cause)

    async def _load(self) -> None:
        if self._key_pair_id is None:
            return
        row = await self._database.read(find, self._key_pair_id)
        if row is None:
            row = await self._database.write(bind, self._vault, self._clock.now(), self._key_pair_id)
        try:
            pem = self._vault.decrypt(keys.SEALED_AS, row.private_key_encrypted, bound_to=row.kid)
        except DecryptionFailed:
            log.error("key_of_another_secret", kid=row.kid)
            return
        private = await asyncio.to_thread(rsa_keys.signing_key, pem)  # it takes 65 ms to examine its primes
        self._loaded = LoadedKey(row.kid, self._key_pair_id, private)


def find(session: Session, key_pair_id: str) -> SigningKey | None:
    """The key that CloudFront knows by the id, if the service has met it before."""
    named = select(CdnKeyPair.kid).where(CdnKeyPair.key_pair_id == key_pair_id).scalar_subquery()
    return session.scalar(select(SigningKey).where(SigningKey.purpose == "cdn", SigningKey.kid == named))


def bind(session: Session, vault: Vault, now: datetime, key_pair_id: str) -> SigningKey:
    """The same. An id that is new is the newest key's from now on. If two replicas meet it at once, one decides."""
    newest = ensure_newest(session, vault, now)
    values = {"key_pair_id": key_pair_id, "kid": newest.kid, "created_at": now}
    if insert_if_absent(session, CdnKeyPair, values):
        audit.record(
            session,
            audit.COMMAND_LINE,
            "signing_key.named",
            now,
            purpose="cdn",
            kid=newest.kid,
            key_pair_id=key_pair_id,
        )
    return find(session, key_pair_id) or newest


def ensure_newest(session: Session, vault: Vault, now: datetime) -> SigningKey:
    """The newest key, which is made if there is none."""
    keys.ensure_first(session, vault, "cdn", now)
    return keys.list_keys(session, "cdn")[-1]


def add(session: Session, vault: Vault, now: datetime, *, although_one_waits: bool = False) -> SigningKey:
    """Adds a key, which signs once its id is set. Older keys stay, for replicas that have their ids.

    Of two at once, one fails by the primary key and changes nothing. Raises `NewestKeyWaits`, unless
    `although_one_waits`, and `DecryptionFailed` if the newest key was made with another SECRET_KEY.
    """
    existing = keys.list_keys(session, "cdn")
    if existing:
        newest = existing[-1]
        if not although_one_waits and newest.kid not in names(session):
            raise NewestKeyWaits
        vault.decrypt(keys.SEALED_AS, newest.private_key_encrypted, bound_to=newest.kid)
    sequence = existing[-1].sequence + 1 if existing else 1
    values = keys.new_key(vault, "cdn", sequence=sequence, now=now, signs_from=now)
    session.execute(insert(SigningKey).values(**values))
    audit.record(session, audit.COMMAND_LINE, "signing_key.created", now, purpose="cdn", kid=str(values["kid"]))
    return keys.list_keys(session, "cdn")[-1]


def names(session: Session) -> Mapping[str, Sequence[str]]:
    """By kid: the ids by which CloudFront knows the key, in the order in which the service met them."""
    found: dict[str, list[str]] = {}
    for row in session.scalars(select(CdnKeyPair).order_by(CdnKeyPair.created_at, CdnKeyPair.key_pair_id)):
        found.setdefault(row.kid, []).append(row.key_pair_id)
    return found
