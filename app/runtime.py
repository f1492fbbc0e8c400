"""The process's singletons in one frozen bundle, built once: the same for service, command line and tests."""

from dataclasses import dataclass
from uuid import UUID

import boto3

from app.auth import sessions
from app.auth.keys import Keyring
from app.auth.sessions import SessionState
from app.auth.tokens import AccessTokens
from app.clock import Clock, SystemClock
from app.credentials import ledger
from app.credentials.broker import Broker, default_session
from app.credentials.cache import CredentialCache
from app.credentials.ledger import Entry
from app.crypto import Vault
from app.db import Batch, Database
from app.health import Health
from app.limits import Limiter
from app.passwords import Hasher
from app.problems import Problem
from app.settings import Settings


@dataclass(frozen=True)
class Runtime:
    settings: Settings
    clock: Clock
    vault: Vault
    database: Database
    hasher: Hasher
    limiter: Limiter
    keyring: Keyring
    tokens: AccessTokens
    session_states: Batch[UUID, SessionState]
    broker: Broker
    ledger: Batch[Entry, Problem]
    """Gives the problem that refuses an entry, or None once its row is committed."""
    credential_cache: CredentialCache
    health: Health

    def close(self) -> None:
        self.hasher.close()
        self.broker.close()
        self.database.close()


def build_runtime(settings: Settings, *, clock: Clock | None = None, aws: boto3.Session | None = None) -> Runtime:
    """Connects to nothing yet. `aws` is for an engine whose keys are not in the SDK's default chain."""
    clock = clock or SystemClock()
    vault = Vault(settings.secret_key.get_secret_value())
    database = Database(settings.database_url, pool_size=settings.database_pool_size)
    keyring = Keyring(database, vault, clock)
    broker = Broker(
        aws or default_session(),
        clock,
        region=settings.region,
        endpoint_url=settings.sts_endpoint_url,
        external_id=settings.external_id,
        source_identity=settings.source_identity == "on",
    )
    return Runtime(
        settings=settings,
        clock=clock,
        vault=vault,
        database=database,
        hasher=Hasher(),
        limiter=Limiter(clock, enabled=settings.rate_limits == "on"),
        keyring=keyring,
        tokens=AccessTokens(keyring, clock, issuer=settings.public_url),
        session_states=Batch(lambda ids: database.read(sessions.states, ids)),
        broker=broker,
        ledger=Batch(lambda entries: ledger.record(database, entries)),
        credential_cache=CredentialCache(clock),
        health=Health(database, keyring, broker, clock),
    )
