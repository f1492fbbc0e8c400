"""The routes of this feature, one file an action or noun."""

from app.accounts.api import me, users

ROUTERS = (users.router, me.router)
