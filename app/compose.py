"""Builds everything, once: the same for the service, the command line and tests. Features never import it."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from app.accounts.export import ExportTurn
from app.accounts.passwords import Hasher
from app.accounts.prehash_keys import PrehashKeys
from app.admin import prune, tally
from app.admin.imports import ImportRoom
from app.admin.tally import OwnWork
from app.auth import authorizations, endings, last_seen
from app.auth.cognito import UserPool
from app.auth.keys import Keyring
from app.auth.migration_endpoint import MigrationEndpoint
from app.auth.old_system import OldSystem
from app.auth.providers import Providers
from app.auth.sessions import SessionStates
from app.auth.tokens import AccessTokens
from app.aws import regions
from app.aws.base_credentials import BaseCredentials, Sdk, ca_file, default_session
from app.aws.endpoints import Endpoints, dns_suffix, sts_endpoints
from app.aws.generated_transport import GeneratedTransport
from app.aws.rds_password import database_password
from app.aws.signed_transport import SignedTransport, proxy_for
from app.aws.sns import Topic
from app.aws.sts_client import StsClient
from app.aws.transport import Transport
from app.crypto import webhooks
from app.crypto.password_hashes import FirebaseScrypt
from app.crypto.vault import Vault
from app.events.courier import Courier
from app.lifecycle import lost_guests
from app.mail import outbox
from app.mail.postman import Postman
from app.mail.transport import transport
from app.platform.clock import Clock, SystemClock
from app.platform.db import Batch, Database
from app.platform.fetcher import Fetcher
from app.platform.jobs import Job
from app.platform.lanes import Turns
from app.platform.limits import make_limiter
from app.platform.metrics import Metrics
from app.platform.process import Platform
from app.platform.reach import Reach
from app.platform.settings import Settings, SettingsError
from app.platform.tracing import NoTracing, OtlpTracing, Tracing
from app.policy.packing import Packing
from app.policy.session_policy import Bucket, Encryption
from app.records import newcomers, outgoing, secret_keys
from app.revocation import allowances, marks, role_policies
from app.revocation import job as revocation
from app.revocation.iam_writer import IAM_CONFIG, RoleDenials
from app.sharing import giving, grants
from app.storage import quota
from app.upkeep import canary, contribution_count, erased_objects, usage_count
from app.upkeep.checks import WITHIN, Checks
from app.upkeep.health import Health
from app.vending import contributing, ledger
from app.vending.assertion import Assertions, relying_party
from app.vending.broker import Broker
from app.vending.cache import CredentialCache
from app.vending.cdn_keys import CdnKeys
from app.vending.downloads import Downloads
from app.vending.identity_token import IdentityTokens
from app.vending.links import LinkStates
from app.vending.orders import Terms
from app.vending.replica_cache import SharedCache
from app.vending.vending import Vending

if TYPE_CHECKING:
    import boto3


@dataclass(frozen=True)
class Runtime:
    """The objects of one process, for whoever starts it."""

    platform: Platform
    hasher: Hasher
    newcomers: Turns
    """The turns that newcomers take at changing something."""
    postman: Postman
    courier: Courier | None
    """Takes events to the operator's server, if there is one."""
    own_work: OwnWork
    tracing: Tracing
    secret_key: secret_keys.Watch
    keyring: Keyring
    tokens: AccessTokens
    providers: Providers
    """Of outside identities."""
    sts_keyring: Keyring
    identity_tokens: IdentityTokens
    """For STS alone, in `web_identity` mode."""
    assertions: Assertions | None
    """For STS alone. There are some in `saml` mode."""
    session_states: SessionStates
    vending: Vending
    downloads: Downloads
    shared_cache: SharedCache | None
    role_denials: RoleDenials | None
    """Only where `REVOCATION=role_policy`."""
    storage_events: Topic | None
    """Where the bucket's events come from."""
    fetcher: Fetcher
    """Fetches the certificates and confirmations that SNS names."""
    health: Health
    old_system: OldSystem | None
    """What users bring their passwords from: a Cognito user pool, or an endpoint of the operator's."""
    export_turn: ExportTurn
    import_room: ImportRoom

    @property
    def provided(self) -> Mapping[type, object]:
        """What routes ask for, by type."""
        web_identity = self.vending.terms.mode == "web_identity"
        return {
            Platform: self.platform,
            Hasher: self.hasher,
            Turns: self.newcomers,
            AccessTokens: self.tokens,
            Keyring: self.keyring,
            Providers: self.providers,
            Postman: self.postman,
            Courier: self.courier,
            OldSystem: self.old_system,
            IdentityTokens: self.identity_tokens if web_identity else None,
            Assertions: self.assertions,
            SessionStates: self.session_states,
            Vending: self.vending,
            Downloads: self.downloads,
            Bucket: self.vending.bucket,
            Broker: self.vending.broker,
            Topic: self.storage_events,
            Health: self.health,
            Checks: self.checks(),
            ExportTurn: self.export_turn,
            ImportRoom: self.import_room,
        }

    def checks(self, *, within: float = WITHIN) -> Checks:
        """What looks at this service's surroundings. `within`: seconds for each answer of another server."""
        return Checks(
            self.platform,
            keyrings=self.keyrings,
            broker=self.vending.broker,
            assertions=self.assertions,
            downloads=self.downloads,
            providers=self.providers,
            transport=self.postman.transport,
            fetcher=self.fetcher,
            old_system=self.old_system,
            courier=self.courier,
            within=within,
        )

    @property
    def jobs(self) -> Sequence[Job]:
        platform, vending = self.platform, self.vending
        return (
            Job("outbox", self.postman.send_waiting, every=5, woken_by=outbox.SIGNAL),
            Job(
                "revocation",
                partial(revocation.apply_next, platform, self.role_denials),
                every=5,
                woken_by=marks.SIGNAL,
            ),
            Job("sessions", partial(endings.settle_next, platform), every=30, woken_by=endings.SIGNAL),
            Job("sharing", partial(giving.recall_next, platform), every=5, woken_by=grants.SIGNAL),
            Job("erasure", partial(erased_objects.erase_next, platform, vending), every=30),
            Job(
                "authorizations",
                partial(authorizations.revoke_next, platform, self.providers),
                every=30,
                woken_by=authorizations.SIGNAL,
            ),
            Job("last seen", partial(last_seen.fill_next, platform), every=3600),
            Job("lost guests", partial(lost_guests.erase_next, platform), every=600),
            Job("usage", partial(usage_count.count_next, platform, vending), every=15, woken_by=quota.SIGNAL),
            Job(
                "contributions",
                partial(contribution_count.count_next, platform, vending),
                every=15,
                woken_by=contributing.SIGNAL,
            ),
            Job("canary", partial(canary.watch, platform, vending), every=60),
            Job("tally", partial(tally.work, platform, self.own_work), every=15),
            Job("cleaning", partial(prune.clean, platform), every=3600),
            *self._events_out,
        )

    @property
    def _events_out(self) -> Sequence[Job]:
        if self.courier is None:
            return ()
        return (Job("events", self.courier.deliver_waiting, every=5, woken_by=outgoing.SIGNAL),)

    @property
    def keyrings(self) -> tuple[Keyring, ...]:
        """Those in use."""
        if self.assertions is not None:
            return self.keyring, self.assertions.keyring
        return (self.keyring, self.sts_keyring) if self.vending.terms.mode == "web_identity" else (self.keyring,)

    async def close(self) -> None:
        self.hasher.close()
        self.downloads.close()
        self.import_room.close()
        await self.providers.close()
        await self.fetcher.close()
        if self.old_system is not None:
            await self.old_system.close()
        if self.courier is not None:
            await self.courier.close()
        await self.platform.limiter.close()
        self.postman.close()
        await self.vending.broker.close()
        if self.shared_cache is not None:
            await self.shared_cache.close()
        self.platform.database.close()
        await asyncio.to_thread(self.tracing.close)


def build_runtime(settings: Settings, *, clock: Clock | None = None, aws: "boto3.Session | None" = None) -> Runtime:
    """Connects to nothing yet. `aws` is for an engine whose keys are not in the SDK's default chain.

    Raises `SettingsError`.
    """
    regions.refuse_mistyped(settings)
    sdk = None if aws is None else aws._session  # noqa: SLF001 - boto3 only wraps what this service uses of the SDK
    clock = clock or SystemClock()
    metrics = Metrics(clock)
    tracing = _tracing(settings)
    vault = Vault(
        settings.secret_key.get_secret_value(), [key.get_secret_value() for key in settings.secret_key_previous]
    )
    database = Database(
        settings.database_url,
        pool_size=settings.database_pool_size,
        password=database_password(settings, sdk),
        pooler=settings.database_pooler,
        tracing=tracing,
        info=_of_each_transaction(settings),
    )
    hasher = Hasher(firebase=_firebase(settings), prehash_key=PrehashKeys(database, vault).find)
    metrics.database_pool_size.set(settings.database_pool_size)
    metrics.watch(metrics.database_connections, lambda: database.connections_in_use)
    metrics.watch(metrics.database_takes_no_writes, lambda: database.write_faults.current is not None)
    metrics.watch(metrics.database_waiting, lambda: database.waiting)
    for lane in hasher.lanes:
        metrics.watch(metrics.hasher_waiting.labels(lane.name), partial(getattr, lane, "waiting"))
    turns = newcomers.make_turns()
    metrics.watch(metrics.newcomers_waiting, lambda: turns.waiting)
    keyring, sts_keyring = (Keyring(database, vault, clock, purpose) for purpose in ("access", "sts"))
    identity_tokens = IdentityTokens(sts_keyring, clock, public_url=settings.public_url)
    assertions = _assertions(settings, Keyring(database, vault, clock, "saml"), clock)
    sts = _sts(settings, sdk, clock, metrics, tracing)
    broker = Broker(
        sts,
        clock,
        metrics,
        mode=settings.vending_mode,
        identity_tokens=identity_tokens,
        assertions=assertions,
        is_aws=settings.s3_endpoint_url is None,
    )
    memory = settings.cache_url == "memory://"
    fetcher, topic_arn = Fetcher(), settings.storage_events_topic_arn
    shared_cache = None if memory else SharedCache(settings.cache_url, vault, clock, metrics)
    limiter = make_limiter(
        settings.rate_limit_url,
        clock,
        metrics,
        enabled=settings.rate_limits == "on",
        sts_quota=settings.sts_quota,
    )
    platform = Platform(settings, clock, database, vault, limiter, metrics)
    session_states = SessionStates(database)
    vending = Vending(
        platform,
        bucket=_bucket(settings),
        terms=_terms(settings),
        broker=broker,
        ledger=Batch(lambda entries: ledger.record(database, entries)),
        cache=CredentialCache(clock, metrics, shared_cache.obtain if shared_cache else None),
        packing=Packing(),
        session_states=session_states,
        link_states=LinkStates(database),
        turns=newcomers.make_turns(newcomers.CREDENTIALS_AT_A_TIME) if settings.rate_limits == "on" else None,
    )
    return Runtime(
        platform=platform,
        hasher=hasher,
        newcomers=turns,
        postman=Postman(settings, clock, vault, database, transport(settings), metrics=metrics),
        courier=_courier(settings, clock, database, metrics),
        own_work=OwnWork(metrics),
        tracing=tracing,
        secret_key=secret_keys.Watch(database, vault, clock, metrics),
        keyring=keyring,
        tokens=AccessTokens(keyring, clock, issuer=settings.public_url),
        providers=Providers(settings.oidc_providers, clock),
        sts_keyring=sts_keyring,
        identity_tokens=identity_tokens,
        assertions=assertions,
        session_states=session_states,
        vending=vending,
        downloads=Downloads(platform, CdnKeys(database, vault, clock, settings.cdn_key_pair_id)),
        shared_cache=shared_cache,
        role_denials=_role_denials(settings, sdk) if settings.revocation == "role_policy" else None,
        storage_events=Topic(topic_arn, clock, fetcher.get) if topic_arn else None,
        fetcher=fetcher,
        health=Health(database, keyring, broker, clock, metrics),
        old_system=_old_system(settings, clock, metrics),
        export_turn=ExportTurn(),
        import_room=ImportRoom(),
    )


def build_sts(settings: Settings) -> StsClient:
    """STS alone, for a command that needs nothing else."""
    clock = SystemClock()
    return _sts(settings, None, clock, Metrics(clock), NoTracing())


def _sts(settings: Settings, sdk: Sdk | None, clock: Clock, metrics: Metrics, tracing: Tracing) -> StsClient:
    """Raises `SettingsError` for a profile that the SDK cannot read."""

    def make_session() -> Sdk:
        return sdk or default_session(settings.region)

    session = make_session()
    endpoints = sts_endpoints(settings.sts_regions or (settings.region,), settings.sts_endpoint_url, session)
    transport: Transport
    if settings.sts_client == "signed" and not any(proxy_for(endpoint.url) for endpoint in endpoints):
        transport = SignedTransport(ca_file=ca_file(session))
    else:
        transport = GeneratedTransport(session)
    return StsClient(
        transport, BaseCredentials(make_session), Endpoints(endpoints, clock, metrics), clock, metrics, tracing=tracing
    )


def _tracing(settings: Settings) -> Tracing:
    if settings.otlp_endpoint is None:
        return NoTracing()
    try:
        return OtlpTracing(settings.otlp_endpoint)
    except ModuleNotFoundError as error:
        message = "TOKENVEND_OTLP_ENDPOINT: traces need OpenTelemetry's packages, which requirements.lock has"
        raise SettingsError(message) from error


def _assertions(settings: Settings, keyring: Keyring, clock: Clock) -> Assertions | None:
    if settings.vending_mode != "saml":
        return None
    try:
        return Assertions(keyring, clock, relying_party(settings.partition), public_url=settings.public_url)
    except ModuleNotFoundError as error:
        message = "TOKENVEND_VENDING_MODE: saml needs the packages lxml and signxml, which requirements.lock has"
        raise SettingsError(message) from error


def _firebase(settings: Settings) -> FirebaseScrypt | None:
    if (config := settings.firebase_hash_config) is None:
        return None
    key, separator = (
        base64.b64decode(text.get_secret_value()) for text in (config.base64_signer_key, config.base64_salt_separator)
    )
    return FirebaseScrypt(key, separator, rounds=config.rounds, mem_cost=config.mem_cost)


def _old_system(settings: Settings, clock: Clock, metrics: Metrics) -> OldSystem | None:
    if settings.migration_url is not None:
        keys = [webhooks.key_of(secret.get_secret_value()) for secret in settings.migration_secret]
        return MigrationEndpoint(settings.migration_url, keys, clock, metrics)
    if settings.cognito_client_id is None:
        return None
    region = settings.cognito_region or settings.region
    url = settings.cognito_endpoint_url or f"https://cognito-idp.{region}.{dns_suffix(settings.partition)}"
    secret = settings.cognito_client_secret.get_secret_value()
    return UserPool(url, settings.cognito_client_id, secret, clock, metrics)


def _of_each_transaction(settings: Settings) -> Mapping[Any, Any]:
    room = {allowances.ROOM: role_policies.room(settings)} if settings.rate_limits == "on" else {}
    return {**room, outgoing.ON: settings.webhook_url is not None}


def _courier(settings: Settings, clock: Clock, database: Database, metrics: Metrics) -> Courier | None:
    if settings.webhook_url is None:
        return None
    keys = [webhooks.key_of(secret.get_secret_value()) for secret in settings.webhook_secret]
    reach = Reach(private=settings.webhook_reaches_private, plain=settings.environment == "development")
    return Courier(settings.webhook_url, keys, clock, database, reach=reach, metrics=metrics)


def _role_denials(settings: Settings, sdk: Sdk | None) -> RoleDenials:
    def make_client() -> Any:
        session = sdk or default_session(settings.region)
        place = {"region_name": settings.region, "endpoint_url": settings.iam_endpoint_url}
        return session.create_client("iam", **place, config=IAM_CONFIG)

    return RoleDenials(settings.role_arn, make_client, settings.revocation_policy_arns)


def _terms(settings: Settings) -> Terms:
    return Terms(
        mode=settings.vending_mode,
        role_arn=settings.role_arn,
        external_id=settings.external_id,
        policy_arns=settings.policy_arns,
        session_tags=settings.session_tags,
        transitive_tag_keys=settings.transitive_tag_keys,
        source_identity=settings.source_identity == "on",
        saml_provider_arn=settings.saml_provider_arn,
    )


def _bucket(settings: Settings) -> Bucket:
    return Bucket(
        settings.partition,
        settings.bucket,
        _encryption(settings),
        fenced=bool(settings.policy_arns),
        tags=settings.object_tags,
        location=settings.bucket_location == "on",
    )


def _encryption(settings: Settings) -> Encryption | None:
    if settings.kms_key_arn is None:
        return None
    via_service = f"s3.{settings.region}.{dns_suffix(settings.partition)}"
    return Encryption(settings.kms_key_arn, via_service, bucket_keys=settings.kms_bucket_keys == "on")
