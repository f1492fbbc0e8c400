"""The routes of this feature, one file an action or noun."""

from app.api.auth import devices, factors, guests, identities, login, mfa, oidc, passkeys, passwords, step_up

ROUTERS = (
    login.router,
    mfa.router,
    passkeys.router,
    oidc.router,
    guests.router,
    step_up.router,
    passwords.router,
    devices.router,
    factors.router,
    identities.router,
)
