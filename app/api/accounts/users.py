"""`/v1/users`: making accounts."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from app.accounts import registration
from app.accounts.passwords import MAX_LENGTH
from app.accounts.registration import Status
from app.api.provided import HasherDep, PlatformDep
from app.http.guards import OriginDep
from app.http.routes import JsonRoute
from app.http.wire import PasswordText, PrintableText, RequestModel, ResponseModel
from app.platform.limits import address_key

router = APIRouter(prefix="/v1", tags=["accounts"], route_class=JsonRoute)


class RegisterRequest(RequestModel):
    email: Annotated[str, Field(max_length=320, examples=["ada@example.org"])]
    """The e-mail address of the new account."""
    password: Annotated[PasswordText, Field(max_length=MAX_LENGTH)]
    """The password of the new account. A weak one is refused with 422 `weak_password`."""
    display_name: Annotated[PrintableText, Field(min_length=1, max_length=100)] | None = None


class RegisterResult(ResponseModel):
    status: Status
    """`active`: the account can sign in. `verification_required`: a mail was sent, and the account can sign in once its
    link was opened."""


@router.post("/users", status_code=201)
async def register_user(
    body: RegisterRequest, platform: PlatformDep, hasher: HasherDep, origin: OriginDep
) -> RegisterResult:
    """Creates an account. Sign in next. Where addresses are verified, open the link in the mail first.

    There a taken address gets the same answer, and its owner gets a mail.
    """
    await platform.limiter.hit("register", address_key(origin.address))
    status = await registration.register(
        platform,
        hasher,
        origin,
        email=body.email,
        password=body.password.get_secret_value(),
        display_name=body.display_name,
    )
    return RegisterResult(status=status)
