"""The routes of this feature, one file an action or noun."""

from app.admin.api import audit_events, users

ROUTERS = (users.router, audit_events.router)
