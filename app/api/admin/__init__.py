"""The routes of this feature, one file an action or noun."""

from app.api.admin import access_keys, audit_events, exports, imports, stats, users

ROUTERS = (
    users.router,
    audit_events.router,
    access_keys.router,
    stats.router,
    imports.router,
    exports.router,
)
