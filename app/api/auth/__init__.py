"""The routes of this feature, one file an action or noun."""

from app.api.auth import console, devices, factors, guests, identities, login, mfa, oidc, passkeys, passwords, step_up

ROUTERS = (
    login.router,
    console.router,
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
