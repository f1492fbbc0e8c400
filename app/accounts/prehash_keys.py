"""Keys that other systems joined to each password before they hashed it: kept encrypted, found by the hash's mark."""

import contextlib
import hmac
import secrets
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.crypto import kinds
from app.crypto.vault import DecryptionFailed, Vault
from app.platform.db import Database
from app.records.models import PrehashKey

SEALED_AS = kinds.PREHASH_KEY


def keep(session: Session, vault: Vault, now: datetime, key: bytes) -> str:
    """The id of the key. A key that is here already keeps its id, so that an import can go on."""
    for row in session.scalars(select(PrehashKey)):
        with contextlib.suppress(DecryptionFailed):
            if hmac.compare_digest(vault.decrypt(SEALED_AS, row.key_encrypted, bound_to=row.id), key):
                return row.id
    key_id = secrets.token_hex(4)
    sealed = vault.encrypt(SEALED_AS, key, bound_to=key_id)
    session.add(PrehashKey(id=key_id, key_encrypted=sealed, created_at=now))
    return key_id


class PrehashKeys:
    """The keys by id. A process reads each once."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self._known: dict[str, bytes] = {}

    async def find(self, key_id: str) -> bytes | None:
        """None if there is none, or the secret key does not open it. Raises `DatabaseUnavailable`."""
        if key_id not in self._known:
            key = await self._database.read(_find, self._vault, key_id)
            if key is None:
                return None
            self._known[key_id] = key
        return self._known[key_id]


def _find(session: Session, vault: Vault, key_id: str) -> bytes | None:
    row = session.get(PrehashKey, key_id)
    with contextlib.suppress(DecryptionFailed):
        return None if row is None else vault.decrypt(SEALED_AS, row.key_encrypted, bound_to=row.id)
    return None
