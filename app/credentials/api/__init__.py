"""The routes of this feature, one file an action or noun."""

from app.credentials.api import credentials, uploads, usage

ROUTERS = (credentials.router, uploads.router, usage.router)
