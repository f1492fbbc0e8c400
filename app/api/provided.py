"""The objects that routes ask for."""

from typing import Annotated

from app.accounts.export import ExportTurn
from app.accounts.passwords import Hasher
from app.admin.imports import ImportRoom
from app.auth.keys import Keyring
from app.auth.old_system import OldSystem
from app.auth.providers import Providers
from app.auth.tokens import AccessTokens
from app.aws.sns import Topic
from app.events.courier import Courier
from app.http.provided import provided
from app.platform.lanes import Turns
from app.platform.process import Platform
from app.policy.session_policy import Bucket
from app.upkeep.checks import Checks
from app.upkeep.health import Health
from app.vending.assertion import Assertions
from app.vending.broker import Broker
from app.vending.downloads import Downloads
from app.vending.identity_token import IdentityTokens
from app.vending.vending import Vending

PlatformDep = Annotated[Platform, provided(Platform)]
HasherDep = Annotated[Hasher, provided(Hasher)]
TokensDep = Annotated[AccessTokens, provided(AccessTokens)]
ProvidersDep = Annotated[Providers, provided(Providers)]
OldSystemDep = Annotated[OldSystem | None, provided(OldSystem)]
CourierDep = Annotated[Courier | None, provided(Courier)]
BrokerDep = Annotated[Broker, provided(Broker)]
BucketDep = Annotated[Bucket, provided(Bucket)]
VendingDep = Annotated[Vending, provided(Vending)]
DownloadsDep = Annotated[Downloads, provided(Downloads)]
NewcomersDep = Annotated[Turns, provided(Turns)]
ChecksDep = Annotated[Checks, provided(Checks)]
HealthDep = Annotated[Health, provided(Health)]
KeyringDep = Annotated[Keyring, provided(Keyring)]
"""Of access tokens."""
AssertionsDep = Annotated[Assertions | None, provided(Assertions)]
IdentityTokensDep = Annotated[IdentityTokens | None, provided(IdentityTokens)]
StorageEventsDep = Annotated[Topic | None, provided(Topic)]
ImportRoomDep = Annotated[ImportRoom, provided(ImportRoom)]
ExportTurnDep = Annotated[ExportTurn, provided(ExportTurn)]
