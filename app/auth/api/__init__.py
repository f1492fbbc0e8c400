"""The routes of this feature, one file an action or noun."""

from app.auth.api import devices, login

ROUTERS = (login.router, devices.router)
