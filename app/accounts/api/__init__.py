"""The routes of this feature, one file an action or noun."""

from app.accounts.api import export, me, users

ROUTERS = (users.router, me.router, export.router)
