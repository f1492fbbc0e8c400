"""The routes of this feature, one file an action or noun."""

from app.api.accounts import email, export, me, users, verification

ROUTERS = (users.router, verification.router, me.router, email.router, export.router)
