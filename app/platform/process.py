"""The objects that nearly every rule uses. A process has one of each."""

from dataclasses import dataclass

from app.crypto.vault import Vault
from app.platform.clock import Clock
from app.platform.db import Database
from app.platform.limits import Limiter
from app.platform.metrics import Metrics
from app.platform.settings import Settings


@dataclass(frozen=True)
class Platform:
    settings: Settings
    clock: Clock
    database: Database
    vault: Vault
    limiter: Limiter
    metrics: Metrics
