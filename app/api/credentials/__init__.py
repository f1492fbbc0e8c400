"""The routes of this feature, one file an action or noun."""

from app.api.credentials import credentials, downloads, grants, links, storage_events, uploads, usage

ROUTERS = (
    credentials.router,
    grants.router,
    links.router,
    uploads.router,
    downloads.router,
    usage.router,
    storage_events.router,
)
