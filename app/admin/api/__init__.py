"""The routes of this feature, one file an action or noun."""

from app.admin.api import users

ROUTERS = (users.router,)
