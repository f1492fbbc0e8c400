"""Dependencies that say which callers a route lets in."""

from typing import Annotated

from fastapi import Depends, Request

from app.auth import authentication
from app.auth.sessions import SessionStates
from app.auth.tokens import AccessTokens
from app.http.local import is_local
from app.http.provided import find
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


# The dependencies are `async` even if they await nothing: FastAPI runs a plain function in a thread.
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
        find(request, Platform),
        find(request, AccessTokens),
        find(request, SessionStates),
        await origin_of(request),
        token,
    )


async def _maybe_signed_in(request: Request) -> Actor | None:
    """The actor; None without an Authorization header. An expired token gets a 401, so that the app refreshes it."""
    return await _enrolling(request) if "authorization" in request.headers else None


async def _signed_in_bare(request: Request) -> Actor:
    """Takes the header as the container provider of the AWS SDKs sends it: the token, with or without `Bearer`."""
    header = request.headers.get("authorization", "").strip()
    scheme, _, token = header.partition(" ")
    bare = token.strip() if scheme.lower() == "bearer" else header
    if not bare:
        raise Unauthenticated
    actor = await _authenticate(request, bare)
    return await _with_second_factor(request, actor)


async def _with_second_factor(request: Request, actor: Actor) -> Actor:
    """The actor. Raises `MfaRequired` for an administrator without a second factor (ASVS 6.3.3).

    In development, administrators on the same machine need no second factor.
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


async def _stepped_up_admin(request: Request) -> Actor:
    """Raises `StepUpRequired`, once the role is right."""
    actor = await _admin(request)
    if not actor.is_fresh(find(request, Platform).clock.now()):
        raise StepUpRequired
    return actor


async def _in_role(request: Request, *roles: str) -> Actor:
    """The actor. Raises `Forbidden` unless they have one of the roles."""
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
    """An actor who signed in, or stepped up, a moment ago (ASVS 7.5.1). Raises `StepUpRequired`."""
    actor = await _enrolling(request)
    if not actor.is_fresh(find(request, Platform).clock.now()):
        raise StepUpRequired
    return actor


SignedIn = Annotated[Actor, Depends(signed_in)]


Enrolling = Annotated[Actor, Depends(_enrolling)]
"""Signed in. An administrator may still lack a second factor, because these routes set one up."""


MaybeSignedIn = Annotated[Actor | None, Depends(_maybe_signed_in)]
"""For a public route that asks less of a signed-in caller."""


SteppedUp = Annotated[Actor, Depends(_stepped_up)]


SteppedUpEnrolling = Annotated[Actor, Depends(_stepped_up_enrolling)]
"""Stepped up, and `Enrolling`."""


Support = Annotated[Actor, Depends(_support)]
"""Support or administrator. Support may read like an administrator, sign users out and send password resets."""


Admin = Annotated[Actor, Depends(_admin)]


SteppedUpAdmin = Annotated[Actor, Depends(_stepped_up_admin)]
"""An administrator who signed in, or stepped up, a moment ago."""


SignedInBare = Annotated[Actor, Depends(_signed_in_bare)]


WELCOMES = frozenset({_maybe_signed_in})
"""Dependencies of public routes that accept a signed-in caller too."""


GUARDS = frozenset(
    {signed_in, _enrolling, _stepped_up, _stepped_up_enrolling, _signed_in_bare, _support, _admin, _stepped_up_admin}
)
"""Every route that is not public depends on one of these."""
