"""The routes of this feature, one file an action or noun."""

from app.credentials.api import credentials, storage_events, uploads, usage

ROUTERS = (credentials.router, uploads.router, usage.router, storage_events.router)
