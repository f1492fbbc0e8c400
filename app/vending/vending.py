"""Vending: gives a signed-in user a credential for their own prefix, and for what others share with them."""

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.auth import authentication
from app.auth.sessions import SessionState, SessionStates
from app.aws.sts_client import StsCredential
from app.platform.db import Batch
from app.platform.lanes import Turns
from app.platform.limits import address_key
from app.platform.problems import (
    FieldError,
    InvalidDuration,
    InvalidRequest,
    InvalidSharedPart,
    LinkNotFound,
    PolicyTooLarge,
    Problem,
    StsUnavailable,
)
from app.platform.process import Platform
from app.platform.settings import LONGEST_CHAINED
from app.policy import session_policy
from app.policy.packing import Beside, Packing
from app.policy.session_policy import Access, Bucket, Share
from app.records import newcomers
from app.records.actor import Actor
from app.records.audit import Origin
from app.revocation import marks
from app.sharing import receiving
from app.storage import quota
from app.vending import admission, contributing, ledger
from app.vending.broker import Broker
from app.vending.cache import CredentialCache
from app.vending.entries import Issued
from app.vending.ledger import Entry
from app.vending.orders import Order, Purpose, Terms

SHORTEST = 900
"""Seconds: the least that STS takes."""
TRIES = 3
"""Attempts when credentials are revoked again and again meanwhile, or STS's clock is behind ours."""
LONGEST_WAIT = 1.0
"""Seconds until a clock is asked again."""


MOST_REFUSALS = 3
"""How many policies with shares STS may find too large before a wish fails. The next wish goes on from there."""
MOST_ORDERS = 10_000
"""Orders that are remembered: as many as cached credentials."""
STEP = 900
"""Seconds. The duration of a credential that ends with a share is a multiple of this, so that it can be cached."""
CLOCKS = timedelta(minutes=1)
"""A share counts as ended this much earlier, to allow for STS's clock and for the time that STS takes."""


class RevokedMeanwhile(Exception):
    """While STS was working, the actor's credentials or a grant were revoked. So what it issued is revoked too."""


class OutlivesShare(Exception):
    """The credential that STS issued ends after a grant that it carries."""

    def __init__(self, ahead: timedelta) -> None:
        """By how much STS's clock is ahead of ours."""
        self.ahead = ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a user asks for."""

    access: Access = "read_write"
    path: str = ""
    """A folder in the user's own prefix, to which the credential is narrowed."""
    duration: int | None = None
    """Seconds; None: this service's default."""
    purpose: Purpose | None = None
    """An `upload` lease writes in one folder, does nothing else, and may live longer."""
    include_shared: bool = False
    grant_ids: tuple[uuid.UUID, ...] | None = None
    """The grants to include; None: all accepted ones, oldest first."""
    part: int = 1
    """Which of the parts that the shares are split into."""


@dataclass(frozen=True, slots=True)
class Vended:
    issued: Issued
    part: int
    parts: int


@dataclass(frozen=True)
class Plan:
    """What one of several credentials carries, and how long it lives."""

    shares: tuple[Share, ...]
    parts: int
    seconds: int


class Vending:
    """Issues credentials, each for the prefix of one user."""

    def __init__(
        self,
        platform: Platform,
        *,
        bucket: Bucket,
        terms: Terms,
        broker: Broker,
        ledger: Batch[Entry, Problem],
        cache: CredentialCache,
        packing: Packing,
        session_states: SessionStates,
        link_states: Batch[uuid.UUID, SessionState],
        turns: Turns | None = None,
    ) -> None:
        """`ledger` returns the problem that refuses an entry, or None once the entry's row is committed."""
        self.bucket = bucket
        self.terms = terms
        self.broker = broker
        self._platform = platform
        self._ledger = ledger
        self._cache = cache
        self._packing = packing
        self._session_states = session_states
        self._link_states = link_states
        self._turns = turns
        self._orders: dict[tuple[uuid.UUID, uuid.UUID, Wish, datetime | None, int], Order] = {}
        """Orders without shares. Making one costs more than finding its credential, which has the same in the cache."""

    async def issue(self, origin: Origin, actor: Actor, wish: Wish, *, for_sdk: bool = False) -> Vended:
        """A credential for the actor's prefix, or a folder in it: the cached one, or a new one with its ledger row.

        With `include_shared` it also reads a part of the folders shared with the actor, as many as a policy holds. With
        the access `read_write` it also fills those of them that the actor contributes to: see `contributing`. It ends
        before the first of those grants does. If a `duration` is requested, grants that end sooner are left out.
        Otherwise the first end shortens the credential. So the engine need not check the time: SeaweedFS has no
        `aws:CurrentTime`.

        No database connection is held while STS works. The session's state is read again when the row is written.
        Right after a revocation this waits a second at most, so that the new credential is not among the revoked ones.
        Raises `InvalidRequest`, `InvalidPath`, `PolicyTooLarge`, `InvalidDuration`, `InvalidSharedPart`, `RateLimited`,
        `QuotaExceeded` and what `Broker.obtain` raises. Raises `InvalidToken` or `AccountDisabled` if the session ended
        or the user was disabled meanwhile.

        `for_sdk`: for an SDK that asks again and again, and waits for a second. See `admission.counter` and
        `CredentialCache.obtain`.
        """
        await self._platform.limiter.hit(*admission.counter(actor, for_sdk=for_sdk))
        _refuse_contradictions(wish)
        allowance = quota.effective(self._platform.settings, actor.quota_bytes)
        seconds = await self._duration(wish)
        revoked = refused = 0
        clocks = CLOCKS
        while revoked < TRIES:
            plan = Plan((), 1, seconds)
            if wish.include_shared:
                shares = await receiving.list_shares(self._platform, origin, actor, grant_ids=wish.grant_ids)
                shares = await contributing.admit(self._platform, shares, user_id=actor.user_id, access=wish.access)
                plan = self._plan(actor, wish, shares, seconds=seconds, clocks=clocks)
                order = self.make_order(
                    actor.user_id,
                    actor.session_id,
                    access=wish.access,
                    path=wish.path,
                    duration=plan.seconds,
                    not_before=actor.not_before,
                    shares=plan.shares,
                )
            else:
                order = self._own_order(actor, wish, seconds)
            try:
                issued = await self._issue(origin, actor, order, allowance, for_sdk=for_sdk)
                return Vended(issued, wish.part, plan.parts)
            except RevokedMeanwhile:
                revoked += 1
                actor = await authentication.look_up(
                    self._platform, self._session_states, origin, user_id=actor.user_id, session_id=actor.session_id
                )
            except OutlivesShare as outlives:
                revoked += 1
                clocks = max(clocks, CLOCKS + outlives.ahead)
            except PolicyTooLarge:
                refused += 1
                if not plan.shares or refused > MOST_REFUSALS:
                    raise
                self._packing.note_refused(_beside(actor, wish), plan.shares)
        raise StsUnavailable("Credentials are being revoked at the moment. Try again.", cause="revoked", retry_after=1)

    async def issue_for_link(
        self, origin: Origin, link_id: uuid.UUID, *, path: str, contributor_id: uuid.UUID | None = None
    ) -> Issued:
        """The credential that all who open a link share. It reads the link's folder, and ends before the link does.

        `contributor_id`: a credential of their own, for somebody who also writes there while the quotas let them.
        Raises `LinkNotFound` if the link has ended or ends too soon, or its owner is disabled. Raises `RateLimited`,
        `InvalidPath` and what `Broker.obtain` raises.
        """
        longest = await self._duration(Wish())
        clocks = CLOCKS
        for _ in range(TRIES):
            state, now = await self._link_states.get(link_id), self._platform.clock.now()
            if state is None or not state.is_alive(now) or state.status != "active":
                raise LinkNotFound
            left = int((state.expires_at - now - clocks).total_seconds())
            if left < SHORTEST:
                raise LinkNotFound
            writes = contributor_id and await contributing.admit_by_link(self._platform, link_id, contributor_id)
            order = self.make_order(
                state.user_id,
                link_id,
                access="read",
                path=path,
                duration=min(longest, max(left // STEP * STEP, SHORTEST)),
                not_before=state.not_before,
                link_id=link_id,
                contributor_id=contributor_id if writes else None,
            )
            try:
                issued = await self._issue(origin, authentication.actor_of(state, link_id), order, None, for_sdk=False)
            except RevokedMeanwhile:
                continue
            if issued.credential.expires_at <= state.expires_at:
                return issued
            clocks = max(clocks, CLOCKS + order.issued_at(issued.credential.expires_at) - now)
        raise StsUnavailable("Credentials are being revoked at the moment. Try again.", cause="revoked", retry_after=1)

    def at_hand(self, actor: Actor, wish: Wish) -> Issued | None:
        """The cached credential that `issue` would return at once, if the limit of `admission.counter` allows it.

        None where `issue` would wait, refuse or look closer. Nothing is counted: count the hit, then `note_handed_out`.
        """
        settings = self._platform.settings
        seconds = settings.credential_ttl if wish.duration is None else wish.duration
        if (
            wish.include_shared
            or wish.grant_ids is not None
            or wish.part != 1
            or wish.purpose is not None
            or not SHORTEST <= seconds <= min(settings.credential_max_ttl, LONGEST_CHAINED)
            or quota.effective(settings, actor.quota_bytes) is not None
        ):
            return None
        order = self._own_order(actor, wish, seconds)
        issued = self._cache.at_hand(order)
        if issued is not None and issued.order is not order:  # one of them is enough in memory
            self._orders[actor.session_id, actor.user_id, wish, actor.not_before, seconds] = issued.order
        return issued

    def _own_order(self, actor: Actor, wish: Wish, seconds: int) -> Order:
        """The order of a wish without shares. Raises what `make_order` raises."""
        key = actor.session_id, actor.user_id, wish, actor.not_before, seconds
        order = self._orders.get(key)
        if order is None:
            order = self.make_order(
                actor.user_id,
                actor.session_id,
                access=wish.access,
                path=wish.path,
                duration=seconds,
                not_before=actor.not_before,
                purpose=wish.purpose,
            )
            if len(self._orders) >= MOST_ORDERS:
                self._orders.clear()
            self._orders[key] = order
        return order

    def note_handed_out(self) -> None:
        """Counts a credential of `at_hand` that is handed out."""
        self._cache.note_handed_out()

    def _plan(self, actor: Actor, wish: Wish, shares: Sequence[Share], *, seconds: int, clocks: timedelta) -> Plan:
        """Parts keep their numbers. A share that would end too soon for an STS `clocks` ahead is dropped from its part.

        Raises `InvalidPath`, `InvalidSharedPart`, and `PolicyTooLarge` if the part is one share that fits no policy."""
        now = self._platform.clock.now()
        prefix = session_policy.narrowed_prefix(actor.user_id, wish.path)
        if not self.bucket.fits(prefix, wish.access):
            self.bucket.policy(prefix, wish.access)  # raises the problem that says why

        def left(share: Share, clocks: timedelta) -> int:
            return seconds if share.ends_at is None else int((share.ends_at - now - clocks).total_seconds())

        least = SHORTEST if wish.duration is None else seconds
        lasting = [share for share in shares if left(share, CLOCKS) >= least]
        fills = any(share.contributes for share in lasting)
        room, filled_room = (self.bucket.room(prefix, wish.access, filled=filled) for filled in (False, fills))
        parts, too_large = self._packing.pack(_beside(actor, wish), lasting, room, filled_room)
        in_all = len(parts) + len(too_large)
        if wish.part > in_all:
            raise InvalidSharedPart
        if wish.part > len(parts):
            raise PolicyTooLarge(
                "This part is one folder whose name is too long for a policy beside this `path`. Ask for `read` "
                "access or for a shorter `path`, or leave this part out."
            )
        carried = tuple(share for share in parts[wish.part - 1] if left(share, clocks) >= least)
        if wish.duration is None:
            seconds = min([seconds, *(max(left(share, clocks) // STEP * STEP, SHORTEST) for share in carried)])
        return Plan(carried, in_all, seconds)

    async def _issue(
        self, origin: Origin, actor: Actor, order: Order, allowance: int | None, *, for_sdk: bool
    ) -> Issued:
        """Raises `RevokedMeanwhile`, `OutlivesShare`, and what `issue` does."""
        if allowance is not None and order.access != "read":
            # Also for a cached credential: an event may tell of uploads since the last count.
            await quota.admit(
                self._platform,
                origin,
                user_id=order.user_id,
                session_id=order.session_id,
                access=order.access,
                quota=allowance,
            )
        issued_here = False
        states = self._session_states if order.link_id is None else self._link_states

        async def issue_new() -> Issued:
            nonlocal issued_here
            by = {"link_id": order.link_id, "contributor_id": order.contributor_id}
            await admission.admit(self._platform, origin, actor, for_sdk=for_sdk, **by)
            began_at = self._platform.clock.now()
            async with self._turn(origin, actor):
                credential = await self._obtain(order)
                now = self._platform.clock.now()
                entry = Entry(uuid.uuid4(), origin, order, credential, now)
                problem = await self._ledger.get(entry)
            if problem is not None:
                raise problem
            # Read after the commit: a revocation that did not see our row was committed before it.
            state = await states.get(order.session_id)
            if state is not None and _is_later(state.not_before, order.not_before):
                raise RevokedMeanwhile
            if self._platform.clock.now() - began_at > marks.MARKED_FOR:
                raise RevokedMeanwhile  # slower than a revocation is remembered for
            await self._require_shares(order, credential)
            issued_here = True
            return Issued(entry.id, order, credential, now)

        def newcomer_at() -> str | None:
            stranger = order.contributor_id is not None or newcomers.is_newcomer(actor, self._platform.clock.now())
            return address_key(origin.address) if stranger else None

        issued = await self._cache.obtain(order, issue_new, newcomer_at, for_sdk=for_sdk)
        # While STS was failing, the session may have ended or its credentials may have been revoked. For a new
        # credential the ledger would tell.
        stale = not issued.fresh(self._platform.clock.now())
        if stale and _is_later(await self._not_before_now(origin, order), order.not_before):
            raise RevokedMeanwhile
        if not issued_here:
            # It is from a cache or an earlier flight: a grant may have ended since we read ours.
            await self._require_shares(order, issued.credential)
        return issued

    async def _not_before_now(self, origin: Origin, order: Order) -> datetime | None:
        """Raises `InvalidToken`, `AccountDisabled`, or of a link `LinkNotFound`, if whom the order is for has ended."""
        if order.link_id is None:
            actor = await authentication.look_up(
                self._platform, self._session_states, origin, user_id=order.user_id, session_id=order.session_id
            )
            return actor.not_before
        state = await self._link_states.get(order.link_id)
        if state is None or not state.is_alive(self._platform.clock.now()) or state.status != "active":
            raise LinkNotFound
        return state.not_before

    def _turn(self, origin: Origin, actor: Actor) -> AbstractAsyncContextManager[None]:
        """What a newcomer waits for, so that a crowd of them leaves the process to everybody else."""
        if self._turns is None or not newcomers.is_newcomer(actor, self._platform.clock.now()):
            return nullcontext()
        return self._turns.turn(address_key(origin.address))

    async def _require_shares(self, order: Order, credential: StsCredential) -> None:
        """Raises `RevokedMeanwhile` if a grant ended or is full, and `OutlivesShare` if it ends before `credential`.

        See `sharing/grants.py` and `contributing.py`.
        """
        if order.contributor_id is not None and not await contributing.is_open(self._platform, order):
            raise RevokedMeanwhile
        if not order.shares:
            return
        ends = [share.ends_at for share in order.shares if share.ends_at is not None]
        now = self._platform.clock.now()
        if any(end < credential.expires_at for end in ends):
            raise OutlivesShare(order.issued_at(credential.expires_at) - now)
        if not await self._platform.database.read(receiving.still_count, now, order.shares):
            raise RevokedMeanwhile
        if not await contributing.still_writable(self._platform, order.shares, user_id=order.user_id):
            raise RevokedMeanwhile

    async def _obtain(self, order: Order) -> StsCredential:
        """A credential that no earlier revocation covers. Raises what `Broker.obtain` raises."""
        for _ in range(TRIES):
            if order.not_before is not None:
                left = (order.not_before - self._platform.clock.now()).total_seconds()
                await asyncio.sleep(min(max(left, 0), LONGEST_WAIT))
            credential = await self.broker.obtain(order)
            issued_at = order.issued_at(credential.expires_at)
            if order.not_before is None or issued_at >= order.not_before:
                return credential
            await asyncio.sleep(min((order.not_before - issued_at).total_seconds(), LONGEST_WAIT))
        raise StsUnavailable(cause="STS's clock is behind that of a revocation", retry_after=2)

    async def issue_to_job(
        self,
        origin: Origin,
        user_id: uuid.UUID,
        *,
        access: Access,
        duration: int = SHORTEST,
        versions: bool = False,
        place: str | None = None,
    ) -> StsCredential:
        """A new credential for a user's prefix, for a job of this service, with its row in the ledger.

        With `versions` it also lists old versions. `place`: instead of the prefix, a folder in it, or the user's own
        part of another user's folder. Raises what `Broker.obtain` raises.
        """
        own = session_policy.user_prefix(user_id)
        if place and not (place.startswith(own) or place.endswith(session_policy.contribution_prefix("/", user_id))):
            raise ValueError("neither the user's own folder nor their own part of one")
        prefix = place or own
        text = self.bucket.policy(prefix, access, versions=versions)
        order = Order(user_id, job_session(origin, user_id), access, prefix, duration, text, self.terms)
        credential = await self.broker.obtain(order)
        entry = Entry(uuid.uuid4(), origin, order, credential, self._platform.clock.now())
        await self._platform.database.write(ledger.record_own, entry)
        return credential

    def make_order(
        self,
        user_id: uuid.UUID,
        session_id: uuid.UUID,
        *,
        access: Access,
        path: str,
        duration: int,
        not_before: datetime | None = None,
        purpose: Purpose | None = None,
        shares: tuple[Share, ...] = (),
        link_id: uuid.UUID | None = None,
        contributor_id: uuid.UUID | None = None,
    ) -> Order:
        """Raises `InvalidPath`, `PolicyTooLarge`."""
        prefix = session_policy.narrowed_prefix(user_id, path)
        folders = tuple(share.prefix for share in shares)
        filled = tuple(share.prefix for share in shares if share.contributes)
        by_link = link_id is not None
        text = self.bucket.policy(
            prefix, access, shared=folders, filled=filled, by_link=by_link, contributor_id=contributor_id
        )
        by = {"link_id": link_id, "contributor_id": contributor_id}
        return Order(user_id, session_id, access, prefix, duration, text, self.terms, not_before, purpose, shares, **by)

    async def _duration(self, wish: Wish) -> int:
        """Seconds. A chained role gives an hour at most: a longer default is cut to that, a longer wish is refused.

        Raises `InvalidDuration` and what `Broker.chains_roles` raises.
        """
        settings = self._platform.settings
        longest, default = settings.credential_max_ttl, settings.credential_ttl
        if wish.purpose == "upload":
            longest = default = settings.upload_ttl
        seconds = default if wish.duration is None else wish.duration
        if not SHORTEST <= seconds <= longest:
            raise InvalidDuration(f"`duration_seconds` must be from {SHORTEST} to {longest}.")
        if seconds <= LONGEST_CHAINED or not await self.broker.chains_roles():
            return seconds
        if wish.duration is not None:
            raise InvalidDuration(
                f"`duration_seconds` must be from {SHORTEST} to {LONGEST_CHAINED}. This service runs with a role, and "
                "AWS lets a role assume another one for an hour at most."
            )
        return LONGEST_CHAINED


def _refuse_contradictions(wish: Wish) -> None:
    """Raises `InvalidRequest`, `InvalidSharedPart`."""
    errors = []
    if wish.purpose == "upload" and wish.access != "write":
        errors.append(FieldError("body.access", "not_for_upload", "An upload lease has the access `write`."))
    if wish.purpose == "upload" and wish.path == "":
        errors.append(FieldError("body.path", "missing", "An upload lease is for one folder. Name it in `path`."))
    if wish.include_shared and wish.access not in session_policy.LISTS:
        message = "Shared folders can only be read. Ask for an `access` that reads."
        errors.append(FieldError("body.include_shared", "not_for_write", message))
    if wish.grant_ids is not None and not wish.include_shared:
        message = "`grant_ids` name shared folders. Send `include_shared` with them."
        errors.append(FieldError("body.grant_ids", "not_for_own", message))
    if errors:
        raise InvalidRequest(errors=errors)
    if wish.part > 1 and not wish.include_shared:
        raise InvalidSharedPart


def _beside(actor: Actor, wish: Wish) -> Beside:
    return Beside(actor.user_id, wish.access, session_policy.narrowed_prefix(actor.user_id, wish.path))


def _is_later(not_before: datetime | None, than: datetime | None) -> bool:
    """Whether something was revoked since. A mark that was deleted meanwhile revokes nothing: nothing was alive."""
    return not_before is not None and (than is None or not_before > than)


def job_session(origin: Origin, user_id: uuid.UUID) -> uuid.UUID:
    """The session id that stands for a job in the names of its STS sessions. It belongs to no device."""
    return uuid.uuid5(user_id, origin.address)
