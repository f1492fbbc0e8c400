"""All metrics of a replica with their meaning. `/metrics` shows them in Prometheus' text format."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from app.platform import shared_metrics
from app.platform.clock import Clock, SystemClock

ContainerOutcome = Literal["older", "new", "refused"]
SLOW = 1.0
"""Seconds. It must be a bucket of the histogram `sts_seconds`."""
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""All other methods are counted as one, because callers can invent any number of them."""


@dataclass(frozen=True)
class Work:
    """Work of a process that the database does not record."""

    vends_cached: int = 0
    sts_calls: int = 0
    sts_errors: int = 0
    sts_slow: int = 0
    """Calls that took longer than `SLOW`."""
    sts_milliseconds: int = 0
    """The time of all calls together."""


def known_method(method: str) -> str:
    return method if method in METHODS else "other"


class Metrics:
    """Where a replica has several workers, each has its own, and `render` shows their sum.

    The mode of a gauge says how: the sum or the largest of the workers that live, or the value that was set last, where
    it is about something that all workers share.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._workers = shared_metrics.joined()
        self._watched: list[tuple[Gauge, Callable[[], float]]] = []
        self.http_seconds = Histogram(
            "tokenvend_http_seconds",
            "How long requests took, by method, route (its template) and status.",
            ["method", "route", "status"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
            registry=self.registry,
        )
        self._observers: dict[tuple[str, str, int], Histogram] = {}
        self.ready = Gauge(
            "tokenvend_ready",
            "1 for each part that the last `/readyz` found healthy: database, keys, engine; else 0.",
            ["part"],
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )
        self.vends = Counter(
            "tokenvend_vends",
            "Credentials handed out, by source: issued, memory, shared (another replica's), stale (STS gave "
            "no new one).",
            ["source"],
            registry=self.registry,
        )
        self.cdn_signatures = Counter(
            "tokenvend_cdn_signatures",
            "Signatures for the CDN handed out, one for each folder, by source: signed, memory.",
            ["source"],
            registry=self.registry,
        )
        self.container_late = Counter(
            "tokenvend_container_late",
            "Requests of the container endpoint that waited for STS longer than 0.7 s, by what they got: older (the "
            "cached credential, while a new one is on its way), new, refused.",
            ["outcome"],
            registry=self.registry,
        )
        self.sts_calls = Counter(
            "tokenvend_sts_calls",
            "Calls to STS by action, Region and outcome: ok, throttled, unavailable, expired, too_large, refused.",
            ["action", "region", "outcome"],
            registry=self.registry,
        )
        self.sts_seconds = Histogram(
            "tokenvend_sts_seconds",
            "How long STS took to answer.",
            ["region"],
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4),
            registry=self.registry,
        )
        self.sts_waiting = Gauge(
            "tokenvend_sts_waiting",
            "Requests that wait for a free place among the calls to STS.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.sts_region_open = Gauge(
            "tokenvend_sts_region_open",
            "1 while a Region's circuit breaker is open and it gets no calls.",
            ["region"],
            multiprocess_mode="livemax",
            registry=self.registry,
        )
        self.packed_policy_size = Histogram(
            "tokenvend_packed_policy_size_percent",
            "PackedPolicySize: the percentage of STS's limit that a session policy used.",
            buckets=(5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100),
            registry=self.registry,
        )
        self.clock_skew = Gauge(
            "tokenvend_sts_clock_skew_seconds",
            "STS's clock minus ours, from its Date header; at 300 AWS refuses every signature.",
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )
        self.revocations_pending = Gauge(
            "tokenvend_revocations_pending",
            "Revocations that the engine has not been told yet, as this replica last saw them.",
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )
        self.revocation_age = Gauge(
            "tokenvend_revocation_age_seconds",
            "How long the oldest pending revocation has waited, in seconds.",
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )
        self.revocation_writes = Counter(
            "tokenvend_revocation_writes",
            "Writes of the policy that denies revoked credentials, by outcome: ok, throttled, too_large, "
            "refused, unavailable.",
            ["outcome"],
            registry=self.registry,
        )
        self.revocation_floors = Counter(
            "tokenvend_revocation_floors",
            "How often everybody's credentials were revoked because the engine had no room for each "
            "revocation, by the most frequent cause: administrator, reuse, grant_withdrawn, own_act.",
            ["cause"],
            registry=self.registry,
        )
        _begin_at_zero(self.revocation_floors, "administrator", "reuse", "grant_withdrawn", "own_act")
        self.usage_counts = Counter(
            "tokenvend_usage_counts",
            "Counts of a user's storage, where there is a quota, by outcome: ok, failed.",
            ["outcome"],
            registry=self.registry,
        )
        self.storage_events = Counter(
            "tokenvend_storage_events",
            "SNS messages about the bucket, by outcome: noted, ignored (no user with a quota, or a "
            "repetition), refused.",
            ["outcome"],
            registry=self.registry,
        )
        self.usage_delay = Gauge(
            "tokenvend_usage_delay_seconds",
            "How overdue the most recently started count was, in seconds; 0 if it was not.",
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )
        self.canary_runs = Counter(
            "tokenvend_canary_runs",
            "Runs of the isolation canary by this replica, by result: passed, failed, broken.",
            ["result"],
            registry=self.registry,
        )
        _begin_at_zero(self.canary_runs, "passed", "failed", "broken")
        self.canary_broken = Gauge(
            "tokenvend_canary_broken",
            "1 if the last run of the isolation canary reached another user's prefix; else 0.",
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )
        self.canary_passed = Gauge(
            "tokenvend_canary_passed_timestamp_seconds",
            "When the isolation canary last passed on any replica; 0 if it never has.",
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )
        self.shared_cache_faults = Counter(
            "tokenvend_shared_cache_faults",
            "How often the shared cache did not answer and this replica went on without it.",
            registry=self.registry,
        )
        self.live_credentials = Gauge(
            "tokenvend_live_credentials",
            "Credentials that this replica issued and that have not expired.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.live = LiveCredentials(clock or SystemClock())
        self.watch(self.live_credentials, self.live.count)
        self.limits_refused = Counter(
            "tokenvend_limits_refused",
            "Requests that a rate limit refused; limits whose name ends in `guess` are lock-outs.",
            ["limit"],
            registry=self.registry,
        )
        self.limits_local = Gauge(
            "tokenvend_limits_local",
            "1 while Redis does not answer and this replica counts rate limits and guesses by itself; else 0.",
            multiprocess_mode="livemax",
            registry=self.registry,
        )
        self.limits_forgotten = Counter(
            "tokenvend_limits_forgotten",
            "Windows of a rate limit that were dropped for lack of room: there were more keys than a crowd "
            "of users has.",
            ["limit"],
            registry=self.registry,
        )
        self.client_addresses_unread = Counter(
            "tokenvend_client_addresses_unread",
            "Requests of a trusted proxy whose client is counted under the proxy's address, by what is wrong with "
            "X-Forwarded-For: missing, unreadable.",
            ["fault"],
            registry=self.registry,
        )
        self.old_system_calls = Counter(
            "tokenvend_old_system_calls",
            "Passwords that the old system was asked about, by outcome: yes, no, unavailable, spared (it was down a "
            "moment ago, and was not asked).",
            ["outcome"],
            registry=self.registry,
        )
        self.old_system_open = Gauge(
            "tokenvend_old_system_open",
            "1 while the old system is down and is not asked; else 0.",
            multiprocess_mode="livemax",
            registry=self.registry,
        )
        self.mails_dropped = Counter(
            "tokenvend_mails_dropped",
            "Mails that were not sent because their recipient had reached the limit of an hour, by kind.",
            ["kind"],
            registry=self.registry,
        )
        self._count_webhooks()

        self.database_connections = Gauge(
            "tokenvend_database_connections",
            "Connections of the pool that are in use, without those of the hot path's batches.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.database_pool_size = Gauge(
            "tokenvend_database_pool_size",
            "The most connections that the pool may have.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.database_takes_no_writes = Gauge(
            "tokenvend_database_takes_no_writes",
            "1 from a write that the database refused, for example for lack of room, until a write succeeds; else 0.",
            multiprocess_mode="livemax",
            registry=self.registry,
        )
        self.database_waiting = Gauge(
            "tokenvend_database_waiting",
            "Transactions that wait for one of the pool's threads.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.hasher_waiting = Gauge(
            "tokenvend_hasher_waiting",
            "Passwords at work or waiting, by lane: sign_in (at most 500), judge and new (200 each), dear (50).",
            ["lane"],
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.newcomers_waiting = Gauge(
            "tokenvend_newcomers_waiting",
            "Running and waiting changes by guests and by accounts younger than a day; two run at a time.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self.secret_key_pending = Gauge(
            "tokenvend_secret_key_pending",
            "1 while data are left under a previous secret key, or replicas write with one unknown here; else 0.",
            multiprocess_mode="livemax",
            registry=self.registry,
        )
        self.job_failures = Counter(
            "tokenvend_job_failures",
            "Runs of a background job that failed.",
            ["job"],
            registry=self.registry,
        )

    def _count_webhooks(self) -> None:
        self.webhook_deliveries = Counter(
            "tokenvend_webhook_deliveries",
            "Tries to deliver an event to the operator's server, by outcome: delivered, failed (it is tried again), "
            "given_up.",
            ["outcome"],
            registry=self.registry,
        )
        _begin_at_zero(self.webhook_deliveries, "delivered", "failed", "given_up")
        self.webhook_waiting = Gauge(
            "tokenvend_webhook_waiting",
            "Events that wait to be delivered, 1,000 at most, as this replica last saw them.",
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )
        self.webhook_age = Gauge(
            "tokenvend_webhook_age_seconds",
            "How long the oldest of these events has waited, in seconds.",
            multiprocess_mode="mostrecent",
            registry=self.registry,
        )

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """`route` is a template, so that the number of series stays bounded."""
        key = (known_method(method), route, status)
        observer = self._observers.get(key)
        if observer is None:
            observer = self._observers[key] = self.http_seconds.labels(*key)
        observer.observe(seconds)

    def count_call(self, action: str, region: str, outcome: str, seconds: float) -> None:
        self.sts_calls.labels(action, region, outcome).inc()
        self.sts_seconds.labels(region).observe(seconds)

    def work(self) -> Work:
        """The work since the process began. It is read from the metrics, so a vend counts nothing twice."""
        calls = int(_total(self.sts_seconds, "_count"))
        return Work(
            vends_cached=int(_total(self.vends, "_total", lambda labels: labels["source"] != "issued")),
            sts_calls=calls,
            sts_errors=int(_total(self.sts_calls, "_total", lambda labels: labels["outcome"] != "ok")),
            sts_slow=calls - int(_total(self.sts_seconds, "_bucket", lambda labels: float(labels["le"]) == SLOW)),
            sts_milliseconds=round(_total(self.sts_seconds, "_sum") * 1000),
        )

    @property
    def are_shared(self) -> bool:
        return self._workers is not None

    def watch(self, gauge: Gauge, function: Callable[[], float]) -> None:
        """Lets a gauge show what `function` says at a scrape; for other workers' scrapes, what it said at `look`."""
        if self._workers is None:
            gauge.set_function(function)
        else:
            self._watched.append((gauge, function))

    def look(self) -> None:
        """Writes down what is watched, so that other workers see it too."""
        for gauge, function in self._watched:
            gauge.set(function())

    def render(self) -> bytes:
        """Prometheus' text format."""
        if self._workers is None:
            return generate_latest(self.registry)
        self.look()
        return generate_latest(shared_metrics.Sum(self._workers, self.registry))


def _begin_at_zero(counter: Counter, *labels: str) -> None:
    """So that the first one is an increase."""
    for label in labels:
        counter.labels(label)


def _total(
    metric: Counter | Histogram, suffix: str, fits: Callable[[dict[str, str]], bool] = lambda _labels: True
) -> float:
    samples = (sample for family in metric.collect() for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name.endswith(suffix) and fits(sample.labels))


class LiveCredentials:
    """How many of the added credentials have not expired. It holds one number for each minute of expiry."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._total = 0
        self._expiring: dict[int, int] = {}

    def add(self, expires_at: datetime) -> None:
        minute = int(expires_at.timestamp() // 60)
        self._expiring[minute] = self._expiring.get(minute, 0) + 1
        self._total += 1

    def count(self) -> float:
        now = self._clock.now().timestamp() // 60
        for minute in [minute for minute in self._expiring if minute < now]:
            self._total -= self._expiring.pop(minute)
        return self._total
