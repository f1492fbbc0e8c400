"""The routes of this feature, one file an action or noun."""

from app.api.credentials import credentials, grants, storage_events, uploads, usage

ROUTERS = (credentials.router, grants.router, uploads.router, usage.router, storage_events.router)
