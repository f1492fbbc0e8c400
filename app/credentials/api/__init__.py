"""The routes of this feature, one file an action or noun."""

from app.credentials.api import credentials, usage

ROUTERS = (credentials.router, usage.router)
