"""Who calls: the dependencies by which a route says whom it lets in."""

from typing import Annotated

from fastapi import Depends, Request

from app.auth import authentication
from app.auth.tokens import AccessTokens
from app.http.local import is_local
from app.http.provided import find
from app.platform.db import Batch
from app.platform.lanes import Turns
from app.platform.limits import address_key
from app.platform.problems import (
    Forbidden,
    MfaRequired,
    StepUpRequired,
    Unauthenticated,
)
from app.platform.process import Platform
from app.records import newcomers
from app.records.actor import Actor
from app.records.audit import Origin

SAFE = ("GET", "HEAD")
"""Methods that change nothing (RFC 9110 §9.2.1)."""


# `async`, although they wait for nothing: FastAPI sends a plain function through a thread.
async def origin_of(request: Request) -> Origin:
    state = request.scope["state"]
    return Origin(state["request_id"], state["address"])


OriginDep = Annotated[Origin, Depends(origin_of)]


async def signed_in(request: Request) -> Actor:
    return await _with_second_factor(request, await _enrolling(request))


async def _enrolling(request: Request) -> Actor:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    actor = await _authenticate(request, token.strip())
    if request.method not in SAFE and not getattr(request.scope.get("route"), "bounds_itself", False):
        platform = find(request, Platform)
        await platform.limiter.hit("change", str(actor.user_id))
        if newcomers.is_newcomer(actor, platform.clock.now()):
            state = request.scope["state"]
            turn = find(request, Turns).turn(address_key(state["address"]))
            await state["until_answered"].enter_async_context(turn)
    return actor


async def _authenticate(request: Request, token: str) -> Actor:
    return await authentication.authenticate(
        find(request, Platform), find(request, AccessTokens), find(request, Batch), await origin_of(request), token
    )


async def _maybe_signed_in(request: Request) -> Actor | None:
    """A header that is sent has to be a valid one: an app whose token has expired renews it, as everywhere."""
    return await _enrolling(request) if "authorization" in request.headers else None


async def _signed_in_bare(request: Request) -> Actor:
    """As the AWS SDKs' container provider sends it: the header is the token, with or without `Bearer`."""
    header = request.headers.get("authorization", "").strip()
    scheme, _, token = header.partition(" ")
    bare = token.strip() if scheme.lower() == "bearer" else header
    if not bare:
        raise Unauthenticated
    actor = await _authenticate(request, bare)
    return await _with_second_factor(request, actor)


async def _with_second_factor(request: Request, actor: Actor) -> Actor:
    """The actor. Raises `MfaRequired` for an administrator without a second factor (ASVS 6.3.3).

    Development spares administrators on its own machine the second factor.
    """
    if actor.role != "user" and not actor.mfa:
        platform = find(request, Platform)
        if platform.settings.environment != "development" or not is_local(request.scope):
            await authentication.record_refusal(platform, await origin_of(request), actor, reason="mfa_required")
            raise MfaRequired
    return actor


async def _support(request: Request) -> Actor:
    return await _in_role(request, "support", "admin")


async def _admin(request: Request) -> Actor:
    return await _in_role(request, "admin")


async def _in_role(request: Request, *roles: str) -> Actor:
    """Raises `Forbidden`."""
    actor = await signed_in(request)
    if actor.role not in roles:
        await authentication.record_refusal(
            find(request, Platform), await origin_of(request), actor, reason="forbidden"
        )
        raise Forbidden
    return actor


async def _stepped_up(request: Request) -> Actor:
    return await _with_second_factor(request, await _stepped_up_enrolling(request))


async def _stepped_up_enrolling(request: Request) -> Actor:
    """Who signed in, or stepped up, a moment ago (ASVS 7.5.1). Raises `StepUpRequired`."""
    actor = await _enrolling(request)
    if not actor.is_fresh(find(request, Platform).clock.now()):
        raise StepUpRequired
    return actor


SignedIn = Annotated[Actor, Depends(signed_in)]


Enrolling = Annotated[Actor, Depends(_enrolling)]
"""Signed in, though an administrator may have no second factor yet: for setting one up."""


MaybeSignedIn = Annotated[Actor | None, Depends(_maybe_signed_in)]
"""Of a public route that asks less of whoever is signed in."""


SteppedUp = Annotated[Actor, Depends(_stepped_up)]


SteppedUpEnrolling = Annotated[Actor, Depends(_stepped_up_enrolling)]
"""Stepped up, and `Enrolling`."""


Support = Annotated[Actor, Depends(_support)]
"""Who reads as an administrator does, signs out and sends resets."""


Admin = Annotated[Actor, Depends(_admin)]


SignedInBare = Annotated[Actor, Depends(_signed_in_bare)]


WELCOMES = frozenset({_maybe_signed_in})
"""What a public route depends on that knows a signed-in caller."""


GUARDS = frozenset({signed_in, _enrolling, _stepped_up, _stepped_up_enrolling, _signed_in_bare, _support, _admin})
"""What a route that is not public depends on."""
