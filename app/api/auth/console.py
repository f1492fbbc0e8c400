"""`/console/session`: the console's own sign-in, whose refresh token stays in a cookie that no script reads.

These calls are the same as those of `/v1/auth`. Only their refresh token goes another way. They are no part of the
OpenAPI document, because they serve one page.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from app.api.auth.login import LoginRequest, LogoutRequest, RefreshRequest, log_in, log_out, refresh_session
from app.api.auth.mfa import MfaRequest, answer_mfa_challenge
from app.api.auth.passkeys import PasskeySignInRequest, complete_passkey_sign_in
from app.api.auth.step_up import StepUpRequest, step_up_session
from app.api.auth.wire import LoginStatus, MfaChallenge, TokenSet
from app.api.provided import HasherDep, OldSystemDep, PlatformDep, TokensDep
from app.http.cookies import PATH, ConsoleCookie
from app.http.guards import Enrolling, OriginDep
from app.http.provided import find
from app.http.rendering import refusal
from app.http.routes import JsonRoute
from app.http.wire import ResponseModel
from app.platform.problems import Problem
from app.platform.process import Platform


class ConsoleRoute(JsonRoute):
    """A route that answers the console's own page alone, before it reads anything of the request's body.

    The cookie goes when its refresh token is refused, and at a sign-out, whatever becomes of it.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        signs_out = self.path == f"{PATH}/logout"

        async def handle_own_page(request: Request) -> Response:
            cookie = ConsoleCookie(find(request, Platform).settings, request.headers)
            request.state.console_cookie = cookie
            try:
                return await handle(request)
            except Problem as problem:
                if not signs_out and problem.code not in ("invalid_refresh_token", "refresh_token_reused"):
                    raise
                response = refusal(request, problem)
                cookie.clear(response)
                return response

        return handle_own_page


async def _cookie(request: Request) -> ConsoleCookie:
    cookie: ConsoleCookie = request.state.console_cookie
    return cookie


CookieDep = Annotated[ConsoleCookie, Depends(_cookie)]

router = APIRouter(prefix=PATH, include_in_schema=False, route_class=ConsoleRoute)


class ConsoleTokens(ResponseModel):
    """What a script of the page gets: nothing that outlives fifteen minutes."""

    access_token: str
    expires_in: int
    session_id: UUID


class ConsoleLogin(ResponseModel):
    """`tokens` is present if `status` is `complete`, `mfa` if `status` is `mfa_required`."""

    status: LoginStatus
    tokens: ConsoleTokens | None
    mfa: MfaChallenge | None


def _keep(issued: TokenSet, cookie: ConsoleCookie, response: Response) -> ConsoleTokens:
    cookie.keep(response, issued.refresh_token)
    return ConsoleTokens(access_token=issued.access_token, expires_in=issued.expires_in, session_id=issued.session_id)


@router.post("/login")
async def log_in_to_console(
    body: LoginRequest,
    response: Response,
    *,
    platform: PlatformDep,
    hasher: HasherDep,
    tokens: TokensDep,
    old_system: OldSystemDep,
    origin: OriginDep,
    cookie: CookieDep,
) -> ConsoleLogin:
    result = await log_in(body, platform=platform, hasher=hasher, tokens=tokens, old_system=old_system, origin=origin)
    kept = _keep(result.tokens, cookie, response) if result.tokens else None
    return ConsoleLogin(status=result.status, tokens=kept, mfa=result.mfa)


@router.post("/mfa")
async def answer_console_challenge(
    body: MfaRequest,
    response: Response,
    *,
    platform: PlatformDep,
    tokens: TokensDep,
    origin: OriginDep,
    cookie: CookieDep,
) -> ConsoleLogin:
    result = await answer_mfa_challenge(body, platform, tokens, origin)
    assert result.tokens is not None
    return ConsoleLogin(status=result.status, tokens=_keep(result.tokens, cookie, response), mfa=None)


@router.post("/passkey")
async def log_in_to_console_with_passkey(
    body: PasskeySignInRequest,
    response: Response,
    *,
    platform: PlatformDep,
    tokens: TokensDep,
    origin: OriginDep,
    cookie: CookieDep,
) -> ConsoleLogin:
    result = await complete_passkey_sign_in(body, platform, tokens, origin)
    assert result.tokens is not None
    return ConsoleLogin(status=result.status, tokens=_keep(result.tokens, cookie, response), mfa=None)


@router.post("/step-up")
async def step_up_console(
    body: StepUpRequest,
    response: Response,
    *,
    platform: PlatformDep,
    hasher: HasherDep,
    tokens: TokensDep,
    origin: OriginDep,
    actor: Enrolling,
    cookie: CookieDep,
) -> ConsoleTokens:
    issued = await step_up_session(body, platform=platform, hasher=hasher, tokens=tokens, origin=origin, actor=actor)
    return _keep(issued, cookie, response)


@router.post("/refresh", response_model=ConsoleTokens | None)
async def refresh_console(
    response: Response, platform: PlatformDep, tokens: TokensDep, origin: OriginDep, cookie: CookieDep
) -> ConsoleTokens | None:
    """Null without the cookie: nobody has signed in with this browser, or they signed out."""
    refresh_token = cookie.read()
    if refresh_token is None:
        return None
    issued = await refresh_session(RefreshRequest(refresh_token=refresh_token), platform, tokens, origin)
    return _keep(issued, cookie, response)


@router.post("/logout", status_code=204, response_class=Response)
async def log_out_of_console(response: Response, platform: PlatformDep, origin: OriginDep, cookie: CookieDep) -> None:
    """Clears the cookie, and ends its session."""
    cookie.clear(response)
    if (refresh_token := cookie.read()) is not None:
        await log_out(LogoutRequest(refresh_token=refresh_token), platform, origin)
