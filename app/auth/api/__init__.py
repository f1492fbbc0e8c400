"""The routes of this feature, one file an action or noun."""

from app.auth.api import devices, guests, identities, login, oidc

ROUTERS = (login.router, oidc.router, guests.router, devices.router, identities.router)
