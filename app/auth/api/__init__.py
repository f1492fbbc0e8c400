"""The routes of this feature, one file an action or noun."""

from app.auth.api import devices, identities, login, oidc

ROUTERS = (login.router, oidc.router, devices.router, identities.router)
