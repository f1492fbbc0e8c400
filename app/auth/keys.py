"""The keys that sign, a list for each purpose, encrypted in the database. Those of tokens are published as JWKS.

A new key is published before it signs, and each replica reads the table once a minute. So every replica knows a key
before it sees a token signed by it, rotation leaves no gap, and no token causes a look-up.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from app.crypto import jws, kinds, rsa_keys, vault
from app.crypto.vault import Vault
from app.platform.clock import Clock
from app.platform.db import Database, insert_if_absent
from app.platform.logs import log
from app.platform.problems import DatabaseUnavailable, KeysUnavailable
from app.records import audit
from app.records.actor import Actor
from app.records.audit import Origin
from app.records.models import SigningKey

RELOAD_EVERY = 60.0
"""Seconds between a replica's reads of the table."""
PUBLISHED_BEFORE_USE = timedelta(minutes=10)
"""Longer than replicas and outside verifiers (JWKS max-age 300 s) keep an older list of keys."""
UPLOADED_BEFORE_USE = timedelta(days=7)
"""IAM reads no SAML metadata by itself: so long an operator has to bring it there."""
NEVER = datetime.max.replace(tzinfo=UTC)
SEALED_AS = kinds.SIGNING_KEY
KeyPurpose = Literal["access", "sts", "saml"]
"""Access tokens, or what only STS sees: identity tokens, assertions. No key serves two of them."""
Purpose = Literal["access", "sts", "saml", "cdn"]
"""Or the URLs that a CDN verifies: see `vending/cdn_keys.py`."""


@dataclass(frozen=True)
class LoadedKey:
    kid: str
    signs_from: datetime
    retires_at: datetime | None
    private: Any
    public: Any
    public_jwk: Mapping[str, Any]

    def published(self, now: datetime) -> bool:
        return self.retires_at is None or now < self.retires_at


class Keyring:
    """This process's copy of the signing keys of one purpose."""

    def __init__(self, database: Database, vault: Vault, clock: Clock, purpose: KeyPurpose) -> None:
        self.purpose = purpose
        self._database = database
        self._vault = vault
        self._clock = clock
        self._keys: tuple[LoadedKey, ...] = ()
        self._published: tuple[datetime, datetime, Mapping[str, Any]] = NEVER, NEVER, {}
        """From when until when these keys are those that `verification_keys` returns."""

    async def load(self) -> None:
        """Reads the table, and makes the first key if there is none.

        A key made with another SECRET_KEY is logged as an error and left out. Raises `DatabaseUnavailable`.
        """
        rows = await self._database.read(list_keys, self.purpose)
        if not rows:
            await self._database.write(ensure_first, self._vault, self.purpose, self._clock.now())
            rows = await self._database.read(list_keys, self.purpose)
        known = {key.kid: key for key in self._keys}
        opened = [self._open(row, known.get(row.kid)) for row in rows]
        self._keys = tuple(key for key in opened if key is not None)
        self._published = NEVER, NEVER, {}

    async def keep_loaded(self) -> None:
        """Runs as long as the service. Reloads every minute, or every second while there is no key."""
        while True:
            await asyncio.sleep(RELOAD_EVERY if self._keys else 1.0)
            await self.try_load()

    async def try_load(self) -> None:
        """Like `load`, but logs a fault. The service stays up, but is not ready, until it has keys."""
        try:
            await self.load()
        except DatabaseUnavailable as problem:
            if not self._database.complain(problem):
                log.error("keys_not_loaded", cause=problem.cause)

    def current(self) -> LoadedKey:
        """The key to sign with. Raises `KeysUnavailable`."""
        now = self._clock.now()
        usable = [key for key in self._keys if key.signs_from <= now and key.published(now)]
        if not usable:
            raise KeysUnavailable(cause="no signing key is loaded")
        return usable[-1]

    def verification_keys(self) -> Mapping[str, Any]:
        """The key objects by kid, for every key that may have signed a token that is still valid."""
        now = self._clock.now()
        since, until, published = self._published
        if not since <= now < until:
            keys = [key for key in self._keys if key.published(now)]
            until = min((key.retires_at for key in keys if key.retires_at is not None), default=NEVER)
            published = {key.kid: key.public for key in keys}
            self._published = now, until, published
        return published

    def jwks(self) -> dict[str, Any]:
        """RFC 7517 §5: public parts only."""
        now = self._clock.now()
        return {"keys": [dict(key.public_jwk) for key in self._keys if key.published(now)]}

    def waiting(self) -> LoadedKey | None:
        """The newest key, if it is published and does not sign yet."""
        newest = self._keys[-1] if self._keys else None
        return newest if newest is not None and newest.signs_from > self._clock.now() else None

    def _open(self, row: SigningKey, known: LoadedKey | None) -> LoadedKey | None:
        if known is not None:  # decrypting and parsing a key takes longer than the whole query
            private, public = known.private, known.public
        else:
            try:
                pem = self._vault.decrypt(SEALED_AS, row.private_key_encrypted, bound_to=row.kid)
            except vault.DecryptionFailed:
                log.error("key_of_another_secret", kid=row.kid)
                return None
            private, public = _key_objects(self.purpose, pem, row.public_jwk)
        return LoadedKey(row.kid, row.signs_from, row.retires_at, private, public, row.public_jwk)


def _key_objects(purpose: KeyPurpose, pem: bytes, public_jwk: Mapping[str, Any]) -> tuple[Any, Any]:
    """The private and the public key. Nobody here verifies an assertion."""
    if purpose == "saml":
        return rsa_keys.signing_key(pem, is_own=True), None
    return jws.signing_key(pem), jws.verification_key(public_jwk)


def list_keys(session: Session, purpose: Purpose) -> list[SigningKey]:
    """Every key of the purpose, oldest first."""
    return list(session.scalars(select(SigningKey).where(SigningKey.purpose == purpose).order_by(SigningKey.sequence)))


def ensure_first(session: Session, vault: Vault, purpose: Purpose, now: datetime) -> None:
    """Makes the first key if there is none. If many replicas try at once, only one does."""
    if session.scalar(select(SigningKey.sequence).where(SigningKey.purpose == purpose).limit(1)) is not None:
        return
    if insert_if_absent(session, SigningKey, new_key(vault, purpose, sequence=1, now=now, signs_from=now)):
        audit.record(session, audit.COMMAND_LINE, "signing_key.created", now, purpose=purpose)


def rotate(
    session: Session,
    origin: Origin,
    vault: Vault,
    purpose: KeyPurpose,
    now: datetime,
    *,
    at_once: bool,
    token_ttl: timedelta,
    actor: Actor | None = None,
    reason: str | None = None,
) -> datetime:
    """Adds a key. Returns when it starts to sign. Older keys stay published until the last token they signed expires.

    A key for assertions waits for a week, in which an operator uploads the metadata to IAM.

    `at_once` is for a stolen key: the new key signs now and no other is trusted, so every access token is refused and
    apps refresh. Of two rotations at once, one fails by the primary key and changes nothing. Raises `DecryptionFailed`
    if the newest key was made with another SECRET_KEY, because running services could not decrypt the new one.
    """
    existing = list_keys(session, purpose)
    if existing:
        vault.decrypt(SEALED_AS, existing[-1].private_key_encrypted, bound_to=existing[-1].kid)
    signs_from = now if at_once or not existing else now + known_before_use(purpose)
    session.execute(
        update(SigningKey)
        .where(SigningKey.purpose == purpose, SigningKey.retires_at.is_(None) | (SigningKey.retires_at > now))
        .values(retires_at=now if at_once else signs_from + token_ttl)
    )
    sequence = existing[-1].sequence + 1 if existing else 1
    values = new_key(vault, purpose, sequence=sequence, now=now, signs_from=signs_from)
    session.execute(insert(SigningKey).values(**values))
    detail: dict[str, Any] = {} if reason is None else {"reason": reason}
    audit.record(
        session,
        origin,
        "signing_key.created",
        now,
        actor_id=actor.user_id if actor else None,
        session_id=actor.session_id if actor else None,
        purpose=purpose,
        kid=str(values["kid"]),
        at_once=int(at_once),
        **detail,
    )
    return signs_from


def known_before_use(purpose: KeyPurpose) -> timedelta:
    """How long a key is published before it signs."""
    return UPLOADED_BEFORE_USE if purpose == "saml" else PUBLISHED_BEFORE_USE


def new_key(vault: Vault, purpose: Purpose, *, sequence: int, now: datetime, signs_from: datetime) -> dict[str, Any]:
    """The columns of a new key."""
    match purpose:
        case "cdn":
            pair = rsa_keys.generate_key_pair()
        case "saml":
            pair = rsa_keys.generate_certified_key_pair(now)
        case "access" | "sts":
            pair = jws.generate_key_pair()
    return {
        "purpose": purpose,
        "sequence": sequence,
        "kid": pair.kid,
        "private_key_encrypted": vault.encrypt(SEALED_AS, pair.private_pem, bound_to=pair.kid),
        "public_jwk": pair.public_jwk,
        "created_at": now,
        "signs_from": signs_from,
    }
