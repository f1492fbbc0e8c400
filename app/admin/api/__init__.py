"""The routes of this feature, one file an action or noun."""

from app.admin.api import access_keys, audit_events, exports, imports, users

ROUTERS = (users.router, audit_events.router, access_keys.router, imports.router, exports.router)
