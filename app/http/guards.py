"""Who calls: the dependencies by which a route says whom it lets in."""

from typing import Annotated

from fastapi import Depends, Request

from app.auth import authentication
from app.compose import Runtime
from app.http.local import is_local
from app.platform.limits import address_key
from app.platform.problems import (
    Forbidden,
    MfaRequired,
    StepUpRequired,
    Unauthenticated,
)
from app.records import newcomers
from app.records.actor import Actor
from app.records.audit import Origin

SAFE = ("GET", "HEAD")
"""Methods that change nothing (RFC 9110 §9.2.1)."""


# `async`, although they wait for nothing: FastAPI sends a plain function through a thread.
async def runtime_of(request: Request) -> Runtime:
    runtime: Runtime = request.app.state.runtime
    return runtime


async def origin_of(request: Request) -> Origin:
    state = request.scope["state"]
    return Origin(state["request_id"], state["address"])


RuntimeDep = Annotated[Runtime, Depends(runtime_of)]


OriginDep = Annotated[Origin, Depends(origin_of)]


async def signed_in(request: Request) -> Actor:
    return await _with_second_factor(request, await _enrolling(request))


async def _enrolling(request: Request) -> Actor:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    runtime = await runtime_of(request)
    actor = await authentication.authenticate(runtime, await origin_of(request), token.strip())
    if request.method not in SAFE and not getattr(request.scope.get("route"), "bounds_itself", False):
        await runtime.limiter.hit("change", str(actor.user_id))
        if newcomers.is_newcomer(actor, runtime.clock.now()):
            state = request.scope["state"]
            await state["until_answered"].enter_async_context(runtime.newcomers.turn(address_key(state["address"])))
    return actor


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
    actor = await authentication.authenticate(await runtime_of(request), await origin_of(request), bare)
    return await _with_second_factor(request, actor)


async def _with_second_factor(request: Request, actor: Actor) -> Actor:
    """The actor. Raises `MfaRequired` for an administrator without a second factor (ASVS 6.3.3).

    Development spares administrators on its own machine the second factor.
    """
    if actor.role != "user" and not actor.mfa:
        runtime = await runtime_of(request)
        if runtime.settings.environment != "development" or not is_local(request.scope):
            await authentication.record_refusal(runtime, await origin_of(request), actor, reason="mfa_required")
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
        runtime, origin = await runtime_of(request), await origin_of(request)
        await authentication.record_refusal(runtime, origin, actor, reason="forbidden")
        raise Forbidden
    return actor


async def _stepped_up(request: Request) -> Actor:
    return await _with_second_factor(request, await _stepped_up_enrolling(request))


async def _stepped_up_enrolling(request: Request) -> Actor:
    """Who signed in, or stepped up, a moment ago (ASVS 7.5.1). Raises `StepUpRequired`."""
    actor = await _enrolling(request)
    if not actor.is_fresh((await runtime_of(request)).clock.now()):
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
